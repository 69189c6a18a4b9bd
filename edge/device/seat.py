"""Which model a pipeline runs, and the change from one to another between two items.

Promises: a model takes over between two items and never during one, also where none comes for hours; while one is on
trial the model before it stays at hand, and answers again from the first failure on. What is asked for from outside is
done by the pipeline's thread, in order, before its next item.
Leaves out: why a model changes (`updates`), opening files (`stage`), comparing (`shadow`).
Thread: `run`, `try_out` and `watch` from any; all else `pipeline:<name>`. A model may be opened on another thread; from
then on this one runs and closes it.
"""

from __future__ import annotations

import logging
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from edge.contract.messages import InputKind, Result
from edge.device.frame import Frame, Text
from edge.device.work import Predictor
from edge.errors import EdgeError, InferenceError, ModelError

__all__ = ["Candidate", "Opener", "Seat", "Tap", "Tell", "Terms", "Verdict"]

_log = logging.getLogger(__name__)

_REMEMBERED = 64  # inferences of the active model, to hold the next one against
_NOISE_MS = 5.0  # a busy processor adds some, and a model of 0.1 ms is no worse for it

Opener: TypeAlias = Callable[[], Predictor]
Tap: TypeAlias = Callable[[Frame | Text, Result], None]  # sees each answer; never waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a trial asks: so many good inferences, their median at most `slower` times the active model's, or 5 ms more.

    `most_ms` bounds the median where the active model has answered nothing yet; None: nothing does.
    """

    items: int
    slower: float
    most_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a trial ended. Neither good nor bad: the pipeline stopped before it did."""

    is_good: bool
    why: str = ""
    items: int = 0
    p50_ms: float = 0.0
    is_cut_short: bool = False


Tell: TypeAlias = Callable[[Verdict], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that is to be tried. `model` None: there is no memory for two, so the active one is closed first."""

    key: str
    open: Opener
    model: Predictor | None = None


def _nobody() -> None:
    """Until there is a pipeline."""


@dataclass(slots=True, kw_only=True)
class _Trial:
    key: str
    terms: Terms
    tell: Tell
    times_ms: list[float] = field(default_factory=list)


class Seat:
    """One pipeline's. `key` names a model: the digest of its release, "" for the factory's."""

    def __init__(self, kind: InputKind, key: str, open_model: Opener) -> None:
        self._kind = kind
        self._orders: deque[Callable[[], None]] = deque()
        self._key = key
        self._open = open_model
        self._active: Predictor | None = None
        self._tried: Predictor | None = None  # instead of the active one: on trial, or past it and not yet confirmed
        self._tried_key = ""
        self._trial: _Trial | None = None
        self._recent_ms: deque[float] = deque(maxlen=_REMEMBERED)
        self._tap: Tap | None = None
        self.ring: Callable[[], None] = _nobody  # wakes the pipeline's thread, so that it does what was asked

    # From any thread.

    def run(self, key: str, open_model: Opener, model: Predictor | None = None) -> None:
        """Run this one from the next item on; a trial of another one ends. `model`: it is open already."""
        self._orders.append(lambda: self._settle_on(key, open_model, model))
        self.ring()

    def try_out(self, candidate: Candidate, terms: Terms, tell: Tell) -> None:
        """Run the candidate from the next item on, until it failed, or passed and `run` confirms it.

        `tell` is called once, on the pipeline's thread, and must not block.
        """
        self._orders.append(lambda: self._begin(candidate, terms, tell))
        self.ring()

    def watch(self, tap: Tap | None) -> None:
        """Let `tap` see each answer and what it answers; None: nobody."""
        self._tap = tap

    @property
    def is_asked(self) -> bool:
        """Whether something is to be done, which may take as long as opening a model."""
        return bool(self._orders) or (self._tried is None and self._active is None)

    def holds(self, key: str) -> bool:
        """Whether this model is open here, as the active one or as one that is tried; as of the last item."""
        return (self._tried is not None and self._tried_key == key) or (self._active is not None and self._key == key)

    # The pipeline's thread.

    def settle(self) -> None:
        """Do what was asked, and have a model open.

        Raises:
            EdgeError: none can be opened.
        """
        while self._orders:
            self._orders.popleft()()
        if self._tried is None and self._active is None:
            self._active = self._checked(self._open())

    @property
    def model(self) -> Predictor:
        """The one that answers. `settle` first."""
        model = self._tried or self._active
        if model is None:
            raise InferenceError("no model is open")
        return model

    def went_well(self, item: Frame | Text, result: Result) -> None:
        """It answered."""
        timing = result.timing_ms
        took_ms = timing.prepare + timing.run + timing.decode
        if self._trial is not None:
            self._judge(self._trial, took_ms)
        elif self._tried is None:
            self._recent_ms.append(took_ms)
        if self._tap is not None:
            self._tap(item, result)

    def blames(self, err: Exception) -> bool:
        """Whether the model on trial is to blame; the one before it answers from then on."""
        if not self.end_trial(err):
            return False
        self.settle()
        return True

    def end_trial(self, err: Exception) -> bool:
        """End a trial with this error; false where none goes on."""
        trial = self._trial
        if trial is not None:
            self._end(trial, is_good=False, why=f"{type(err).__name__}: {err}")
        return trial is not None

    def close(self) -> None:
        """Close what is open. A trial that has not ended is told as cut short, which is no fault of its model."""
        trial, self._trial = self._trial, None
        for model in (self._tried, self._active):
            if model is not None:
                model.close()
        self._tried = self._active = None
        if trial is not None:
            trial.tell(Verdict(is_good=False, is_cut_short=True, why="the pipeline stopped", items=len(trial.times_ms)))

    def _settle_on(self, key: str, open_model: Opener, model: Predictor | None) -> None:
        if self._tried is not None and self._tried_key == key:
            model = self._replace(model, self._tried)
            self._tried = None
        elif self._active is not None and self._key == key:
            model = self._replace(model, self._active)
            self._active = None
        self._trial = None
        self._drop_tried()
        self._key, self._open = key, open_model
        if self._active is not None:
            self._active.close()
            self._recent_ms.clear()
        self._active = None if model is None else self._checked(model)

    @staticmethod
    def _replace(model: Predictor | None, running: Predictor) -> Predictor:
        """The one that runs already; a second one of the same is not needed."""
        if model is not None:
            model.close()
        return running

    def _begin(self, candidate: Candidate, terms: Terms, tell: Tell) -> None:
        self._trial = None
        self._drop_tried()
        try:
            if candidate.model is None and self._active is not None:
                self._active.close()
                self._active = None
            self._tried = self._checked(candidate.model or candidate.open())
        except EdgeError as err:
            tell(Verdict(is_good=False, why=str(err)))
            return
        self._tried_key = candidate.key
        self._trial = _Trial(key=candidate.key, terms=terms, tell=tell)

    def _judge(self, trial: _Trial, took_ms: float) -> None:
        trial.times_ms.append(took_ms)
        if len(trial.times_ms) < trial.terms.items:
            return
        p50_ms = statistics.median(trial.times_ms)
        most_ms = trial.terms.most_ms
        if self._recent_ms:
            before_ms = statistics.median(self._recent_ms)
            most_ms = max(before_ms * trial.terms.slower, before_ms + _NOISE_MS)
        if most_ms is not None and p50_ms > most_ms:
            self._end(trial, is_good=False, why=f"{p50_ms:.1f} ms an inference, allowed {most_ms:.1f}")
        else:
            self._end(trial, is_good=True, why="")

    def _end(self, trial: _Trial, *, is_good: bool, why: str) -> None:
        self._trial = None
        if not is_good:
            self._drop_tried()
        p50_ms = statistics.median(trial.times_ms) if trial.times_ms else 0.0
        trial.tell(Verdict(is_good=is_good, why=why, items=len(trial.times_ms), p50_ms=p50_ms))

    def _drop_tried(self) -> None:
        tried, self._tried = self._tried, None
        if tried is not None:
            tried.close()

    def _checked(self, model: Predictor) -> Predictor:
        if model.kind is not self._kind:
            model.close()
            raise ModelError(
                f"{model.ref.name} takes {model.kind.value} input, this source gives {self._kind.value}; "
                "choose another model or another source"
            )
        return model
