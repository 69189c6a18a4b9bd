"""One source, one model, one thread: from a frame or a text to a result that is kept.

Promises: a bad frame or text costs that one; a model that fails many times in a row is opened anew; everything that was
handed over before the end is inferred before the thread ends. The outbox has a result before anyone sees it.
Leaves out: where items come from (`capture`), what is done with one (`work`), when to try again (`supervisor`), which
model it is (`seat`).
Thread: `pipeline:<name>` runs and closes the model.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from contextlib import closing
from typing import Generic, Protocol, TypeVar

from edge.clock import Clock
from edge.compute.watch import Change
from edge.contract.messages import Event, Result, RowClass
from edge.device.frame import Frame, Text
from edge.device.seat import Seat
from edge.device.supervisor import Kept
from edge.device.work import Answer, Meter, Work
from edge.errors import EdgeError, InferenceError, MediaError

__all__ = ["Inbox", "Outlet", "Pipeline", "tell_change"]

_log = logging.getLogger(__name__)

T = TypeVar("T", bound=Frame | Text)
T_co = TypeVar("T_co", covariant=True)

# A Zero 2 W imports its runtime and probes a large model in half a minute; below that the watchdog would loop.
_OPEN_BUDGET_S = 120.0
# The slowest model that anyone waits for on the slowest board. Beyond it the engine hangs and systemd restarts us.
_INFER_BUDGET_S = 30.0
_MANY_FAILURES = 20  # in a row: no longer the inputs' fault


class Inbox(Protocol[T_co]):
    """Where capture leaves items: `mailbox.Latest` or `mailbox.Bounded`."""

    @property
    def is_ended(self) -> bool:
        """Whether there will never again be an item."""
        ...

    def get(self, timeout_s: float | None = None) -> T_co | None:
        """Wait for the next item; None when `timeout_s` passed, when woken, or when there will be none."""
        ...

    def wake(self) -> None:
        """Have `get` return. From any thread."""
        ...


class Outlet(Protocol):
    """Where results and events go. Nothing here waits for the network."""

    def keep(self, row_class: RowClass, body: Result | Event) -> Future[int]:
        """Hand it to the outbox; done when it is committed, or lost for good.

        May wait for the disk, which is how a fast clip is slowed down.
        """
        ...

    def show(self, result: Result, reply_to: str | None) -> None:
        """Let people see it, and answer whoever asked. Never relied upon."""
        ...


class Pipeline(Generic[T]):
    """The life of one pipeline thread."""

    def __init__(
        self,
        name: str,
        *,
        work: Work[T],
        seat: Seat,
        inbox: Inbox[T],
        outlet: Outlet,
        clock: Clock,
    ) -> None:
        self.meter = Meter(clock)
        self._name = name
        self._work = work
        self._seat = seat
        self._inbox = inbox
        self._outlet = outlet
        self._clock = clock
        self._failed_in_row = 0
        seat.ring = inbox.wake  # a source that gives nothing for hours keeps no model from taking over

    def run(self, kept: Kept) -> None:
        """See `supervisor.Life`. Returns when the inbox has ended."""
        self._failed_in_row = 0
        kept.pulse.working(_OPEN_BUDGET_S)
        self._work.prepare()
        with closing(self._seat) as seat:
            seat.settle()
            self.meter.model = seat.model.ref
            kept.pulse.waiting()
            try:
                while not self._inbox.is_ended:
                    self._turn(kept)
            except Exception as err:  # whatever broke, it did so with the model on trial
                seat.end_trial(err)
                raise

    def _turn(self, kept: Kept) -> None:
        """Do what was asked for, and infer one item."""
        if self._seat.is_asked:  # with no item in hand: none is lost where a model cannot be opened
            kept.pulse.working(_OPEN_BUDGET_S)
            self._seat.settle()
            self.meter.model = self._seat.model.ref
            kept.pulse.waiting()
        item = self._inbox.get()
        if item is not None:
            kept.pulse.working(_INFER_BUDGET_S)
            if self._handle(item):
                self.meter.error = ""
                kept.went_well()
            kept.pulse.waiting()

    def down(self, err: Exception, *, is_news: bool, delay_s: float) -> None:
        """See `supervisor.Life`."""
        self.meter.error = str(err) or type(err).__name__
        if is_news:
            detail = f"{self.meter.error}; next attempt in {delay_s:.1f} s"
            self._outlet.keep(RowClass.ALARM, self._event("pipeline", "down", detail))

    def up(self) -> None:
        """See `supervisor.Life`."""
        self._outlet.keep(RowClass.ALARM, self._event("pipeline", "up", ""))

    def _handle(self, item: T) -> bool:
        """Whether it went well."""
        self.meter.count()
        self.meter.model = self._seat.model.ref
        try:
            answer = self._infer(item)
        except (InferenceError, MediaError) as err:
            self._failed(err, item)
            return False
        except Exception as err:
            # A defect of ours is the supervisor's business, but this item shall not come back and meet it again.
            if isinstance(item, Text):
                self._refuse(item, f"{type(err).__name__}: {err}")
            raise
        self._failed_in_row = 0
        if answer is not None:
            _when_kept(item, self._outlet.keep(RowClass.RESULT, answer.result))
            self._outlet.show(answer.result, answer.reply_to)
            self.meter.results += 1
            if self.meter.results == 1:
                ref = answer.result.model
                _log.info("%s: first result, by %s on %s", self._name, ref.name, ref.engine)
            self._seat.went_well(item, answer.result)
        return True

    def _infer(self, item: T) -> Answer | None:
        """What the model says; of a text that the one on trial failed on, what the one before it says."""
        try:
            return self._work.infer(self._seat.model, item, self.meter)
        except MediaError:
            raise
        except Exception as err:
            if not self._seat.blames(err):
                raise
            if isinstance(item, Frame):  # its gate has let it through once; the next one is not far
                raise InferenceError(f"by a model on trial: {err}") from err
        return self._work.infer(self._seat.model, item, self.meter)

    def _failed(self, err: EdgeError, item: T) -> None:
        """Report one bad input; give the model up after many in a row."""
        self.meter.failed += 1
        self.meter.error = str(err)
        # A text is somebody's question, and each deserves its answer; of a run of bad frames the first one tells all.
        if isinstance(item, Text):
            self._refuse(item, str(err))
        elif self._failed_in_row == 0:
            self._outlet.keep(RowClass.RESULT, self._event("frame", "refused", f"frame {item.number}: {err}"))
        if isinstance(err, InferenceError):  # a bad text says nothing about the model
            self._failed_in_row += 1
            if self._failed_in_row >= _MANY_FAILURES:
                raise InferenceError(f"{self._failed_in_row} inputs in a row failed, the last one: {err}") from err

    def _refuse(self, item: Text, why: str) -> None:
        event = self._event("text", "refused", f"text {item.id}: {why}")
        _when_kept(item, self._outlet.keep(RowClass.RESULT, event))

    def _event(self, name: str, state: str, detail: str) -> Event:
        return Event(name=name, state=state, made_ms=self._clock.wall_ms(), pipeline=self._name, detail=detail)


def _when_kept(item: Frame | Text, kept: Future[int]) -> None:
    """Tell whoever sent a text that it may be forgotten, once its answer is safe (or recorded as lost)."""
    taken = item.taken if isinstance(item, Text) else None
    if taken is not None:
        kept.add_done_callback(lambda _: taken())


def tell_change(pipeline: str, outlet: Outlet, clock: Clock, change: Change) -> None:
    """Report that a camera was covered, blurred or knocked, or no longer is."""
    event = Event(
        name=change.name, state=change.state, made_ms=clock.wall_ms(), pipeline=pipeline, detail=change.detail
    )
    outlet.keep(RowClass.ALARM, event)
