from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from edge.central.rollout.engine import pause, step
from edge.central.rollout.plan import Comparison, Outcome, Phase, Plan, Report, Rollout, Step
from edge.central.store.people import set_label, set_pin
from edge.central.store.rollouts import Rollouts
from edge.contract.messages import Shadow, Update, UpdateState
from edge.contract.trust import Wanted
from edge.errors import InputError
from tests.central.rollout.crowd import IDLE, NEW, OLD, plan, refuses, runs
from tests.central.rollout.depot import Depot


def test_what_a_device_tells_of_its_slots_and_board_becomes_its_report(depot: Depot) -> None:
    depot.beat("pi")
    (report,) = depot.rollouts.reports(plan(), depot.now_ms)
    assert report.slot == IDLE
    assert report.is_online
    assert report.facts == {"device": "pi", "fleet": "farm", "version": "1.0", "model": "raspberry-pi-5"}


@pytest.mark.parametrize(("every_s", "patience_s"), [(30, 180), (0, 180), (600, 1800)])
def test_a_device_that_died_without_a_word_is_assigned_nothing(depot: Depot, every_s: float, patience_s: float) -> None:
    depot.beat("pi", every_s=every_s)
    depot.rollouts.create(plan(), depot.now_ms)
    depot.centre.clock.advance(patience_s)
    assert depot.turn().assignments == ()
    depot.centre.clock.advance(-1)
    assert len(depot.turn().assignments) == 1


def test_a_heartbeat_that_lies_far_ahead_says_nothing_of_now(depot: Depot) -> None:
    depot.beat("pi")
    depot.centre.clock.set_wall_ms(depot.now_ms - 3_600_000)
    (report,) = depot.rollouts.reports(plan(), depot.now_ms)
    assert not report.is_online
    depot.beat("pi")
    (report,) = depot.rollouts.reports(plan(), depot.now_ms)
    assert report.is_online


def test_a_slot_that_a_device_no_longer_has_is_forgotten(depot: Depot) -> None:
    depot.beat("pi")
    depot.centre.state(device="pi")
    depot.centre.step()
    assert depot.centre.ask("SELECT count(*) FROM slot s JOIN device d ON d.id = s.device WHERE d.fleet = 'home'") == [
        (0,)
    ]


def test_a_rollout_is_the_same_after_a_restart(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    kept = depot.turn().rollout
    again = Rollouts.open(depot.centre.url)
    assert again.load("autumn") == kept
    again.close()


def test_an_assignment_grows_above_the_revision_that_the_device_knows(depot: Depot) -> None:
    depot.beat("pi", rev=41)
    depot.rollouts.create(plan(), depot.now_ms)
    depot.turn()
    ((_, assignment),) = depot.rollouts.assignments(depot.now_ms)
    assert (assignment.device, assignment.rev, assignment.slots) == ("pi", 42, {"porch": NEW})


def test_a_heartbeat_with_the_release_active_commits_and_ends_the_rollout(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    depot.turn()
    depot.beat("pi", runs(NEW), rev=1)
    made = depot.turn()
    assert made.rollout.members["pi"].outcome is Outcome.COMMITTED
    assert made.rollout.phase is Phase.DONE
    assert [line.what for line in depot.rollouts.log("autumn")] == ["wave", "assigned", "committed", "done"]


def test_a_refusal_in_the_update_rows_halts_and_sends_back(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    depot.turn()
    depot.say(
        "pi", Update(slot="porch", state=UpdateState.REJECTED, made_ms=1, target=NEW.target, why="too slow", rev=1)
    )
    made = depot.turn()
    assert made.rollout.phase is Phase.HALTED
    assert made.rollout.members["pi"].why == "too slow"
    ((_, assignment),) = depot.rollouts.assignments(depot.now_ms)
    assert (assignment.rev, assignment.slots["porch"].target) == (2, OLD.target)


def test_a_slot_that_still_tells_of_an_earlier_refusal_halts_nothing(depot: Depot) -> None:
    depot.beat("pi", refuses(NEW, 4), rev=4)
    depot.rollouts.create(plan(), depot.now_ms)
    depot.turn()
    depot.beat("pi", refuses(NEW, 4), rev=5)
    assert depot.turn().rollout.members["pi"].outcome is Outcome.OPEN
    depot.beat("pi", refuses(NEW, 5), rev=5)
    assert depot.turn().rollout.phase is Phase.HALTED


def test_a_refusal_counts_that_a_later_assignment_for_another_slot_is_named_with(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    depot.turn()
    depot.rollouts.create(replace(plan(), id="doors", slot="door"), depot.now_ms)
    word = Shadow(slot="porch", target=NEW.target, made_ms=1, items=9, agreed=8, active_ms=2, shadow_ms=3, rev=2)
    depot.say("pi", word)
    (report,) = depot.rollouts.reports(plan(), depot.now_ms)
    assert report.shadow is not None
    row = Update(slot="porch", state=UpdateState.REJECTED, made_ms=1, target=NEW.target, why="too slow", rev=2)
    depot.say("pi", row)
    assert depot.turn().rollout.members["pi"].why == "too slow"


def test_the_newest_word_of_a_shadow_counts(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    depot.turn()
    word = Shadow(slot="porch", target=NEW.target, made_ms=1, items=9, agreed=8, active_ms=2, shadow_ms=3, rev=1)
    for each in (word, replace(word, items=20, agreed=19), replace(word, items=10)):
        depot.say("pi", each)
    (report,) = depot.rollouts.reports(plan(), depot.now_ms)
    assert report.shadow == Comparison(items=20, agreed=19, failed=0, active_ms=2, shadow_ms=3)


def test_a_confirmed_assignment_is_not_due_again_until_it_changes(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    depot.turn()
    ((key, assignment),) = depot.rollouts.assignments(depot.now_ms)
    depot.rollouts.note_published({key: assignment.rev}, depot.now_ms)
    assert depot.rollouts.assignments(depot.now_ms) == ()
    depot.rollouts.forget_published()
    assert len(depot.rollouts.assignments(depot.now_ms)) == 1


def test_reading_waits_for_nobody_who_writes(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    depot.turn()
    with depot.centre.store.database.transaction() as other:
        other.execute("UPDATE change SET number = number")
        assert depot.rollouts.going() == ("autumn",)
        assert set(depot.rollouts.load("autumn").members) == {"pi"}
        assert len(depot.rollouts.reports(plan(), depot.now_ms)) == 1
        assert len(depot.rollouts.assignments(depot.now_ms)) == 1
        assert len(depot.rollouts.log("autumn")) == 2
        assert depot.turn().decisions == ()


def test_devices_are_heard_while_a_rollout_decides(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)

    def decide(rollout: Rollout, reports: Iterable[Report]) -> Step:
        depot.beat("ant")
        return step(rollout, reports, depot.now_ms)

    assert [each.device for each in depot.rollouts.turn("autumn", decide, depot.now_ms).assignments] == ["pi"]
    assert [each.device for each in depot.turn().assignments] == ["ant"]


def test_what_a_person_says_while_a_rollout_decides_is_heeded(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    seen: list[bool] = []

    def decide(rollout: Rollout, reports: Iterable[Report]) -> Step:
        (report,) = reports
        if not seen:
            with depot.rollouts.transaction() as database:
                set_pin(database, depot.person("pi"), "porch", is_on=True)
        seen.append(report.is_pinned)
        return step(rollout, [report], depot.now_ms)

    assert depot.rollouts.turn("autumn", decide, depot.now_ms).assignments == ()
    assert seen == [False, True]
    assert depot.rollouts.load("autumn").members == {}


def test_a_refused_order_keeps_nothing(depot: Depot) -> None:
    depot.rollouts.create(plan(), depot.now_ms)

    def order(rollout: Rollout, _: object) -> Step:
        return pause(rollout)

    depot.rollouts.turn("autumn", order, depot.now_ms, who="ada")
    with pytest.raises(InputError, match="is paused and cannot be paused"):
        depot.rollouts.turn("autumn", order, depot.now_ms, who="ada")
    assert [(line.what, line.who) for line in depot.rollouts.log("autumn")] == [("wave", ""), ("paused", "ada")]


def test_a_name_is_never_used_twice_and_a_new_rollout_replaces_one_that_is_done(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    depot.turn()
    depot.beat("pi", runs(NEW), rev=1)
    depot.turn()
    with pytest.raises(InputError, match="rollout autumn exists already"):
        depot.rollouts.create(plan(), depot.now_ms)
    depot.rollouts.create(replace(plan(), id="winter"), depot.now_ms)
    assert depot.rollouts.load("autumn").phase is Phase.REPLACED
    assert depot.rollouts.going() == ("winter",)
    with pytest.raises(InputError, match="there is no rollout spring"):
        depot.rollouts.load("spring")


def done(depot: Depot, made: Plan, *devices: str) -> None:
    """A rollout that these devices have followed."""
    depot.rollouts.create(made, depot.now_ms)
    told = depot.turn(made.id).assignments
    assert sorted(each.device for each in told) == sorted(devices)
    for device in devices:
        depot.beat(device, runs(made.wanted), rev=99)
    assert depot.turn(made.id).rollout.phase is Phase.DONE


def test_a_rollout_that_is_done_goes_on_beside_one_for_other_devices(depot: Depot) -> None:
    for device, site in (("pi", "north"), ("ant", "south")):
        depot.beat(device)
        with depot.rollouts.transaction() as database:
            set_label(database, depot.person(device), "site", site)
    done(depot, replace(plan(), cohort="label:site=north"), "pi")
    depot.rollouts.create(replace(plan(), id="south", cohort="label:site=south"), depot.now_ms)
    assert depot.rollouts.going() == ("autumn", "south")
    depot.rollouts.create(replace(plan(), id="both", cohort="label:site=north,south"), depot.now_ms)
    assert depot.rollouts.load("autumn").phase is Phase.REPLACED


def test_a_rollout_whose_devices_are_not_known_yet_is_replaced_by_none_with_other_conditions(depot: Depot) -> None:
    depot.rollouts.create(plan(cohort="label:site=north"), depot.now_ms)
    with depot.rollouts.transaction() as database:
        database.execute("UPDATE rollout SET phase = 'done'")
    depot.rollouts.create(replace(plan(), id="south", cohort="label:site=south"), depot.now_ms)
    assert depot.rollouts.load("autumn").phase is Phase.DONE
    depot.rollouts.create(replace(plan(), id="same", cohort="label:site=north"), depot.now_ms)
    assert depot.rollouts.load("autumn").phase is Phase.REPLACED


def test_an_earlier_rollout_takes_no_device_from_a_later_one(depot: Depot) -> None:
    for device, row in (("pi", "1"), ("ant", "2")):
        depot.beat(device)
        with depot.rollouts.transaction() as database:
            set_label(database, depot.person(device), "row", row)
    with depot.rollouts.transaction() as database:
        set_pin(database, depot.person("pi"), "porch", is_on=True)
    done(depot, plan(), "ant")
    with depot.rollouts.transaction() as database:
        set_pin(database, depot.person("pi"), "porch", is_on=False)
    newer = Wanted(target="models/digits/3.json", sha256="33" * 32, size_bytes=9)
    done(depot, replace(plan(cohort="label:row=1"), id="winter", wanted=newer), "pi")
    assert depot.rollouts.going() == ("autumn", "winter")
    assert depot.turn("autumn").assignments == ()
