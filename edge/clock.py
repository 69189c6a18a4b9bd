"""Time, read in one place so that tests can hold it.

Promises: intervals come from `monotonic_s`, stamps from `wall_ms`; nothing else in the project reads a clock.
Leaves out: whether the wall clock is right. A board without a battery starts in 1970.
Thread: any.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Something that knows the time and can wait."""

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never jumps, never goes back."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, as the machine believes; may jump by years."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Sleep until `event` is set or `timeout_s` seconds passed; true when it was set."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1_000_000

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """See `Clock`."""
        return event.wait(timeout_s)
