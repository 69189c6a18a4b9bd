"""The thread `updates`, when something fails: nothing that does stops what runs."""

from __future__ import annotations

import errno
import shutil

import pytest

from edge.contract.messages import Event, UpdateState
from edge.contract.trust import Assignment, Wanted, encode_assignment
from edge.device.seat import Verdict
from edge.device.updates.record import Release
from edge.errors import (
    DiskFullError,
    MissingExtraError,
    ModelError,
    NotNowError,
    RepositoryError,
    StoreError,
)
from tests.device.updates.benches import Bench, live
from tests.simulators.updates import FACTORY, SLOT


def test_an_absent_repository_costs_time_and_nothing_else(bench: Bench) -> None:
    failing = [True]

    def away(what: str) -> None:
        if failing[0]:
            raise NotNowError("no broker", retry_after_s=5.0)

    device = bench.installed(bench.a)
    bench.world.before = away
    device.want(2, bench.b).turns()
    assert device.record.state is UpdateState.IDLE
    device.clock.advance(3600)
    device.turns()
    failing[0] = False
    device.clock.advance(3600)
    device.turns()
    assert device.record.active == bench.b


def test_files_that_cannot_be_had_end_the_offer(bench: Bench) -> None:
    def spent(what: str) -> None:
        if what == "fetch":
            raise RepositoryError("given up after 20 tries")

    device = bench.installed(bench.a)
    bench.world.before = spent
    device.want(2, bench.b).turns()
    assert device.record.state is UpdateState.REJECTED
    assert "given up after 20 tries" in device.record.why


def test_a_disk_that_is_full_ends_the_offer_and_not_the_thread(bench: Bench) -> None:
    def full(what: str) -> None:
        if what == "fetch":
            raise DiskFullError("no room")

    device = bench.installed(bench.a)
    bench.world.before = full
    device.want(2, bench.b).turns()
    assert (device.record.state, device.record.active) == (UpdateState.REJECTED, bench.a)


def test_an_active_release_that_cannot_be_opened_makes_way_and_is_reported(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    device.mail.lost(SLOT, bench.b, "a bit has flipped")
    device.turns()
    assert (device.record.active, device.record.why) == (bench.a, "a bit has flipped")
    device.mail.lost(SLOT, bench.b, "late")
    device.turns()
    assert device.record.active == bench.a


def test_a_pipeline_that_stops_during_a_trial_costs_no_attempt_and_no_time(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.trial_hangs.add(bench.b.sha256)
    device.want(2, bench.b).turns()
    for _ in range(5):
        device.clock.advance(4 * 3600)
        assert device.pipelines.pending is not None
        device.pipelines.pending(Verdict(is_good=False, is_cut_short=True, why="the pipeline stopped"))
        device.turns()
    assert (device.record.state, device.record.attempt) == (UpdateState.TRIAL, 1)
    assert device.pipelines.trials.count(bench.b) == 6
    device.clock.advance(5 * 3600)
    device.turns()
    assert (device.record.state, device.record.why) == (UpdateState.ROLLED_BACK, "not done in 24 h")


def test_a_pipeline_that_was_started_anew_has_its_trial_begun_again(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.trial_hangs.add(bench.b.sha256)
    device.want(2, bench.b).turns()
    bench.world.trial_hangs.clear()
    device.mail.renewed(SLOT)
    device.turns()
    assert device.record.active == bench.b


def test_a_database_that_refuses_stops_no_model_and_the_step_is_taken_later(bench: Bench) -> None:
    device = bench.installed(bench.a)
    full = [True]

    def refuse(reports: object) -> None:
        if full[0]:
            raise StoreError("no room")

    device.watching.before = refuse
    device.want(2, bench.b)
    for _ in range(3):
        with pytest.raises(StoreError):
            device.turns()
    assert device.record.active == bench.a
    full[0] = False
    device.clock.advance(3600)
    device.turns()
    assert device.record.active == bench.b


def test_slots_that_were_wiped_leave_the_factorys_model(bench: Bench) -> None:
    bench.installed(bench.a)
    shutil.rmtree(bench.folder / "data" / "slots")
    device = bench.boot()
    assert device.loadable() is None
    device.mail.lost(SLOT, bench.a, "gone")
    device.turns()
    assert device.record.active is None
    device.want(2, bench.b).turns()
    assert device.record.active == bench.b


def test_a_defect_in_one_slots_work_ends_its_offer_and_stops_no_other(bench: Bench) -> None:
    def defect(what: str) -> None:
        if what == "probe" and bench.device.updater._at == "attic":
            raise ZeroDivisionError("a defect of ours")

    device = bench.boot(names=(SLOT, "attic"))
    slots = {
        name: Wanted(target=each.target, sha256=each.sha256, size_bytes=0)
        for name, each in ((SLOT, bench.a), ("attic", bench.b))
    }
    bench.world.before = defect
    device.updater.want(encode_assignment(Assignment(fleet="home", device="porch", rev=4, slots=slots)))
    lives = 0
    while lives < 10 and device.desk.record("attic").state is not UpdateState.REJECTED:
        lives += 1
        try:
            live(device, 9)
        except ZeroDivisionError as err:
            device.updater.down(err, is_news=True, delay_s=1.0)
            assert lives < 2 or device.record.state is UpdateState.TRIAL, "the other one is first in the next life"
    assert "cut short 2 times" in device.desk.record("attic").why
    assert device.record.active == bench.a


def test_a_database_that_is_replaced_under_the_process_takes_no_slot_back_to_the_factorys_model(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    live(device)
    bench.book.commit([("DELETE FROM slot", ()), ("DELETE FROM mark", ())])
    device.updater.down(StoreError("it was broken and is new now"), is_news=True, delay_s=1.0)
    runs = len(device.pipelines.runs)
    live(device, 5)
    assert (device.record.active, device.record.previous) == (bench.b, bench.a)
    assert device.pipelines.runs[runs:] == []
    assert bench.boot().record.active == bench.b
    assert bench.device.updater.trust_state().rev == 2, "the last order was accepted again"


def test_a_card_that_fills_up_while_a_slot_is_written_ends_the_offer(bench: Bench) -> None:
    device = bench.installed(bench.a)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    device.slots.write = full  # type: ignore[method-assign,assignment]
    device.want(2, bench.b).turns()
    assert device.record.state is UpdateState.REJECTED
    assert "no room" in device.record.why


def test_a_library_that_is_missing_is_waited_for_and_no_verdict(bench: Bench) -> None:
    device = bench.installed(bench.a)
    missing = [True]

    def before(what: str) -> None:
        if what == "probe" and missing[0]:
            raise MissingExtraError("onnxruntime", "onnx")

    bench.world.before = before
    device.want(2, bench.b).turns()
    assert device.record.state is UpdateState.PROBING
    missing[0] = False
    device.clock.advance(700)
    device.turns()
    assert device.record.active == bench.b


def test_a_release_that_is_passed_over_at_a_start_is_told(bench: Bench) -> None:
    device = bench.installed(bench.a)
    device.mail.passed_over(SLOT, bench.a, "python-tuf is not installed")
    device.turns()
    (event,) = [report for report in device.watching.reports if isinstance(report, Event)]
    assert (event.name, event.state, event.pipeline) == ("slot", "passed_over", SLOT)
    assert bench.a.target in event.detail


def test_a_factorys_model_that_cannot_be_opened_is_told_once_and_tried_again(bench: Bench) -> None:
    device = bench.installed(bench.a)
    run, is_broken = device.pipelines.run, [True]

    def broken(slot: str, release: Release | None) -> None:
        if release is None and is_broken[0]:
            raise ModelError("no such file")
        run(slot, release)

    device.pipelines.run = broken  # type: ignore[method-assign]
    device.want(2, FACTORY).turns()
    for _ in range(3):
        device.clock.advance(700)
        device.turns()
    events = [report for report in device.watching.reports if isinstance(report, Event)]
    assert [(event.state, event.pipeline) for event in events] == [("broken", SLOT)]
    assert device.pipelines.runs == [bench.a], "what ran goes on"
    is_broken[0] = False
    device.clock.advance(700)
    device.turns()
    assert device.pipelines.runs == [bench.a, None]


def test_a_model_that_hangs_while_it_is_opened_is_seen_by_the_watchdog(bench: Bench) -> None:
    device = bench.installed(bench.a)
    stuck = []

    def hang(what: str) -> None:
        if what == "trial":
            device.clock.advance(121)
            stuck.append(device.updater._pulse is not None and device.updater._pulse.is_stuck)

    bench.world.before = hang
    device.want(2, bench.b)
    live(device, 3)
    assert stuck == [True]
    assert device.updater._pulse is not None
    assert not device.updater._pulse.is_stuck
