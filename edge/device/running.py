"""A pipeline that runs: its two threads, the box between them, and how it is doing.

Promises: a stop ends both threads from every state; what the source had handed over is inferred first, unless the model
is broken or too slow for the time given.
Leaves out: which source, model and outlet (`app` chooses them).
Thread: main.
"""

from __future__ import annotations

import logging
from typing import Generic, TypeVar

from edge.clock import Clock
from edge.contract.messages import PipelineState
from edge.device.capture import Capture, Reader
from edge.device.frame import Frame, Text
from edge.device.mailbox import Bounded, Latest
from edge.device.pipeline import Outlet, Pipeline
from edge.device.seat import Seat
from edge.device.supervisor import Supervisor
from edge.device.work import Work

__all__ = ["Running"]

_log = logging.getLogger(__name__)

T = TypeVar("T", bound=Frame | Text)


class Running(Generic[T]):
    """Threads `capture:<name>` and `pipeline:<name>`, started by the constructor."""

    def __init__(
        self,
        name: str,
        *,
        reader: Reader[T],
        box: Latest[T] | Bounded[T],
        work: Work[T],
        seat: Seat,
        outlet: Outlet,
        supervisor: Supervisor,
        clock: Clock,
    ) -> None:
        self.seat = seat
        self._name = name
        self._box = box
        self._supervisor = supervisor
        self._clock = clock
        self._capture = Capture(name, reader, box, outlet.keep, clock)
        self._pipeline = Pipeline(name, work=work, seat=seat, inbox=box, outlet=outlet, clock=clock)
        # The model first: it takes longest, and a camera that waits for it only grows older.
        self._kept_pipeline = supervisor.keep(f"pipeline:{name}", self._pipeline)
        self._kept_capture = supervisor.keep(f"capture:{name}", self._capture)

    @property
    def is_ended(self) -> bool:
        """Whether the source has ended and everything it gave has been inferred."""
        return self._kept_pipeline.is_ended

    def state(self) -> PipelineState:
        """How it is doing now."""
        meter = self._pipeline.meter
        return PipelineState(
            source=self._capture.state,
            model=meter.model,
            fps=meter.fps(),
            frames=meter.frames,
            results=meter.results,
            superseded=self._box.superseded if isinstance(self._box, Latest) else 0,
            gate_share=round(meter.gate_share, 4),
            frame_age_ms=meter.frame_age_ms,
            error=meter.error or self._capture.error,
        )

    def begin_stop(self) -> None:
        """Tell the source to stop; returns at once, so that many pipelines stop at the same time."""
        self._kept_capture.stop.set()
        self._capture.close_source()

    def finish_stop(self, deadline_s: float) -> bool:
        """Wait until monotonic `deadline_s` for both threads; false when one is left behind, hanging in native code."""
        is_drained = self._kept_capture.join(self._left_s(deadline_s) / 2)
        self._box.close()
        self._kept_pipeline.stop.set()
        is_done = self._kept_pipeline.join(self._left_s(deadline_s))
        is_over = is_done and (is_drained or self._kept_capture.join(self._left_s(deadline_s)))
        if not is_over:
            _log.warning("%s: does not stop; left behind", self._name)
        self._supervisor.forget(self._kept_capture)
        self._supervisor.forget(self._kept_pipeline)
        return is_over

    def _left_s(self, deadline_s: float) -> float:
        return max(0.0, deadline_s - self._clock.monotonic_s())
