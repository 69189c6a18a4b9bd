from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge.compute.watch import Change
from edge.contract.messages import InputKind, OpenedBy, RowClass
from edge.device.frame import Frame, Text
from edge.device.mailbox import Bounded
from edge.device.pipeline import Pipeline
from edge.device.seat import Seat
from edge.device.supervisor import Kept, Supervisor
from edge.device.work import FrameWork, TextWork
from edge.errors import InferenceError, ModelError
from tests.simulators.clock import ManualClock
from tests.simulators.pipeline import Keeping, ScriptedGate, ScriptedWatch, SimulatedModel, frame, text

WAIT_S = 20.0


class Bench:
    """One pipeline with simulated neighbours, fed until its box is closed."""

    def __init__(
        self,
        *models: SimulatedModel | Exception,
        gate: ScriptedGate | None = None,
        watch: ScriptedWatch | None = None,
        kind: InputKind = InputKind.IMAGE,
        keep_chars: int = 0,
    ) -> None:
        self.clock = ManualClock()
        self.outlet = Keeping()
        self.models = list(models) or [SimulatedModel(kind)]
        self.opened: list[SimulatedModel] = []
        self.box: Bounded[Frame | Text] = Bounded(1000)
        self.gate = gate or ScriptedGate()
        self.changes: list[Change] = []
        self.work: FrameWork | TextWork = (
            FrameWork(
                "porch",
                open_gate=lambda: self.gate,
                watch=watch or ScriptedWatch(),
                changed=self.changes.append,
                clock=self.clock,
            )
            if kind is InputKind.IMAGE
            else TextWork("porch", max_chars=1000, keep_chars=keep_chars, clock=self.clock)
        )
        self.pipeline = Pipeline(
            "porch",
            work=self.work,
            seat=Seat(kind, "", self.open_model),
            inbox=self.box,
            outlet=self.outlet,
            clock=self.clock,
        )

    def open_model(self) -> SimulatedModel:
        found = self.models.pop(0) if len(self.models) > 1 else self.models[0]
        if isinstance(found, Exception):
            raise found
        self.opened.append(found)
        return found

    def run(self, *items: Frame | Text) -> Kept:
        for item in items:
            assert self.box.put(item)
        self.box.close()
        kept = Supervisor(self.clock, lambda: 0.0).keep("pipeline:porch", self.pipeline)
        assert kept.join(WAIT_S)
        return kept


def raising(*errors: Exception | None) -> Callable[[object], None]:
    script = list(errors)

    def act(_: object) -> None:
        err = script.pop(0) if script else None
        if err is not None:
            raise err

    return act


def test_a_frame_becomes_a_result_that_says_what_answered_and_why() -> None:
    bench = Bench(gate=ScriptedGate(OpenedBy.MOTION))
    bench.clock.advance(0.25)
    bench.run(frame(7, captured_s=1000.0))
    (result,) = bench.outlet.results
    assert (result.pipeline, result.input, result.model.name) == ("porch", "7", "gauge")
    assert result.frame_age_ms == 250.0
    assert result.gate is not None
    assert (result.gate.opened_by, result.gate.tiles) == (OpenedBy.MOTION, 2)
    assert result.timing_ms.run == 2.0
    assert result.quality is not None
    assert result.made_ms == 1_700_000_000_000


def test_the_outbox_has_a_result_before_anyone_sees_it() -> None:
    bench = Bench()
    bench.run(frame(1), frame(2))
    assert bench.outlet.order == ["keep", "show", "keep", "show"]


def test_a_gated_frame_never_reaches_the_model_and_is_counted() -> None:
    bench = Bench(gate=ScriptedGate(OpenedBy.FIRST, None, None, None, OpenedBy.MOTION))
    bench.run(*[frame(n) for n in range(5)])
    assert [(r.input, r.gate.skipped) for r in bench.outlet.results if r.gate] == [("0", 0), ("4", 3)]
    assert len(bench.opened[0].asked) == 2
    assert bench.pipeline.meter.gate_share == pytest.approx(0.6)


def test_the_gate_runs_on_the_clips_own_time_where_there_is_one() -> None:
    bench = Bench()
    bench.run(frame(1, captured_s=1000.0), frame(2, captured_s=1000.0, media_s=0.1))
    assert bench.gate.times == [1000.0, 0.1]


def test_a_covered_camera_is_told_even_while_the_gate_is_shut() -> None:
    covered = Change(name="camera_obstructed", state="on", detail="dark")
    bench = Bench(gate=ScriptedGate(None), watch=ScriptedWatch((), (covered,)))
    bench.run(frame(1), frame(2), frame(3))
    assert bench.changes == [covered]


def test_one_thread_opens_runs_and_closes_the_model() -> None:
    model = SimulatedModel()
    model.threads.clear()
    Bench(model).run(frame(1))
    assert model.threads == {"pipeline:porch"}
    assert model.is_closed


def test_a_bad_frame_costs_that_frame() -> None:
    bench = Bench(SimulatedModel(act=raising(None, InferenceError("wrong shape"), None)))
    bench.run(frame(1), frame(2), frame(3))
    assert [r.input for r in bench.outlet.results] == ["1", "3"]
    (event,) = bench.outlet.events
    assert (event.name, event.state, event.detail) == ("frame", "refused", "frame 2: wrong shape")
    assert len(bench.opened) == 1


def test_a_run_of_bad_frames_is_told_once() -> None:
    bench = Bench(SimulatedModel(act=raising(*[InferenceError("wrong shape")] * 10)))
    bench.run(*[frame(n) for n in range(12)])
    assert len(bench.outlet.events) == 1
    assert bench.pipeline.meter.failed == 10


def test_a_model_that_fails_again_and_again_is_opened_anew() -> None:
    bad, good = SimulatedModel(act=raising(*[InferenceError("lost its mind")] * 100)), SimulatedModel()
    bench = Bench(bad, good)
    bench.run(*[frame(n) for n in range(30)])
    assert bad.is_closed
    assert len(bench.outlet.results) == 10
    assert [(e.name, e.state) for e in bench.outlet.events] == [
        ("frame", "refused"),
        ("pipeline", "down"),
        ("pipeline", "up"),
    ]


def test_a_bad_model_is_told_once_and_tried_until_it_is_replaced() -> None:
    bench = Bench(ModelError("no model"), ModelError("no model"), ModelError("no model"), SimulatedModel())
    bench.run(frame(1))
    assert [r.input for r in bench.outlet.results] == ["1"]
    assert [(row_class, e.state) for row_class, e in bench.outlet.kept if e in bench.outlet.events] == [
        (RowClass.ALARM, "down"),
        (RowClass.ALARM, "up"),
    ]
    assert "no model; next attempt in 5.0 s" in bench.outlet.events[0].detail


def test_a_defect_while_inferring_costs_the_item_and_a_reopened_model() -> None:
    bench = Bench(SimulatedModel(act=raising(ZeroDivisionError("division by zero"))))
    bench.run(frame(1), frame(2))
    assert [r.input for r in bench.outlet.results] == ["2"]
    assert len(bench.opened) == 2


def test_a_model_for_texts_is_refused_for_a_camera() -> None:
    bench = Bench(SimulatedModel(InputKind.TEXT), SimulatedModel())
    bench.run(frame(1))
    assert "gauge takes text input, this source gives image" in bench.outlet.events[0].detail


def test_everything_handed_over_before_the_end_is_inferred() -> None:
    bench = Bench(kind=InputKind.TEXT)
    kept = bench.run(*[text("hello", id=str(n)) for n in range(100)])
    assert len(bench.outlet.results) == 100
    assert kept.is_ended


def test_a_text_becomes_a_result_for_whoever_asked() -> None:
    bench = Bench(kind=InputKind.TEXT, keep_chars=5)
    bench.run(text("hello world", id="q1", reply_to="answers/me"))
    ((result, reply_to),) = bench.outlet.shown
    assert (result.input, result.text, result.kind, reply_to) == ("q1", "hello", InputKind.TEXT, "answers/me")


def test_a_text_is_not_kept_unless_asked_for() -> None:
    bench = Bench(kind=InputKind.TEXT)
    bench.run(text("private"))
    assert bench.outlet.results[0].text is None


@pytest.mark.parametrize(
    ("words", "why"),
    [("x" * 1001, "1001 characters, expected at most 1000"), ("broken \udcff bytes", "not valid Unicode")],
)
def test_a_poisoned_text_never_reaches_the_model_and_each_is_told(words: str, why: str) -> None:
    bench = Bench(kind=InputKind.TEXT)
    bench.run(text(words, id="a"), text("sound", id="b"), text(words, id="c"))
    assert bench.opened[0].asked == ["sound"]
    assert [(e.name, e.state) for e in bench.outlet.events] == [("text", "refused")] * 2
    assert why in bench.outlet.events[0].detail
    assert "text a" in bench.outlet.events[0].detail


def test_a_flood_of_poisoned_texts_does_not_reopen_the_model() -> None:
    bench = Bench(kind=InputKind.TEXT)
    bench.run(*[text("x" * 2000, id=str(n)) for n in range(100)])
    assert len(bench.opened) == 1
    assert len(bench.outlet.events) == 100


def test_the_watchdog_sees_a_model_that_hangs_and_not_a_camera_that_is_away() -> None:
    began, release = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        began.set()
        assert release.wait(WAIT_S)

    bench = Bench(SimulatedModel(act=hang))
    supervisor = Supervisor(bench.clock)
    kept = supervisor.keep("pipeline:porch", bench.pipeline)
    bench.clock.advance(3600.0)  # an hour without a frame
    assert supervisor.stuck() == ()
    assert bench.box.put(frame(1))
    assert began.wait(WAIT_S)
    bench.clock.advance(31.0)
    assert supervisor.stuck() == ("pipeline:porch",)
    release.set()
    bench.box.close()
    assert kept.join(WAIT_S)


def test_the_rate_is_of_the_last_seconds_and_falls_when_nothing_comes() -> None:
    bench = Bench()
    meter = bench.pipeline.meter
    for _ in range(60):
        bench.clock.advance(0.1)
        meter.count()
    assert meter.fps() == pytest.approx(10.0, abs=0.3)
    bench.clock.advance(100.0)
    assert meter.fps() < 0.2


def test_a_text_is_let_go_by_its_sender_when_its_answer_is_committed_and_not_before() -> None:
    bench = Bench(kind=InputKind.TEXT)
    bench.outlet.commits = False
    taken: list[str] = []
    bench.run(
        replace(text("hello"), taken=lambda: taken.append("a")),
        replace(text("x" * 9999), taken=lambda: taken.append("b")),
    )
    assert taken == []
    for future in bench.outlet.futures:
        future.set_result(1)
    assert taken == ["a", "b"]


def test_a_text_that_meets_a_defect_is_answered_once_and_does_not_come_back() -> None:
    bench = Bench(
        SimulatedModel(InputKind.TEXT, act=raising(ZeroDivisionError("division by zero"))), kind=InputKind.TEXT
    )
    taken: list[str] = []
    bench.run(replace(text("poison"), taken=lambda: taken.append("poison")), text("sound", id="2"))
    assert taken == ["poison"]
    assert [result.input for result in bench.outlet.results] == ["2"]
    assert [(event.name, event.state) for event in bench.outlet.events] == [
        ("text", "refused"),
        ("pipeline", "down"),
        ("pipeline", "up"),
    ]
