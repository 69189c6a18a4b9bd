"""The demo as a play: what happens when.

Promises: the scenes of the first act are a table in order of time, each one action that says one sentence; the second
act, of updates, follows where the stage has a publisher. A part that ends by itself ends the play with its last words.
Leaves out: the parts (`stage`), the picture (`screen`), the books (`account`).
Thread: main.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge.clock import Clock
from edge.contract.messages import Result
from edge.demo.account import (
    Figures,
    Reading,
    Updated,
    audit,
    given_numbers,
    judge,
    passed,
    read_labels,
    score,
    waiting_rows,
)
from edge.demo.belt import FPS
from edge.demo.screen import Screen
from edge.demo.stage import Stage
from edge.demo.theatre import Theatre
from edge.demo.updates import Act, Released

__all__ = ["Played", "play"]

_START_S = 30.0
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
    theatre = Theatre(stage, screen, clock)
    screen.say(f"broker ({stage.broker_name}) and central service are up, the device starts")
    theatre.until(lambda: stage.started_ms is not None, _START_S, "the camera was never opened")
    stage.feeder.start()
    screen.say("the belt runs; texts arrive in English and Chinese")
    clip_began_s = clock.monotonic_s()
    for scene in _script(stage):
        theatre.run_to(clip_began_s + scene.at_s)
        screen.say(scene.act())
    theatre.run_to(clip_began_s + stage.belt.lap_s)
    released = None if stage.publisher is None else Act(stage, stage.publisher, theatre, screen, clock).play()
    theatre.until(lambda: stage.feeder.is_done, _LATE_S, "the texts were not taken")
    stage.feeder.settle()
    shown = passed(stage.belt.shown, stage.started_ms or 0, clock.wall_ms())
    screen.say("the clip is over; waiting until the centre has confirmed every row")
    stage.finish()
    theatre.look()
    readings = read_labels(shown, stage.results(), stage.started_ms or 0)
    return _count(stage, clock.monotonic_s() - began_s, readings, released)


def _script(stage: Stage) -> tuple[_Scene, ...]:
    length_s = stage.belt.lap_s
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


def _count(stage: Stage, seconds: float, readings: tuple[Reading, ...], released: Released | None) -> Played:
    results = stage.results()
    with stage.reader() as reader:
        books = audit(given_numbers(stage.outbox), reader)
    update = None if released is None else _updated(stage, results, readings, released)
    return Played(figures=judge(books, results, readings, stage.texts, seconds, update), readings=readings)


def _updated(stage: Stage, results: tuple[Result, ...], readings: tuple[Reading, ...], released: Released) -> Updated:
    ran = Counter(result.model.target for result in results)
    (active,) = stage.ask("SELECT active FROM slot WHERE name = ?", (stage.slot,))[0]
    return Updated(
        target=released.target,
        before=score(readings, ""),
        after=score(readings, released.target),
        refused=tuple(replace(each, results=ran[each.target]) for each in released.refused),
        attacks=released.attacks,
        ends_with=active,
    )
