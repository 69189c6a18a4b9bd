"""A model takes over from another between two items: nothing is lost, and the one before stays at hand."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from edge.contract.messages import InputKind, Item, Result, Timing
from edge.device.frame import Frame, Text
from edge.device.mailbox import Bounded
from edge.device.pipeline import Pipeline
from edge.device.seat import Candidate, Seat, Terms, Verdict
from edge.device.shadow import Compared, ShadowRun, is_same
from edge.device.supervisor import Kept, Supervisor
from edge.device.work import FrameWork, TextWork
from edge.errors import InferenceError, MediaError, ModelError
from tests.simulators.clock import ManualClock
from tests.simulators.pipeline import Keeping, Said, ScriptedGate, ScriptedWatch, SimulatedModel, frame, text

WAIT_S = 20.0
TERMS = Terms(items=3, slower=2.0)


def said(ms: float, label: str = "cat") -> Said:
    return Said(items=(Item(label=label, score=0.9),), timing_ms=Timing(prepare=0.0, run=ms, decode=0.0))


class Bench:
    """A pipeline that is fed item by item, so that orders fall between two of them."""

    def __init__(self, active: SimulatedModel, kind: InputKind = InputKind.IMAGE) -> None:
        self.clock = ManualClock()
        self.outlet = Keeping()
        self.active = active
        self.opened = 0
        self.verdicts: list[Verdict] = []
        self.box: Bounded[Frame | Text] = Bounded(100)
        self.seat = Seat(kind, "a", self.open)
        work: FrameWork | TextWork = (
            FrameWork("porch", open_gate=ScriptedGate, watch=ScriptedWatch(), changed=lambda _: None, clock=self.clock)
            if kind is InputKind.IMAGE
            else TextWork("porch", max_chars=1000, keep_chars=0, clock=self.clock)
        )
        self.pipeline: Pipeline[Frame | Text] = Pipeline(
            "porch", work=work, seat=self.seat, inbox=self.box, outlet=self.outlet, clock=self.clock
        )
        self.kept: Kept | None = None
        self.count = 0

    def open(self) -> SimulatedModel:
        self.opened += 1
        return self.active

    def start(self) -> Bench:
        self.kept = Supervisor(self.clock, lambda: 0.0).keep("pipeline:porch", self.pipeline)
        return self

    def feed(self, *items: Frame | Text) -> list[str]:
        """Names of the models that answered them."""
        before = len(self.outlet.kept)
        for item in items:
            assert self.box.put(item)
        self.outlet.wait_for(lambda outlet: len(outlet.kept) >= before + len(items))
        while len(self.box) or (self.kept and self.kept.pulse._deadline_s is not None):
            threading.Event().wait(0.001)
        return [r.model.name for r in self.outlet.results[-len(items) :]]

    def frames(self, count: int) -> list[str]:
        self.count += count
        return self.feed(*[frame(number) for number in range(self.count - count, self.count)])

    def stop(self) -> None:
        self.box.close()
        assert self.kept is not None
        assert self.kept.join(WAIT_S)

    def try_out(self, model: SimulatedModel, terms: Terms = TERMS, *, is_tight: bool = False) -> None:
        candidate = Candidate(key="b", open=lambda: model, model=None if is_tight else model)
        self.seat.try_out(candidate, terms, self.verdicts.append)


def fail_at(number: int, error: Exception) -> Callable[[object], None]:
    left = [number]

    def act(_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise error

    return act


def test_a_swap_between_two_items_loses_none_and_the_old_model_stays_open_until_it_is_confirmed() -> None:
    a, b = SimulatedModel(name="a"), SimulatedModel(name="b")
    bench = Bench(a).start()
    assert bench.frames(2) == ["a", "a"]
    bench.try_out(b)
    assert bench.frames(5) == ["b"] * 5
    assert [(v.is_good, v.items) for v in bench.verdicts] == [(True, 3)]
    assert not a.is_closed
    assert bench.seat.holds("b")
    bench.seat.run("b", lambda: b)
    assert bench.frames(1) == ["b"]
    assert (a.is_closed, b.is_closed) == (True, False)
    bench.stop()
    assert b.is_closed
    assert [r.input for r in bench.outlet.results] == [str(n) for n in range(8)]
    assert bench.outlet.events == []


def test_a_swap_that_takes_long_holds_up_no_frame_of_another_pipeline() -> None:
    begun, may_open = threading.Event(), threading.Event()

    def opening() -> SimulatedModel:
        begun.set()
        assert may_open.wait(WAIT_S)
        return SimulatedModel(name="b")

    swapping, other = Bench(SimulatedModel(name="a")).start(), Bench(SimulatedModel(name="c")).start()
    swapping.frames(1)
    swapping.seat.try_out(Candidate(key="b", open=opening), TERMS, swapping.verdicts.append)
    assert begun.wait(WAIT_S)
    assert other.frames(20) == ["c"] * 20
    may_open.set()
    assert swapping.frames(2) == ["b", "b"]
    for bench in (swapping, other):
        bench.stop()
    assert [r.input for r in other.outlet.results] == [str(n) for n in range(20)]
    assert [r.input for r in swapping.outlet.results] == [str(n) for n in range(3)]


@pytest.mark.parametrize("error", [InferenceError("bad"), ZeroDivisionError("a defect")])
def test_a_candidate_that_fails_costs_one_frame_and_the_old_model_answers_the_next(error: Exception) -> None:
    a, b = SimulatedModel(name="a"), SimulatedModel(name="b", act=fail_at(2, error))
    bench = Bench(a).start()
    bench.frames(1)
    bench.try_out(b)
    bench.frames(4)
    bench.stop()
    assert [r.model.name for r in bench.outlet.results] == ["a", "b", "a", "a"]
    assert [(v.is_good, v.is_cut_short) for v in bench.verdicts] == [(False, False)]
    assert type(error).__name__ in bench.verdicts[0].why
    assert b.is_closed
    assert bench.opened == 1, "the pipeline was not opened anew"
    assert [(e.name, e.state) for e in bench.outlet.events] == [("frame", "refused")]


def test_a_text_that_the_candidate_fails_on_is_answered_by_the_old_model() -> None:
    a = SimulatedModel(InputKind.TEXT, name="a")
    b = SimulatedModel(InputKind.TEXT, name="b", act=fail_at(1, RuntimeError("boom")))
    bench = Bench(a, InputKind.TEXT).start()
    bench.try_out(b)
    assert bench.feed(text("one"), text("two", id="2")) == ["a", "a"]
    bench.stop()
    assert bench.outlet.events == []
    assert not bench.verdicts[0].is_good


def test_a_bad_picture_is_no_fault_of_the_candidate() -> None:
    b = SimulatedModel(name="b", act=fail_at(1, MediaError("no picture")))
    bench = Bench(SimulatedModel(name="a")).start()
    bench.try_out(b)
    bench.frames(4)
    bench.stop()
    assert [v.is_good for v in bench.verdicts] == [True]


def test_a_candidate_that_is_too_slow_beside_the_old_one_is_sent_back() -> None:
    a, b = SimulatedModel(name="a", said=said(10.0)), SimulatedModel(name="b", said=said(25.0))
    bench = Bench(a).start()
    bench.frames(3)
    bench.try_out(b)
    assert bench.frames(4) == ["b", "b", "b", "a"]
    bench.stop()
    assert [(v.is_good, v.why) for v in bench.verdicts] == [(False, "25.0 ms an inference, allowed 20.0")]


def test_a_busy_processor_sends_no_model_back_that_answers_in_a_moment() -> None:
    a, b = SimulatedModel(name="a", said=said(0.1)), SimulatedModel(name="b", said=said(4.0))
    bench = Bench(a).start()
    bench.frames(3)
    bench.try_out(b)
    bench.frames(3)
    bench.stop()
    assert [v.is_good for v in bench.verdicts] == [True]


def test_without_memory_for_two_the_old_model_is_closed_first_and_comes_back_on_failure() -> None:
    a, b = SimulatedModel(name="a"), SimulatedModel(name="b", act=fail_at(2, InferenceError("bad")))
    bench = Bench(a).start()
    bench.frames(1)
    bench.try_out(b, is_tight=True)
    assert bench.frames(1) == ["b"]
    assert a.is_closed
    bench.frames(2)
    bench.stop()
    assert [r.model.name for r in bench.outlet.results] == ["a", "b", "a"]
    assert bench.opened == 2


def test_a_candidate_of_another_kind_is_refused_before_any_item_reaches_it() -> None:
    bench = Bench(SimulatedModel(name="a")).start()
    bench.frames(1)
    bench.try_out(SimulatedModel(InputKind.TEXT, name="b"))
    assert bench.frames(1) == ["a"]
    bench.stop()
    assert "takes text input" in bench.verdicts[0].why


def test_whatever_breaks_the_pipeline_during_a_trial_is_the_candidates_fault() -> None:
    bench = Bench(SimulatedModel(name="a"))
    keep = bench.outlet.keep

    def broken(row_class: object, body: object) -> object:
        if isinstance(body, Result) and body.model.name == "b":
            raise OverflowError("its score is no number that a row can hold")
        return keep(row_class, body)  # type: ignore[arg-type]

    bench.outlet.keep = broken  # type: ignore[method-assign,assignment]
    bench.start()
    bench.frames(1)
    bench.try_out(SimulatedModel(name="b"))
    assert bench.box.put(frame(1))
    bench.outlet.wait_for(lambda outlet: any(event.state == "down" for event in outlet.events))
    bench.stop()
    assert [(v.is_good, v.is_cut_short) for v in bench.verdicts] == [(False, False)]
    assert "OverflowError" in bench.verdicts[0].why


def test_a_pipeline_that_stops_during_a_trial_says_that_it_was_cut_short() -> None:
    a, b = SimulatedModel(name="a"), SimulatedModel(name="b")
    bench = Bench(a).start()
    bench.try_out(b)
    bench.frames(1)
    bench.stop()
    assert [(v.is_good, v.is_cut_short, v.items) for v in bench.verdicts] == [(False, True, 1)]
    assert a.is_closed
    assert b.is_closed


def test_a_source_that_gives_nothing_keeps_no_model_from_taking_over() -> None:
    a, b = SimulatedModel(name="a"), SimulatedModel(name="b")
    bench = Bench(a).start()
    bench.frames(1)
    bench.seat.run("b", lambda: b, b)
    for _ in range(2000):
        if bench.seat.holds("b"):
            break
        threading.Event().wait(0.005)
    assert bench.seat.holds("b")
    assert a.is_closed
    assert len(bench.outlet.results) == 1, "no item has come since"
    bench.stop()


def test_an_item_is_not_lost_where_the_model_that_was_asked_for_cannot_be_opened() -> None:
    a = SimulatedModel(InputKind.TEXT, name="a")
    bench = Bench(a, InputKind.TEXT).start()
    bench.feed(text("one"))
    tries = []

    def open_model() -> SimulatedModel:
        tries.append(1)
        if len(tries) == 1:
            raise ModelError("no such file")
        return SimulatedModel(InputKind.TEXT, name="b")

    bench.seat.run("b", open_model)
    assert bench.box.put(text("two", id="2"))
    bench.outlet.wait_for(lambda outlet: len(outlet.results) >= 2)
    bench.stop()
    assert [result.input for result in bench.outlet.results] == ["1", "2"]


def test_going_back_needs_no_new_opening() -> None:
    a, b = SimulatedModel(name="a"), SimulatedModel(name="b")
    bench = Bench(a).start()
    bench.frames(1)
    bench.try_out(b)
    bench.frames(1)
    bench.seat.run("a", bench.open)
    assert bench.frames(1) == ["a"]
    bench.stop()
    assert (bench.opened, b.is_closed) == (1, True)


def test_a_candidate_heals_a_pipeline_whose_own_model_cannot_be_opened() -> None:
    b = SimulatedModel(name="b")
    bench = Bench(SimulatedModel(name="a"))

    def broken() -> SimulatedModel:
        raise ModelError("no such file")

    bench.seat = Seat(InputKind.IMAGE, "", broken)
    bench.pipeline._seat = bench.seat
    bench.try_out(b)
    bench.start()
    assert bench.frames(3) == ["b"] * 3
    bench.seat.run("b", lambda: b)
    assert bench.frames(1) == ["b"]
    bench.stop()
    assert [v.is_good for v in bench.verdicts] == [True]


class ShadowBench(Bench):
    def shadow(self, model: SimulatedModel | Exception, *, share: float = 1.0, items: int = 3) -> list[Compared]:
        told: list[Compared] = []
        self.is_told = threading.Event()

        def tell(compared: Compared) -> None:
            told.append(compared)
            self.is_told.set()

        def open_model() -> SimulatedModel:
            if isinstance(model, Exception):
                raise model
            return model

        self.run = ShadowRun(open_model, share=share, items=items, tell=tell)
        self.kept_shadow = Supervisor(self.clock, lambda: 0.0).keep("shadow:porch", self.run)
        self.seat.watch(self.run.see)
        return told

    def feed_until_told(self) -> None:
        while not self.is_told.wait(0.002):
            self.frames(1)
        self.run.stop()
        assert self.kept_shadow.join(WAIT_S)


def test_a_shadow_is_compared_and_never_answers() -> None:
    b = SimulatedModel(name="b", said=said(4.0, "dog"))
    bench = ShadowBench(SimulatedModel(name="a", said=said(2.0)))
    bench.start()
    told = bench.shadow(b)
    bench.feed_until_told()
    bench.stop()
    assert {r.model.name for r in bench.outlet.results} == {"a"}
    assert told == [Compared(items=3, agreed=0, failed=0, active_ms=2.0, shadow_ms=4.0)]
    assert b.is_closed
    assert b.threads >= {"shadow:porch"}


@pytest.mark.parametrize(
    "model",
    [
        ModelError("cannot be opened"),
        SimulatedModel(name="b", act=fail_at(1, ZeroDivisionError("a defect"))),
    ],
)
def test_a_shadow_that_breaks_ends_the_comparison_and_nothing_else(model: SimulatedModel | Exception) -> None:
    bench = ShadowBench(SimulatedModel(name="a"))
    bench.start()
    told = bench.shadow(model)
    bench.feed_until_told()
    bench.frames(2)
    bench.stop()
    assert len(told) == 1
    assert told[0].why
    assert bench.outlet.events == []


def test_inputs_that_a_shadow_refuses_are_counted() -> None:
    bench = ShadowBench(SimulatedModel(name="a"))
    bench.start()
    told = bench.shadow(SimulatedModel(name="b", act=fail_at(1, InferenceError("bad"))))
    bench.feed_until_told()
    bench.stop()
    assert (told[0].items, told[0].agreed, told[0].failed) == (2, 2, 1)


def test_a_share_of_the_items_is_compared() -> None:
    b = SimulatedModel(name="b")
    bench = ShadowBench(SimulatedModel(name="a"))
    bench.start()
    bench.shadow(b, share=0.25, items=2)
    bench.feed_until_told()
    bench.stop()
    assert len(bench.outlet.results) >= 8


def test_answers_are_the_same_by_label_or_within_five_percent() -> None:
    def items(label: str = "", value: float | None = None) -> tuple[Item, ...]:
        return (Item(label=label, score=1.0, value=value),)

    assert is_same((), ())
    assert not is_same(items("cat"), ())
    assert is_same(items("cat"), items("cat"))
    assert not is_same(items("cat"), items("dog"))
    assert is_same(items(value=100.0), items(value=104.0))
    assert not is_same(items(value=100.0), items(value=110.0))
