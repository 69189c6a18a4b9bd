"""A model beside the active one, on a share of the items: compared, and never listened to.

Promises: the pipeline never waits for it; whatever it raises ends the comparison and nothing else. Items it has no time
for are left out, not queued.
Leaves out: what follows from the figures (the centre).
Thread: `shadow:<name>` opens, runs and closes the model; `see` runs on `pipeline:<name>`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

from edge.contract.messages import Item, Result
from edge.device.frame import Frame, Text
from edge.device.mailbox import Refusing
from edge.device.seat import Opener
from edge.device.supervisor import Kept
from edge.device.work import Prediction, Predictor
from edge.errors import InferenceError, MediaError

__all__ = ["Compared", "ShadowRun", "TellCompared", "is_same"]

_WAITING = 1  # frames are megabytes
_OPEN_BUDGET_S = 120.0
_INFER_BUDGET_S = 30.0
_SAME_VALUE = 0.05  # of the larger: a regression's answers are never equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How it did: medians in milliseconds over `items`. `why`: what ended it early; empty: nothing did."""

    items: int
    agreed: int
    failed: int
    active_ms: float
    shadow_ms: float
    why: str = ""


TellCompared: TypeAlias = Callable[[Compared], None]


def is_same(one: tuple[Item, ...], other: tuple[Item, ...]) -> bool:
    """Whether the best answers are the same: label and class, or numbers within 5 %."""
    if not one or not other:
        return not one and not other
    a, b = one[0], other[0]
    if a.value is not None and b.value is not None:
        return abs(a.value - b.value) <= _SAME_VALUE * max(abs(a.value), abs(b.value), 1e-9)
    return (a.label, a.index) == (b.label, b.index)


class ShadowRun:
    """One comparison: a `supervisor.Life` that is lived once."""

    def __init__(self, open_model: Opener, *, share: float, items: int, tell: TellCompared) -> None:
        """`share`: of the items, above 0 to 1; `items`: how many are compared."""
        self._open = open_model
        self._share = share
        self._wanted = items
        self._tell = tell
        self._box: Refusing[tuple[Frame | Text, Result]] = Refusing(_WAITING)
        self._is_over = False
        self._due = 0.0
        self._agreed = 0
        self._failed = 0
        self._active_ms: list[float] = []
        self._shadow_ms: list[float] = []

    def see(self, item: Frame | Text, result: Result) -> None:
        """One answer of the active model; every 1/share-th is compared."""
        self._due += self._share
        if self._due >= 1.0:
            self._due -= 1.0
            self._box.put((item, result))

    def stop(self) -> None:
        """End it, and tell nothing."""
        self._is_over = True
        self._box.close()

    def run(self, kept: Kept) -> None:
        """See `supervisor.Life`."""
        if self._is_over:
            return  # the supervisor's next attempt
        kept.pulse.working(_OPEN_BUDGET_S)
        with closing(self._open()) as model:
            kept.pulse.waiting()
            while len(self._active_ms) + self._failed < self._wanted:
                seen = self._box.get()
                if seen is None:
                    break
                kept.pulse.working(_INFER_BUDGET_S)
                self._compare(model, *seen)
                kept.pulse.waiting()
        if not self._is_over:
            self._end("")

    def down(self, err: Exception, *, is_news: bool, delay_s: float) -> None:  # noqa: ARG002 - the supervisor's signature
        """See `supervisor.Life`. It is not tried again: whoever began it decides."""
        if self._is_over:
            return
        self._is_over = True
        self._box.close()
        self._end(f"{type(err).__name__}: {err}")

    def up(self) -> None:
        """See `supervisor.Life`."""

    def _compare(self, model: Predictor, item: Frame | Text, result: Result) -> None:
        try:
            said = _infer(model, item)
        except (InferenceError, MediaError):
            self._failed += 1
            return
        self._agreed += is_same(result.items, said.items)
        active, shadow = result.timing_ms, said.timing_ms
        self._active_ms.append(active.prepare + active.run + active.decode)
        self._shadow_ms.append(shadow.prepare + shadow.run + shadow.decode)

    def _end(self, why: str) -> None:
        self._tell(
            Compared(
                items=len(self._active_ms),
                agreed=self._agreed,
                failed=self._failed,
                active_ms=statistics.median(self._active_ms) if self._active_ms else 0.0,
                shadow_ms=statistics.median(self._shadow_ms) if self._shadow_ms else 0.0,
                why=why,
            )
        )


def _infer(model: Predictor, item: Frame | Text) -> Prediction:
    if isinstance(item, Text):
        return model.infer_text(item.text)
    return model.infer_image(item.image)
