"""What holds for every fleet and every plan."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest
from hypothesis import Phase as Stage
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.central.rollout import engine
from edge.central.rollout.engine import ENDED
from edge.central.rollout.judging import halt_reason
from edge.central.rollout.outcomes import judged, tallied
from edge.central.rollout.plan import Member, Outcome, Phase, Plan, Report, Rollout, Wave
from tests.central.rollout.crowd import NEW, Crowd, plan, refuses, reports

T = TypeVar("T")

RATES = st.sampled_from((0.0, 0.1, 0.3, 1.0))


def waves() -> st.SearchStrategy[tuple[Wave, ...]]:
    def made(percents: list[int], failed: float, unknown: float, in_flight: int, *, has_shadow: bool) -> list[Wave]:
        runs = [
            Wave(
                name=f"w{number}",
                percent=percent,
                max_failed=failed,
                max_unknown=unknown,
                max_in_flight=in_flight,
                max_unproven=1,
                min_committed=0,
                soak_s=60,
                deadline_s=600,
            )
            for number, percent in enumerate((*sorted(percents), 100))
        ]
        shadow = [Wave(name="s", percent=20, mode="shadow", max_failed=failed, max_unproven=1, min_committed=0)]
        return (shadow if has_shadow else []) + runs

    lists = st.builds(
        made,
        st.lists(st.integers(1, 100), max_size=3),
        RATES,
        RATES,
        st.integers(1, 20),
        has_shadow=st.booleans(),
    )
    return lists.map(tuple)


FATES = st.lists(
    st.sampled_from(("good", "good", "good", "bad", "silent", "stubborn", "pinned", "taken")), min_size=1, max_size=25
)
JUMPS = st.lists(st.sampled_from((-100_000, -3600, -1, 1, 60, 600, 3600, 100_000)), max_size=12)
GENERATED = settings(max_examples=150, deadline=None)
# Enough to find a fault, and without looking for the smallest story that shows it.
HUNTED = settings(max_examples=150, deadline=None, phases=(Stage.generate,), database=None)


def crowd_of(chosen: tuple[Wave, ...], fates: list[str]) -> Crowd:
    fleet = reports(len(fates))
    for device, fate in zip(fleet, fates, strict=True):
        if fate == "stubborn":
            fleet[device] = replace(fleet[device], slot=refuses(NEW, 0))
    return Crowd(plan(*chosen), fleet, fates=dict(zip(fleet, fates, strict=True)))


def holds_a_halt_condition(crowd: Crowd, rollout: Rollout, wave: int) -> bool:
    members = ((member, crowd.reports[device]) for device, member in rollout.members.items())
    return halt_reason(rollout.plan, wave, tallied(members)) is not None


def nothing_goes_on_while_a_halt_condition_holds(chosen: tuple[Wave, ...], fates: list[str]) -> None:
    crowd = crowd_of(chosen, fates)
    for _ in range(40):
        before = crowd.rollout
        seen = dict(crowd.reports)
        made = engine.step(before, seen.values(), crowd.now_ms)
        after = made.rollout
        is_bad = any(holds_a_halt_condition(crowd, after, wave) for wave in range(before.wave, after.wave + 1))
        if is_bad:
            assert after.phase is Phase.HALTED
        if after.wave > before.wave:
            assert not is_bad
        if after.phase is Phase.HALTED:
            assert all(each.wanted.target != after.plan.wanted.target for each in made.assignments)
        crowd.turn(120)


def every_story_ends(chosen: tuple[Wave, ...], fates: list[str], jumps: list[int]) -> None:
    crowd = crowd_of(chosen, fates)
    for seconds in jumps:
        crowd.turn(seconds)
    phase = crowd.until_quiet()
    assert phase in ENDED | {Phase.DONE}
    still_open = [each for each in crowd.rollout.members.values() if each.outcome is Outcome.OPEN]
    if phase is Phase.DONE:
        assert set(crowd.rollout.members) == set(crowd.reports)
        assert {each.seen_ms for each in still_open} <= {None}  # spoke last by a clock that was set back since
    if still_open:
        return
    quiet = crowd.turn()
    assert (quiet.assignments, quiet.decisions, quiet.rollout) == ((), (), crowd.rollout)


def order_changes_nothing(chosen: tuple[Wave, ...], fates: list[str], seed: int) -> None:
    crowd = crowd_of(chosen, fates)
    for _ in range(12):
        shuffled = list(crowd.reports.values())
        random.Random(seed).shuffle(shuffled)
        made = engine.step(crowd.rollout, shuffled, crowd.now_ms)
        assert made == engine.step(crowd.rollout, crowd.reports.values(), crowd.now_ms)
        crowd.turn(120)


def nobody_is_overruled(chosen: tuple[Wave, ...], fates: list[str]) -> None:
    crowd = crowd_of(chosen, fates)
    theirs: set[str] = set()
    for _ in range(40):
        told = {each.device for each in crowd.turn(120).assignments}
        assert not told & theirs
        theirs = {device for device, fate in crowd.fates.items() if fate == "taken" and device in crowd.told}


test_no_wave_begins_and_nothing_is_assigned_while_a_halt_condition_holds = GENERATED(
    given(chosen=waves(), fates=FATES)(nothing_goes_on_while_a_halt_condition_holds)
)
test_every_finite_story_ends_and_every_device_has_an_outcome_whatever_the_clock_does = GENERATED(
    given(chosen=waves(), fates=FATES, jumps=JUMPS)(every_story_ends)
)
test_the_order_of_reports_changes_nothing = GENERATED(
    given(chosen=waves(), fates=FATES, seed=st.integers(0, 1000))(order_changes_nothing)
)
test_what_a_person_assigned_is_never_assigned_again = GENERATED(given(chosen=waves(), fates=FATES)(nobody_is_overruled))


def never_halting(*_: object) -> None: ...


def never_unknown(member: Member, report: Report | None, plan: Plan, now_ms: int, since_ms: int) -> Member:
    after = judged(member, report, plan, now_ms, since_ms)
    return member if after.outcome is Outcome.UNKNOWN else after


def not_sorting(values: Iterable[T], **_: object) -> list[T]:
    return list(values)


def always_back(member: Member, *_: object) -> bool:
    return member.before.target != NEW.target


# Each with the fault that it must find: a property that no fault breaks shows nothing.
@pytest.mark.parametrize(
    ("name", "fault", "claim", "given_also"),
    [
        ("halt_reason", never_halting, nothing_goes_on_while_a_halt_condition_holds, {}),
        ("judged", never_unknown, every_story_ends, {"jumps": JUMPS}),
        ("sorted", not_sorting, order_changes_nothing, {"seed": st.integers(0, 1000)}),
        ("is_to_go_back", always_back, nobody_is_overruled, {}),
    ],
)
def test_each_property_finds_the_fault_that_it_is_for(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fault: Callable[..., object],
    claim: Callable[..., None],
    given_also: dict[str, st.SearchStrategy[object]],
) -> None:
    monkeypatch.setattr(engine, name, fault, raising=False)
    hunted = HUNTED(given(chosen=waves(), fates=FATES, **given_also)(claim))
    with pytest.raises(AssertionError):
        hunted()
