"""The demo as a play: what happens when.

Promises: scenes are a table in order of time, each one action that says one sentence; a part that ends by itself ends
the play with its last words. A new scene (a model update on the way, say) is one more line of the table.
Leaves out: the parts (`stage`), the picture (`screen`), the books (`account`).
Thread: main.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from edge.central.store.read import Query, Reader
from edge.clock import Clock
from edge.demo.account import Figures, Reading, audit, given_numbers, judge, read_labels, waiting_rows
from edge.demo.belt import FPS
from edge.demo.children import DemoError
from edge.demo.screen import Screen
from edge.demo.stage import Stage

__all__ = ["Played", "play"]

_START_S = 30.0
_TICK_S = 0.1
_CUT_S = 7.0
_DEAD_S = 1.0
_LATE_S = 10.0  # that the texts may take longer than the clip on a slow machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """How it went."""

    figures: Figures
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    at_s: float  # of the clip
    act: Callable[[], str]  # what to say about it


def play(stage: Stage, screen: Screen, clock: Clock) -> Played:
    """Run every scene and count.

    Raises:
        DemoError: a part did not do what it should.
        StoreError: one of the databases cannot be read.
    """
    began_s = clock.monotonic_s()
    theatre = _Theatre(stage, screen, clock)
    screen.say(f"broker ({stage.broker_name}) and central service are up, the device starts")
    theatre.until(lambda: stage.started_ms is not None, _START_S, "the camera was never opened")
    stage.feeder.start()
    screen.say("the belt runs; texts arrive in English and Chinese")
    clip_began_s = clock.monotonic_s()
    for scene in _script(stage):
        theatre.run_to(clip_began_s + scene.at_s)
        screen.say(scene.act())
    theatre.run_to(clip_began_s + stage.belt.frames / FPS)
    theatre.until(lambda: stage.feeder.is_done, _LATE_S, "the texts were not taken")
    stage.feeder.settle()
    screen.say("the clip is over; waiting until the centre has confirmed every row")
    stage.finish()
    theatre.look()
    return _count(stage, clock.monotonic_s() - began_s)


def _script(stage: Stage) -> tuple[_Scene, ...]:
    length_s = stage.belt.frames / FPS
    cut_s = 0.2 * length_s
    # Killed while the belt stands still, so that the label in view is still there when the daemon is back.
    kill_s = stage.belt.stills[1][0] / FPS

    return (
        _Scene(at_s=cut_s, act=lambda: _cut(stage)),
        _Scene(at_s=cut_s + min(_CUT_S, 0.25 * length_s), act=lambda: _restore(stage)),
        _Scene(at_s=kill_s, act=lambda: _kill(stage)),
        _Scene(at_s=kill_s + _DEAD_S, act=lambda: _revive(stage)),
    )


def _cut(stage: Stage) -> str:
    stage.cut_broker()
    return "the broker was killed; the device goes on and keeps its results on disk"


def _restore(stage: Stage) -> str:
    waiting = waiting_rows(stage.outbox)
    stage.restore_broker()
    return f"the broker is back, and empty; {waiting} rows waited on the device and travel now"


def _kill(stage: Stage) -> str:
    stage.feeder.settle()
    stage.kill_device()
    stage.feeder.resume()
    return f"the daemon was killed with SIGKILL; {waiting_rows(stage.outbox)} rows are on its disk"


def _revive(stage: Stage) -> str:
    stage.start_device()
    return "the daemon starts again where it was; texts waited in the pipe, the belt did not wait"


class _Theatre:
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

    def until(self, is_so: Callable[[], bool], within_s: float, otherwise: str) -> None:
        """Look on until something is so.

        Raises:
            DemoError: it is not so in time.
        """
        deadline_s = self._clock.monotonic_s() + within_s
        while not is_so():
            now_s = self._clock.monotonic_s()
            if now_s > deadline_s:
                raise DemoError(f"{otherwise} within {within_s:g} s; logs are in {self._stage.folder / 'logs'}")
            self.run_to(now_s + _TICK_S)


def _count(stage: Stage, seconds: float) -> Played:
    reader = Reader.open(f"sqlite:///{stage.database}")
    try:
        results = tuple(stored.result for stored in reader.results(Query()))
        books = audit(given_numbers(stage.outbox), reader)
    finally:
        reader.close()
    readings = read_labels(stage.belt.shown, results, stage.started_ms or 0)
    return Played(figures=judge(books, results, readings, stage.texts, seconds), readings=readings)
