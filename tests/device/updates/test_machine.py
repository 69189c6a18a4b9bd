"""The state table, walked in every direction."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
import pytest
from msgspec.structs import replace

from edge.contract.messages import UpdateState
from edge.device.updates.machine import (
    MOST_STEPS,
    SHADOW,
    TABLE,
    Action,
    Effect,
    Happened,
    Happening,
    line_of,
    step,
    table_digest,
)
from edge.device.updates.record import Release, SlotRecord, encode_record, read_record, slot_state, told


def release(number: int) -> Release:
    return Release(target=f"models/digits/{number}.json", sha256=f"{number:064x}")


A, B, C = release(1), release(2), release(3)
RUNS_A = SlotRecord(active=A)


def walk(record: SlotRecord, *happenings: Happening | Happened) -> SlotRecord:
    for each in happenings:
        record, _ = step(record, each if isinstance(each, Happening) else Happening(what=each, why="a reason"))
    return record


def named(what: Release | None, mode: str = "run", rev: int = 0) -> Happening:
    return Happening(what=Happened.NAMED, release=what, mode=mode, rev=rev)  # type: ignore[arg-type]


def at(state: UpdateState, mode: str = "run") -> SlotRecord:
    """A record in that state, reached from A by naming B."""
    way = {
        UpdateState.OFFERED: 0,
        UpdateState.FETCHING: 1,
        UpdateState.STAGED: 2,
        UpdateState.PROBING: 3,
        UpdateState.TRIAL: 4,
    }
    if state in way:
        return walk(RUNS_A, named(B, mode), *[Happened.DONE] * way[state])
    match state:
        case UpdateState.COMMITTED:
            return walk(RUNS_A, named(B), *[Happened.DONE] * 5)
        case UpdateState.REJECTED:
            return walk(RUNS_A, named(B), Happened.FAILED)
        case UpdateState.ROLLED_BACK:
            return walk(RUNS_A, named(B), *[Happened.DONE] * 4, Happened.FAILED)
        case _:
            return RUNS_A


def every_place() -> Iterator[SlotRecord]:
    for state in UpdateState:
        yield at(state)
    yield at(UpdateState.TRIAL, "shadow")


def test_the_table_has_a_line_for_each_state_and_is_the_one_that_was_reviewed() -> None:
    assert set(TABLE) == set(UpdateState)
    assert table_digest() == "c477c65d13f967c007f4449ae1dd60e076362606cb3e76ea3bcc173791614012"


def test_a_way_without_trouble_ends_with_the_new_release_and_the_old_one_behind_it() -> None:
    states, record = [], RUNS_A
    record, action = step(record, named(B))
    actions = [action]
    while record.state is not UpdateState.IDLE:
        states.append(record.state)
        record, action = step(record, Happening(what=Happened.DONE))
        actions.append(action)
    assert [state.value for state in states] == ["offered", "fetching", "staged", "probing", "trial", "committed"]
    assert actions == [
        Action.VERIFY,
        Action.FETCH,
        Action.CHECK,
        Action.PROBE,
        Action.TRY,
        Action.PRUNE,
        Action.RUN,
    ]
    assert record == SlotRecord(active=B, previous=A)


def test_the_same_bytes_under_a_new_number_are_no_way_back_from_themselves() -> None:
    anew = Release(target="models/digits/9.json", sha256=B.sha256)
    record = walk(SlotRecord(active=B, previous=A), named(anew), *[Happened.DONE] * 6)
    assert record == SlotRecord(active=anew, previous=A)
    record, _ = step(record, Happening(what=Happened.REVOKED, release=anew, why="bad"))
    assert record.active == A


def test_a_shadow_swaps_nothing() -> None:
    record = at(UpdateState.TRIAL, "shadow")
    assert line_of(record).does is Action.SHADOW
    assert walk(record, Happened.DONE).active == A
    assert walk(record, Happened.DONE).state is UpdateState.IDLE
    assert walk(record, Happened.FAILED).state is UpdateState.REJECTED
    assert set(SHADOW) == {UpdateState.TRIAL}


@pytest.mark.parametrize("state", list(UpdateState))
def test_a_failure_leaves_the_old_release_running_and_says_why(state: UpdateState) -> None:
    record = at(state)
    failed = walk(record, Happened.FAILED)
    assert failed.active == record.active
    if record.is_under_way:
        wanted = UpdateState.ROLLED_BACK if state is UpdateState.TRIAL else UpdateState.REJECTED
        assert (failed.state, failed.refused, failed.why, failed.coming) == (wanted, B, "a reason", None)
    else:
        assert failed is record


@pytest.mark.parametrize(("state", "most"), [(UpdateState.PROBING, 2), (UpdateState.TRIAL, 3)])
def test_an_attempt_that_is_cut_short_too_often_is_the_last(state: UpdateState, most: int) -> None:
    record = at(state)
    for attempt in range(1, most + 1):
        assert (record.state, record.attempt) == (state, attempt)
        record = walk(record, Happened.RESTARTED)
    assert record.state in {UpdateState.REJECTED, UpdateState.ROLLED_BACK}
    assert f"cut short {most} times" in record.why
    assert record.active == A


@pytest.mark.parametrize("state", [UpdateState.OFFERED, UpdateState.FETCHING, UpdateState.STAGED])
def test_an_offer_that_goes_round_in_circles_is_refused(state: UpdateState) -> None:
    record, steps = at(state), 0
    while record.is_under_way:
        record, steps = walk(record, Happened.RESTARTED), steps + 1
    assert steps <= MOST_STEPS
    assert record.state is UpdateState.REJECTED
    assert record.why.startswith("loop")


def test_a_refused_release_runs_only_when_it_is_named_anew() -> None:
    refused = at(UpdateState.ROLLED_BACK)
    assert walk(refused, Happened.RESTARTED) is refused
    again = walk(refused, named(B))
    assert (again.state, again.coming, again.refused, again.steps) == (UpdateState.OFFERED, B, None, 1)


@pytest.mark.parametrize("state", list(UpdateState))
def test_a_newer_name_replaces_the_one_on_its_way_and_never_the_active_one(state: UpdateState) -> None:
    record = at(state)
    changed = walk(record, named(C))
    assert (changed.state, changed.coming, changed.steps) == (UpdateState.OFFERED, C, 1)
    assert changed.active == record.active


@pytest.mark.parametrize("state", list(UpdateState))
def test_a_pinned_slot_is_moved_by_no_assignment_and_makes_up_for_the_newest_one_afterwards(
    state: UpdateState,
) -> None:
    pinned = walk(at(state), Happened.PINNED)
    held = walk(pinned, named(C, rev=6))
    assert replace(held, missed=None) == pinned
    assert walk(held, named(C, rev=6)) is held
    assert read_record(encode_record(held)).record == held
    freed = walk(held, Happened.UNPINNED)
    assert (freed.state, freed.coming, freed.missed) == (UpdateState.OFFERED, C, None)
    assert told("porch", freed, 5).rev == 6
    assert walk(held, named(None, rev=7), Happened.UNPINNED).active is None
    assert walk(held, Happened.DROPPED) == pinned, "the newest one asks for nothing"
    assert walk(pinned, Happened.UNPINNED) == at(state)
    assert walk(at(state), Happened.UNPINNED) == at(state)


def test_what_is_active_or_on_its_way_already_is_no_news() -> None:
    assert walk(RUNS_A, named(A)) is RUNS_A
    record = at(UpdateState.FETCHING)
    assert walk(record, named(B)) is record
    assert walk(record, named(B, "shadow")).state is UpdateState.OFFERED
    dropped = walk(record, named(A))
    assert (dropped.state, dropped.coming, dropped.active) == (UpdateState.IDLE, None, A)


@pytest.mark.parametrize("what", [Happened.REVOKED, Happened.LOST, Happened.BACK])
def test_a_release_that_must_go_makes_way_for_the_one_before_and_then_the_factorys(what: Happened) -> None:
    record = SlotRecord(active=B, previous=A)
    once = walk(record, what)
    assert (once.state, once.active, once.previous, once.refused) == (UpdateState.ROLLED_BACK, A, None, B)
    twice = walk(once, what)
    assert (twice.active, twice.refused) == (None, A)
    assert walk(twice, what) is twice


@pytest.mark.parametrize(
    "state", [UpdateState.OFFERED, UpdateState.FETCHING, UpdateState.STAGED, UpdateState.PROBING, UpdateState.TRIAL]
)
def test_an_active_release_that_is_lost_does_not_stop_the_one_on_its_way(state: UpdateState) -> None:
    record = walk(at(state), Happened.LOST)
    assert (record.state, record.coming, record.active, record.refused) == (state, B, None, A)
    assert record.attempt == at(state).attempt


@pytest.mark.parametrize("state", list(UpdateState))
def test_the_factorys_model_that_an_assignment_names_takes_over_at_once_whatever_is_under_way(
    state: UpdateState,
) -> None:
    record = at(state)
    cleared, action = step(record, named(None, rev=9))
    assert (cleared.state, cleared.active, cleared.previous) == (UpdateState.COMMITTED, None, record.active)
    assert (cleared.coming, cleared.refused, cleared.why) == (None, None, "")
    assert action is Action.PRUNE
    update = told("porch", cleared, 5)
    assert (update.target, update.active, update.rev) == ("", "", 9)
    rested = walk(cleared, Happened.DONE)
    assert (rested.state, rested.previous) == (UpdateState.IDLE, record.active)
    assert walk(rested, named(None, rev=9)) is rested
    assert walk(rested, named(B), named(None)).coming is None


def test_from_the_factorys_model_an_operator_goes_back_to_what_ran_before_and_nothing_else_does() -> None:
    cleared = walk(RUNS_A, named(None, rev=9), Happened.DONE)
    assert walk(cleared, Happened.LOST) is cleared
    assert walk(cleared, Happened.REVOKED) is cleared
    back = walk(cleared, Happened.BACK)
    assert (back.state, back.active, back.previous, back.refused) == (UpdateState.ROLLED_BACK, A, None, None)
    assert (told("porch", back, 5).target, told("porch", back, 5).rev) == ("", 9)


def test_a_pinned_slot_keeps_an_operators_choice_whatever_is_dropped_or_cleared() -> None:
    pinned = walk(RUNS_A, Happened.PINNED, Happening(what=Happened.CHOSEN, release=B))
    assert walk(pinned, Happened.DROPPED) is pinned
    assert walk(pinned, named(None, rev=2)).coming == B
    chosen = walk(RUNS_A, named(B, rev=3), Happening(what=Happened.CHOSEN, release=C))
    assert walk(chosen, Happened.DROPPED) is chosen, "no assignment ever named it"
    assert walk(RUNS_A, named(B, rev=3), Happened.DROPPED).coming is None


def test_each_report_has_the_revision_that_asked_for_the_release_it_is_about() -> None:
    def rev_of(record: SlotRecord) -> tuple[str, int]:
        update = told("porch", record, 5)
        return update.target, update.rev

    record = walk(SlotRecord(), named(A, rev=3))
    assert rev_of(record) == (A.target, 3)
    record = walk(record, *[Happened.DONE] * 6)
    assert (record.state, rev_of(record)) == (UpdateState.IDLE, (A.target, 3))
    record = walk(record, named(B, rev=5), *[Happened.DONE] * 6)
    assert record.asked == {A.target: 3, B.target: 5}
    rejected = walk(record, named(C, rev=6), Happened.FAILED)
    assert rev_of(rejected) == (C.target, 6)
    assert rev_of(walk(rejected, named(B, rev=7))) == (C.target, 6), "what is refused stays told as it was"
    left = walk(rejected, Happened.LOST)
    assert rev_of(left) == (B.target, 5), "not the one that asked for something else since"
    assert (slot_state(left).refused, slot_state(left).rev) == (B.target, 5)
    assert slot_state(at(UpdateState.IDLE)).rev == 0, "nothing is on its way, and nothing was refused"
    assert rev_of(walk(left, Happened.LOST)) == (A.target, 3)
    chosen = walk(record, Happening(what=Happened.CHOSEN, release=A))
    assert rev_of(chosen) == (A.target, 0), "a person at the device did"


def test_a_newer_assignment_of_the_same_changes_the_revision_and_no_work() -> None:
    record = walk(RUNS_A, named(B, rev=3), *[Happened.DONE] * 4)
    again = walk(record, named(B, rev=4))
    assert (again.state, again.attempt, again.steps) == (UpdateState.TRIAL, record.attempt, record.steps)
    assert told("porch", again, 5).rev == 4
    assert again.is_same_work(record)
    assert walk(record, Happened.PINNED).is_same_work(record)
    assert not walk(record, Happened.RESTARTED).is_same_work(record)


def test_a_record_from_before_revisions_is_read() -> None:
    old = {"target": A.target, "sha256": A.sha256, "size_bytes": 101}
    raw = msgspec.msgpack.encode({"format": 1, "state": "idle", "active": old})
    assert read_record(raw).record == RUNS_A
    assert not read_record(raw).problem


def test_an_operators_choice_is_probed_and_tried_as_any_other() -> None:
    record = walk(RUNS_A, Happened.PINNED, Happening(what=Happened.CHOSEN, release=B))
    assert (record.state, record.coming) == (UpdateState.STAGED, B)
    record = walk(record, Happened.DONE, Happened.DONE, Happened.DONE)
    assert (record.state, record.active, record.is_pinned) == (UpdateState.COMMITTED, B, True)


def test_any_order_of_happenings_keeps_the_invariants_and_ends() -> None:
    dice = random.Random(3)
    releases = [A, B, C]
    for _ in range(3000):
        record, trusted = SlotRecord(), {None}
        for rev in range(40):
            what = dice.choice(list(Happened))
            happening = Happening(
                what=what, release=dice.choice(releases), mode=dice.choice(["run", "shadow"]), why="why", rev=rev
            )
            if what is Happened.NAMED and dice.random() < 0.2:
                happening = named(None, rev=rev)
            before = record
            record, action = step(record, happening)
            if before.state is UpdateState.TRIAL and record.state is UpdateState.COMMITTED:
                trusted.add(record.active)
            assert record.active in trusted, "only a trial makes a release active"
            assert record.previous in trusted
            assert record.is_under_way == (record.coming is not None)
            assert record.steps <= MOST_STEPS
            assert len(record.asked) <= 4
            assert 0 <= record.attempt <= 3
            assert action is line_of(record).does
            assert read_record(encode_record(record)).record == record
        for _ in range(MOST_STEPS + 1):
            record = walk(record, Happened.RESTARTED)
        assert not record.is_under_way


def test_arrows_lead_to_lines_and_only_a_trial_promotes() -> None:
    for table in (TABLE, SHADOW):
        for state, line in table.items():
            for arrow in line.on.values():
                assert arrow.to in TABLE
                assert (arrow.effect is Effect.PROMOTE) <= (state is UpdateState.TRIAL)


@pytest.mark.parametrize("record", list(every_place()), ids=lambda record: f"{record.state.value}-{record.mode}")
def test_a_record_with_a_flipped_bit_gives_what_can_be_run_and_never_raises(record: SlotRecord) -> None:
    raw = encode_record(replace(record, previous=C))
    for place in range(8 * len(raw)):
        spoilt = bytearray(raw)
        spoilt[place // 8] ^= 1 << place % 8
        found = read_record(bytes(spoilt))
        if found.problem:
            assert not found.record.is_under_way
            assert found.record.state is UpdateState.IDLE


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x80" * 9, bytes(1000)])
def test_no_record_at_all_is_the_factorys_model(raw: bytes) -> None:
    assert read_record(raw).record == SlotRecord()
    assert read_record(raw).problem


def test_a_record_of_a_newer_version_gives_its_active_release() -> None:
    fields = msgspec.msgpack.decode(encode_record(at(UpdateState.TRIAL))) | {"format": 2}
    found = read_record(msgspec.msgpack.encode(fields))
    assert (found.record.active, found.record.state) == (A, UpdateState.IDLE)
    fields |= {"state": "beaming", "active": {"target": 3}, "previous": msgspec.to_builtins(C)}
    assert read_record(msgspec.msgpack.encode(fields)).record.active == C


def test_reports_and_state_tell_of_the_release_that_it_is_about() -> None:
    update = told("porch", at(UpdateState.TRIAL), 5)
    assert (update.target, update.attempt, update.active) == (B.target, 1, A.target)
    assert told("porch", at(UpdateState.COMMITTED), 5).target == B.target
    rolled = told("porch", at(UpdateState.ROLLED_BACK), 5)
    assert (rolled.target, rolled.why, rolled.active) == (B.target, "a reason", A.target)
    state = slot_state(at(UpdateState.ROLLED_BACK))
    assert (state.refused, state.active_sha256) == (B.target, A.sha256)
