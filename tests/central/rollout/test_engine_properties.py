"""What holds for every fleet and every plan."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.central.rollout.engine import ENDED, step
from edge.central.rollout.judging import halt_reason
from edge.central.rollout.outcomes import tallied
from edge.central.rollout.plan import Outcome, Phase, Rollout, Wave
from tests.central.rollout.crowd import Crowd, plan, reports

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


FATES = st.lists(st.sampled_from(("good", "good", "good", "bad", "silent")), min_size=1, max_size=25)


def crowd_of(chosen: tuple[Wave, ...], fates: list[str]) -> Crowd:
    fleet = reports(len(fates))
    return Crowd(plan(*chosen), fleet, fates=dict(zip(fleet, fates, strict=True)))


def holds_a_halt_condition(crowd: Crowd, rollout: Rollout, wave: int) -> bool:
    members = ((member, crowd.reports[device]) for device, member in rollout.members.items())
    return halt_reason(rollout.plan, wave, tallied(members)) is not None


@settings(max_examples=150, deadline=None)
@given(chosen=waves(), fates=FATES)
def test_no_wave_begins_and_nothing_is_assigned_while_a_halt_condition_holds(
    chosen: tuple[Wave, ...], fates: list[str]
) -> None:
    crowd = crowd_of(chosen, fates)
    for _ in range(40):
        before = crowd.rollout
        seen = dict(crowd.reports)
        made = step(before, seen.values(), crowd.now_ms)
        after = made.rollout
        is_bad = any(holds_a_halt_condition(crowd, after, wave) for wave in range(before.wave, after.wave + 1))
        if is_bad:
            assert after.phase is Phase.HALTED
        if after.wave > before.wave:
            assert not is_bad
        if after.phase is Phase.HALTED:
            assert all(each.wanted.target != after.plan.wanted.target for each in made.assignments)
        crowd.turn(120)


@settings(max_examples=150, deadline=None)
@given(chosen=waves(), fates=FATES)
def test_every_finite_story_ends_and_every_device_has_an_outcome(chosen: tuple[Wave, ...], fates: list[str]) -> None:
    crowd = crowd_of(chosen, fates)
    phase = crowd.until_quiet()
    assert phase in ENDED | {Phase.DONE}
    if phase is Phase.DONE:
        assert set(crowd.rollout.members) == set(crowd.reports)
        assert Outcome.OPEN not in {member.outcome for member in crowd.rollout.members.values()}
    quiet = crowd.turn()
    assert (quiet.assignments, quiet.decisions, quiet.rollout) == ((), (), crowd.rollout)


@settings(max_examples=100, deadline=None)
@given(chosen=waves(), fates=FATES, seed=st.integers(0, 1000))
def test_the_order_of_reports_changes_nothing(chosen: tuple[Wave, ...], fates: list[str], seed: int) -> None:
    crowd = crowd_of(chosen, fates)
    for _ in range(12):
        shuffled = list(crowd.reports.values())
        random.Random(seed).shuffle(shuffled)
        assert step(crowd.rollout, shuffled, crowd.now_ms) == step(crowd.rollout, crowd.reports.values(), crowd.now_ms)
        crowd.turn(120)
