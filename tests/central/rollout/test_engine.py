from __future__ import annotations

import pytest
from msgspec.structs import replace

from edge.central.rollout.engine import abort, approve, pause, resume, step
from edge.central.rollout.plan import Outcome, Phase, Wave, decode_plan, encode_plan
from edge.contract.messages import SlotState, UpdateState
from edge.errors import InputError
from tests.central.rollout.crowd import BEGIN_MS, IDLE, NEW, OLD, Crowd, plan, refuses, reports, runs

CANARY = Wave(name="canary", devices=("dev-000", "dev-001"), max_unproven=1, soak_s=600)
ALL = Wave(name="all", percent=100, max_unproven=1, soak_s=0)


def test_a_canary_goes_alone_until_it_has_soaked() -> None:
    crowd = Crowd(plan(CANARY, ALL), reports(10))
    crowd.turn()
    assert sorted(crowd.told) == ["dev-000", "dev-001"]
    for _ in range(9):
        crowd.turn()
    assert len(crowd.told) == 2
    crowd.turn(120)
    assert len(crowd.told) == 10
    assert crowd.until_quiet() is Phase.DONE


def test_a_failed_canary_halts_everything_and_is_sent_back() -> None:
    crowd = Crowd(plan(CANARY, ALL), reports(10), fates={"dev-000": "bad"})
    assert crowd.until_quiet() is Phase.HALTED
    assert sorted(set(crowd.told)) == ["dev-000", "dev-001"]
    assert "failed" in crowd.rollout.why
    back = crowd.steps[-1].assignments
    assert {each.wanted.target for each in back} == {OLD.target}
    assert all(report.slot == runs(OLD) for report in (crowd.reports[each.device] for each in back))


def test_a_first_failure_is_weighed_against_the_devices_that_must_run_it() -> None:
    lenient = replace(ALL, max_failed=0.2, min_committed=5, max_in_flight=1)
    fates = {f"dev-{each:03d}": "bad" for each in range(6)}
    crowd = Crowd(plan(lenient), reports(6), fates=fates)
    crowd.turn()
    crowd.turn()
    assert (crowd.rollout.phase, len(crowd.told)) == (Phase.RUNNING, 2)
    crowd.turn()
    assert crowd.rollout.phase is Phase.HALTED


def test_early_successes_hide_no_wave_that_goes_wrong() -> None:
    lenient = replace(ALL, max_failed=0.3, max_in_flight=1)
    first = tuple(f"dev-{each:03d}" for each in range(20))
    crowd = Crowd(plan(replace(CANARY, devices=first), lenient), reports(40))
    crowd.fates = {device: "bad" for device in crowd.reports if device not in first}
    assert crowd.until_quiet() is Phase.HALTED
    assert (len(crowd.told) - 20, crowd.rollout.why) == (
        22,  # one of the second wave, and 21 sent back
        "wave all: 1 of 1 decided device failed, at most 30 % may",
    )


def test_a_halt_leaves_devices_where_they_are_when_the_plan_says_so() -> None:
    crowd = Crowd(plan(CANARY, ALL, is_returning=False), reports(10), fates={"dev-000": "bad"})
    assert crowd.until_quiet() is Phase.HALTED
    assert crowd.steps[-1].assignments == ()


def test_a_release_that_a_device_leaves_again_counts_as_failed() -> None:
    crowd = Crowd(plan(CANARY, ALL), reports(10))
    crowd.turn()
    crowd.turn()
    crowd.reports["dev-000"] = replace(crowd.reports["dev-000"], slot=runs(OLD))
    crowd.turn()
    assert crowd.rollout.phase is Phase.HALTED
    assert crowd.rollout.members["dev-000"].why == f"active changed back to {OLD.target}"


def test_a_refusal_from_an_earlier_attempt_is_no_failure() -> None:
    for mode in ("run", "shadow"):
        first = replace(CANARY, mode=mode)
        crowd = Crowd(plan(first, ALL), reports(4), fates={"dev-000": "silent"})
        crowd.turn()
        told = crowd.reports["dev-000"]
        crowd.reports["dev-000"] = replace(told, rev=told.wanted_rev, slot=refuses(NEW, told.wanted_rev - 1))
        crowd.turn()
        assert (crowd.rollout.phase, crowd.rollout.members["dev-000"].outcome) == (Phase.RUNNING, Outcome.OPEN)
        crowd.reports["dev-000"] = replace(told, rev=told.wanted_rev, slot=refuses(NEW, told.wanted_rev))
        crowd.turn()
        assert crowd.rollout.phase is Phase.HALTED


def test_a_device_that_runs_the_release_did_not_refuse_it() -> None:
    crowd = Crowd(plan(CANARY, ALL), reports(4))
    crowd.turn()
    told = crowd.reports["dev-000"]
    crowd.reports["dev-000"] = replace(told, slot=replace(runs(NEW), refused=NEW.target, rev=told.wanted_rev))
    crowd.turn()
    assert crowd.rollout.members["dev-000"].outcome is Outcome.COMMITTED


def test_a_device_that_runs_the_release_already_counts_once_it_has_heard_of_its_order() -> None:
    fleet = {name: replace(each, slot=runs(NEW)) for name, each in reports(1).items()}
    crowd = Crowd(plan(ALL), fleet, fates={"dev-000": "silent"})
    crowd.turn()
    crowd.turn()
    assert crowd.rollout.members["dev-000"].outcome is Outcome.OPEN
    told = replace(crowd.reports["dev-000"], rev=crowd.reports["dev-000"].wanted_rev)
    crowd.reports["dev-000"] = replace(told, slot=replace(runs(NEW), active_sha256=OLD.sha256))  # of another registry
    crowd.turn()
    assert crowd.rollout.members["dev-000"].outcome is Outcome.OPEN
    crowd.reports["dev-000"] = told
    crowd.turn()
    assert crowd.rollout.members["dev-000"].outcome is Outcome.COMMITTED


def test_a_release_on_trial_is_not_yet_committed() -> None:
    crowd = Crowd(plan(CANARY, ALL), reports(2))
    crowd.turn()
    trial = SlotState(
        state=UpdateState.TRIAL, active=NEW.target, active_sha256=NEW.sha256, coming=NEW.target, previous=OLD.target
    )
    crowd.reports["dev-000"] = replace(crowd.reports["dev-000"], slot=trial)
    crowd.turn()
    assert crowd.rollout.members["dev-000"].outcome is Outcome.OPEN
    assert crowd.rollout.members["dev-001"].outcome is Outcome.COMMITTED


def test_devices_that_fall_silent_count_as_unknown_after_their_deadline_and_halt() -> None:
    crowd = Crowd(plan(CANARY, ALL), reports(10), fates={"dev-000": "silent"})
    crowd.turn()
    for _ in range(30):
        crowd.turn()
    assert crowd.rollout.phase is Phase.RUNNING
    assert crowd.until_quiet() is Phase.HALTED
    assert "unknown" in crowd.rollout.why


def test_a_device_that_was_never_seen_blocks_nothing_and_joins_later() -> None:
    fleet = reports(5)
    fleet["dev-004"] = replace(fleet["dev-004"], is_online=False)
    crowd = Crowd(plan(ALL), fleet)
    assert crowd.until_quiet() is Phase.DONE
    assert "dev-004" not in crowd.told
    crowd.reports["dev-004"] = replace(crowd.reports["dev-004"], is_online=True)
    crowd.turn()
    assert crowd.told[-1] == "dev-004"


def test_rate_and_devices_in_flight_stay_below_their_limits() -> None:
    slow = replace(ALL, rate_per_min=7)
    crowd = Crowd(plan(slow), reports(30))
    crowd.turn(1)
    crowd.turn(1)
    assert len(crowd.told) == 7
    crowd.turn(60)
    assert len(crowd.told) == 14
    narrow = replace(ALL, max_in_flight=3)
    crowd = Crowd(plan(narrow), reports(30), fates={f"dev-{each:03d}": "silent" for each in range(30)})
    crowd.turn(1)
    crowd.turn(120)
    assert len(crowd.told) == 3


def test_a_clock_that_is_set_back_delays_neither_rate_nor_soak_nor_deadline() -> None:
    fleet = {name: replace(each, last_ms=BEGIN_MS) for name, each in reports(30).items()}
    crowd = Crowd(plan(replace(ALL, rate_per_min=7)), fleet)
    crowd.turn()
    assert len(crowd.told) == 7
    crowd.turn(-3600)
    crowd.turn(61)
    assert len(crowd.told) == 14
    crowd = Crowd(plan(CANARY, ALL), reports(4), fates={"dev-000": "silent"})
    crowd.turn()
    crowd.turn()
    crowd.turn(-86_400)
    crowd.turn(3500)
    assert crowd.rollout.phase is Phase.RUNNING
    crowd.turn(200)
    assert crowd.rollout.phase is Phase.HALTED
    crowd = Crowd(plan(CANARY, ALL), reports(4))
    crowd.turn()
    crowd.turn()
    crowd.turn(-86_400)
    crowd.turn(590)
    assert len(crowd.told) == 2
    crowd.turn(20)
    assert len(crowd.told) == 4


def test_a_heartbeat_from_before_the_clock_was_set_back_is_no_sign_of_life() -> None:
    fleet = {name: replace(each, last_ms=BEGIN_MS + 3_600_000) for name, each in reports(1).items()}
    crowd = Crowd(plan(ALL), fleet, fates={"dev-000": "silent"})
    crowd.turn()
    crowd.reports["dev-000"] = replace(crowd.reports["dev-000"], last_ms=BEGIN_MS + 3_600_000)
    crowd.turn()
    assert crowd.rollout.members["dev-000"].seen_ms is None


def test_no_deadline_and_no_soak_ends_while_nobody_can_be_heard() -> None:
    crowd = Crowd(plan(CANARY, ALL), reports(4), fates={"dev-000": "silent"})
    crowd.turn()
    crowd.turn()
    crowd.turn(86_400, since_ms=crowd.now_ms + 86_000_000)
    assert crowd.rollout.phase is Phase.RUNNING
    crowd.turn(3700, since_ms=crowd.now_ms)
    assert crowd.rollout.phase is Phase.HALTED
    crowd = Crowd(plan(CANARY, ALL), reports(4))
    crowd.turn()
    crowd.turn()
    since_ms = crowd.now_ms + 86_400_000
    crowd.turn(86_400, since_ms=since_ms)
    crowd.turn(170, since_ms=since_ms)
    assert len(crowd.told) == 2
    crowd.turn(11, since_ms=since_ms)
    assert len(crowd.told) == 4


def test_a_small_wave_asks_a_person_and_says_what_it_proves() -> None:
    first = Wave(name="first", percent=50, max_unproven=0.1, soak_s=0)
    crowd = Crowd(plan(first, ALL), reports(10))
    for _ in range(5):
        crowd.turn()
    assert crowd.rollout.phase is Phase.RUNNING
    assert crowd.rollout.wave == 0
    assert "without a failure" in crowd.rollout.asks
    assert "wanted is 10 %" in crowd.rollout.asks
    crowd.take(approve(crowd.rollout))
    assert crowd.until_quiet() is Phase.DONE


def test_an_approval_is_for_one_wave() -> None:
    first = Wave(name="first", percent=30, max_unproven=0.1, soak_s=0)
    crowd = Crowd(plan(first, replace(first, name="second", percent=60), ALL), reports(10))
    for wave in (0, 1):
        for _ in range(5):
            crowd.turn()
        assert crowd.rollout.wave == wave
        assert crowd.rollout.asks
        crowd.take(approve(crowd.rollout))
    assert crowd.until_quiet() is Phase.DONE


def test_a_rollout_that_nobody_belongs_to_asks_and_goes_on_waiting_for_devices() -> None:
    crowd = Crowd(plan(CANARY, ALL, cohort="label:site=north"), reports(3))
    for _ in range(5):
        crowd.turn(3600)
    assert crowd.rollout.phase is Phase.RUNNING
    assert crowd.rollout.asks == "wave all: 0 of 1 devices that must run it do"
    crowd.reports["dev-000"] = replace(crowd.reports["dev-000"], labels={"site": "north"})
    assert crowd.until_quiet() is Phase.DONE
    assert crowd.told == ["dev-000"]


def test_a_shadow_wave_swaps_nothing_and_its_agreement_decides() -> None:
    shadow = Wave(name="shadow", percent=100, mode="shadow", max_unproven=1, soak_s=0)
    crowd = Crowd(plan(shadow, ALL), reports(4))
    made = crowd.turn()
    assert {each.wanted.mode for each in made.assignments} == {"shadow"}
    assert crowd.until_quiet() is Phase.DONE
    crowd = Crowd(plan(shadow, ALL), reports(4), fates={"dev-001": "bad"})
    assert crowd.until_quiet() is Phase.HALTED
    assert crowd.rollout.members["dev-001"].why == "agreed on 10.0 % of 200 items"
    assert all(report.slot.active == OLD.target for report in crowd.reports.values() if report.slot is not None)


def test_what_a_person_assigned_is_left_alone() -> None:
    crowd = Crowd(plan(ALL), reports(3))
    crowd.turn()
    crowd.reports["dev-001"] = replace(crowd.reports["dev-001"], holder="", wanted_rev=9)
    crowd.turn()
    assert crowd.rollout.members["dev-001"].outcome is Outcome.LEFT
    told = abort(crowd.rollout, crowd.reports.values(), "by hand").assignments
    assert sorted(each.device for each in told) == ["dev-000", "dev-002"]


def test_a_rollout_that_ends_overrules_nobody_who_assigned_the_slot_meanwhile() -> None:
    crowd = Crowd(plan(CANARY, ALL), reports(4), fates={"dev-000": "bad"})
    crowd.turn()
    crowd.reports["dev-000"] = replace(crowd.reports["dev-000"], holder="", wanted_rev=9)
    told = abort(crowd.rollout, crowd.reports.values(), "by hand").assignments
    assert [each.device for each in told] == ["dev-001"]
    lenient = replace(CANARY, max_failed=0.5)
    crowd = Crowd(plan(lenient, replace(ALL, max_failed=0.1)), reports(4), fates={"dev-000": "bad"})
    crowd.turn()
    crowd.turn()
    assert crowd.rollout.members["dev-000"].outcome is Outcome.FAILED
    crowd.reports["dev-000"] = replace(crowd.reports["dev-000"], holder="", wanted_rev=9)
    assert crowd.until_quiet() is Phase.HALTED
    assert [each.device for each in crowd.steps[-1].assignments] == ["dev-001"]


@pytest.mark.parametrize("where", ["at the centre", "at the device"])
def test_a_slot_that_is_pinned_after_it_was_assigned_is_left_alone(where: str) -> None:
    crowd = Crowd(plan(CANARY, ALL), reports(4), fates={"dev-000": "silent"})
    crowd.turn()
    told = crowd.reports["dev-000"]
    at_centre = where == "at the centre"
    crowd.reports["dev-000"] = replace(told, is_pinned=at_centre, slot=replace(IDLE, pinned=not at_centre))
    assert crowd.until_quiet() is Phase.DONE
    assert crowd.rollout.members["dev-000"].outcome is Outcome.LEFT
    back = {each.device for each in abort(crowd.rollout, crowd.reports.values(), "").assignments}
    assert ("dev-000" in back) is not at_centre  # it follows the newest order once it is let go there


def test_a_pin_hides_no_refusal_and_takes_no_committed_device_away() -> None:
    crowd = Crowd(plan(ALL), reports(2), fates={"dev-000": "bad"})
    crowd.turn()
    for device in ("dev-000", "dev-001"):
        crowd.reports[device] = replace(crowd.reports[device], is_pinned=True)
    crowd.turn()
    members = crowd.rollout.members
    assert (members["dev-000"].outcome, members["dev-001"].outcome) == (Outcome.FAILED, Outcome.COMMITTED)
    assert crowd.steps[-1].assignments == ()


def test_pinned_and_other_devices_are_not_assigned() -> None:
    fleet = reports(4)
    fleet["dev-000"] = replace(fleet["dev-000"], is_pinned=True)
    fleet["dev-001"] = replace(fleet["dev-001"], labels={"site": "south"})
    fleet["dev-002"] = replace(fleet["dev-002"], is_held=True, labels={"site": "north"})
    fleet["dev-003"] = replace(fleet["dev-003"], labels={"site": "north"})
    crowd = Crowd(plan(ALL, cohort="label:site=north"), fleet)
    crowd.turn()
    assert crowd.told == ["dev-003"]


def test_a_paused_rollout_assigns_nothing_and_still_halts() -> None:
    crowd = Crowd(plan(CANARY, ALL), reports(4), fates={"dev-000": "bad"})
    crowd.take(pause(crowd.rollout))
    crowd.turn()
    assert crowd.told == []
    crowd.take(resume(crowd.rollout))
    crowd.turn()
    crowd.take(pause(crowd.rollout))
    crowd.turn()
    assert crowd.rollout.phase is Phase.HALTED


def test_an_ended_rollout_does_nothing_and_takes_no_order() -> None:
    ended = abort(Crowd(plan(ALL), reports(1)).rollout, (), "").rollout
    made = step(ended, reports(3).values(), BEGIN_MS + 1)
    assert (made.rollout, made.assignments) == (ended, ())
    with pytest.raises(InputError, match="rollout autumn is aborted and cannot be paused; only one that is running"):
        pause(ended)


def test_a_plan_survives_its_storage() -> None:
    made = plan(CANARY, ALL, cohort="model=raspberry-pi-5")
    assert decode_plan(encode_plan(made)) == made


@pytest.mark.parametrize(
    ("waves", "why"),
    [
        ((replace(ALL, percent=0),), "wave all holds no device"),
        ((ALL, replace(ALL, name="less", percent=5)), "wave less: 5 % is less than the 100 % before it"),
        ((replace(ALL, mode="shadow"),), "a rollout that ends with a shadow wave swaps nothing"),
        ((replace(ALL, max_failed=2),), "max_failed 2: expected 0 to 1"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(waves: tuple[Wave, ...], why: str) -> None:
    with pytest.raises(InputError, match=why):
        plan(*waves)
