"""Lets time pass in the demo, and shows what it brings.

Promises: while anything is waited for, what comes is shown, and a part that ends by itself ends the play.
Leaves out: what happens when (`scenes`, `updates`).
Thread: main.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge.clock import Clock
from edge.demo.children import DemoError
from edge.demo.screen import Screen
from edge.demo.stage import Stage

__all__ = ["Theatre"]

_TICK_S = 0.1


class Theatre:
    """Lets time pass, and shows what it brings."""

    def __init__(self, stage: Stage, screen: Screen, clock: Clock) -> None:
        self._stage = stage
        self._screen = screen
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._never = threading.Event()

    def look(self) -> None:
        """Show what came since the last look."""
        watcher = self._stage.watcher
        seconds = self._clock.monotonic_s() - self._began_s
        self._screen.health(watcher.state, has_broker=watcher.is_connected, seconds=seconds)
        for result in watcher.take():
            self._screen.seen(result)

    def run_to(self, until_s: float) -> None:
        """Look on until the monotonic clock shows `until_s`."""
        while True:
            self._stage.check()
            self.look()
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0:
                return
            self._clock.wait(self._never, min(_TICK_S, left_s))

    def until(self, is_so: Callable[[], bool], within_s: float, otherwise: str, *, every_s: float = _TICK_S) -> None:
        """Look on until something is so; asked every so many seconds.

        Raises:
            DemoError: it is not so in time.
        """
        deadline_s = self._clock.monotonic_s() + within_s
        while not is_so():
            now_s = self._clock.monotonic_s()
            if now_s > deadline_s:
                raise DemoError(f"{otherwise} within {within_s:g} s; logs are in {self._stage.folder / 'logs'}")
            self.run_to(now_s + every_s)
