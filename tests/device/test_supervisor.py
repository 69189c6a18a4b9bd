from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from edge.device.supervisor import Kept, Pulse, Supervisor, retry_after
from edge.errors import ConfigError, InferenceError, MissingExtraError, ModelError, SourceError, StoreError
from tests.simulators.clock import ManualClock

WAIT_S = 20.0


class ScriptedLife:
    """Does one scripted thing a life; ends after the last."""

    def __init__(self, *script: Exception | Callable[[Kept], None]) -> None:
        self.script = list(script)
        self.told: list[tuple[str, bool, float]] = []
        self.ups = 0
        self.done = threading.Event()
        self.can_report = True

    def run(self, kept: Kept) -> None:
        if not self.script:
            self.done.set()
            return
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        step(kept)

    def down(self, err: Exception, *, is_news: bool, delay_s: float) -> None:
        self.told.append((str(err), is_news, delay_s))
        if not self.can_report:
            raise OSError("nowhere to report to")

    def up(self) -> None:
        self.ups += 1


def keep(life: ScriptedLife, *, jitter: float = 0.0, clock: ManualClock | None = None) -> Kept:
    kept = Supervisor(clock or ManualClock(), lambda: jitter).keep("capture:porch", life)
    assert life.done.wait(WAIT_S)
    assert kept.join(WAIT_S)
    return kept


def well_then_lost(kept: Kept) -> None:
    kept.went_well()
    raise SourceError("gone again")


def test_a_life_that_breaks_is_tried_again_until_it_ends() -> None:
    life = ScriptedLife(SourceError("no route"), SourceError("no route"))
    assert keep(life).is_ended
    assert [is_news for _, is_news, _ in life.told] == [True, False]


def test_the_back_off_doubles_to_a_minute_and_stays_there() -> None:
    life = ScriptedLife(*[SourceError("no route")] * 9)
    keep(life)
    assert [delay_s for *_, delay_s in life.told] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_jitter_takes_up_to_half_of_each_delay() -> None:
    life = ScriptedLife(*[SourceError("no route")] * 7)
    keep(life, jitter=1.0)
    assert [delay_s for *_, delay_s in life.told] == [0.5, 1, 2, 4, 8, 16, 30]


def test_after_a_thousand_failures_it_still_tries_again() -> None:
    life = ScriptedLife(*[SourceError("no route")] * 1000)
    keep(life)
    assert life.told[-1][2] == 60


def test_recovery_is_told_once_and_starts_the_back_off_anew() -> None:
    life = ScriptedLife(SourceError("a"), SourceError("b"), well_then_lost, SourceError("c"))
    keep(life)
    assert life.ups == 1
    assert [(text, is_news) for text, is_news, _ in life.told] == [
        ("a", True),
        ("b", False),
        ("gone again", True),
        ("c", False),
    ]


@pytest.mark.parametrize(
    ("err", "first_s", "is_expected"),
    [
        (SourceError("x"), 1.0, True),
        (InferenceError("x"), 1.0, True),
        (StoreError("x"), 1.0, True),
        (ModelError("x"), 5.0, True),
        (ConfigError(("x",)), 5.0, True),
        (MissingExtraError("x", "onnx"), 60.0, True),
        (ZeroDivisionError("x"), 1.0, False),
        (MemoryError(), 1.0, False),
    ],
)
def test_each_error_type_says_what_comes_next(err: Exception, first_s: float, is_expected: bool) -> None:
    retry = retry_after(err)
    assert (retry.delay_s(1, 0.0), retry.is_expected) == (first_s, is_expected)


def test_a_defect_stops_only_its_own_life(caplog: pytest.LogCaptureFixture) -> None:
    sound, unsound = ScriptedLife(), ScriptedLife(ZeroDivisionError("division by zero"))
    keep(sound)
    keep(unsound)
    assert "Traceback" in caplog.text


def test_a_report_that_fails_does_not_end_the_life() -> None:
    life = ScriptedLife(SourceError("a"), SourceError("b"))
    life.can_report = False
    assert keep(life).is_ended
    assert len(life.told) == 2


def test_a_life_that_is_told_to_stop_in_its_back_off_ends() -> None:
    clock = ManualClock()
    kept: list[Kept] = []

    class Failing(ScriptedLife):
        def run(self, me: Kept) -> None:
            kept.append(me)
            raise SourceError("no route")

        def down(self, err: Exception, *, is_news: bool, delay_s: float) -> None:
            kept[0].stop.set()

    assert Supervisor(clock).keep("capture:porch", Failing()).join(WAIT_S)


def test_what_breaks_while_stopping_is_not_reported() -> None:
    def woken(kept: Kept) -> None:
        kept.stop.set()
        raise SourceError("closed under our feet")

    life = ScriptedLife(woken)
    kept = Supervisor(ManualClock()).keep("capture:porch", life)
    assert kept.join(WAIT_S)
    assert life.told == []


def test_work_over_its_budget_is_stuck_and_waiting_never_is() -> None:
    clock = ManualClock()
    pulse = Pulse(clock)
    pulse.working(30.0)
    clock.advance(29.0)
    assert not pulse.is_stuck
    clock.advance(2.0)
    assert pulse.is_stuck
    pulse.waiting()
    clock.advance(1e6)
    assert not pulse.is_stuck


def test_the_supervisor_names_the_stuck_thread() -> None:
    clock = ManualClock()
    release, began = threading.Event(), threading.Event()

    def hang(kept: Kept) -> None:
        kept.pulse.working(30.0)
        began.set()
        assert release.wait(WAIT_S)

    supervisor = Supervisor(clock)
    kept = supervisor.keep("pipeline:porch", ScriptedLife(hang))
    assert began.wait(WAIT_S)
    assert supervisor.stuck() == ()
    clock.advance(31.0)
    assert supervisor.stuck() == ("pipeline:porch",)
    release.set()
    assert kept.join(WAIT_S)
    assert supervisor.stuck() == ()
    supervisor.forget(kept)
