"""A clock that moves when a test says so."""

from __future__ import annotations

import threading


class ManualClock:
    """Implements `edge.clock.Clock`. `wait` never sleeps: it advances the time by its timeout, or returns at once when set."""

    def __init__(self, *, monotonic_s: float = 1000.0, wall_ms: int = 1_700_000_000_000) -> None:
        self._lock = threading.Lock()
        self._monotonic_s = monotonic_s
        self._wall_ms = wall_ms

    def monotonic_s(self) -> float:
        with self._lock:
            return self._monotonic_s

    def wall_ms(self) -> int:
        with self._lock:
            return self._wall_ms

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if event.is_set():
            return True
        self.advance(timeout_s)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._monotonic_s += seconds
            self._wall_ms += round(seconds * 1000)

    def set_wall_ms(self, wall_ms: int) -> None:
        """Jump the wall clock alone, as a time server or a missing battery does."""
        with self._lock:
            self._wall_ms = wall_ms
