"""The thread `updates`: orders in, releases tried, kept or refused; nothing that fails stops what runs."""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge.contract.messages import Event, Shadow, Update, UpdateState
from edge.contract.trust import Assignment, Wanted, encode_assignment
from edge.device.seat import Verdict
from edge.device.supervisor import Pulse
from edge.device.updates.orders import FOLDER_NAME, Order, give
from edge.device.updates.record import Release
from edge.device.updates.trust import Standing, Word
from edge.errors import (
    DiskFullError,
    MissingExtraError,
    ModelError,
    NotNowError,
    RepositoryError,
    StoreError,
    TrustError,
)
from tests.simulators.book import SqliteBook
from tests.simulators.updates import FACTORY, SLOT, Device, World


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder / "world")
        self.a, self.b, self.c = (self.world.release(number) for number in (1, 2, 3))
        self.book = SqliteBook()
        self.device = self.boot()

    def boot(self, **more: object) -> Device:
        self.device = Device(self.world, self.book, self.folder / "data", **more)
        return self.device

    def installed(self, *releases: Release) -> Device:
        for rev, release in enumerate(releases, 1):
            self.device.want(rev, release).turns()
            assert self.device.record.active == release
        self.device.watching.reports.clear()
        return self.device


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_order_brings_a_release_through_every_state_each_with_its_report(bench: Bench) -> None:
    device = bench.device.want(1, bench.a).turns()
    assert device.states == ["offered", "fetching", "staged", "probing", "trial", "committed", "idle"]
    assert (device.record.active, device.record.previous) == (bench.a, None)
    assert device.pipelines.runs == [bench.a]
    assert device.loadable() == bench.a
    assert device.updater.slot_states()[SLOT].active == bench.a.target
    assert device.updater.trust_state().rev == 1


def test_each_change_of_a_slot_is_told_when_it_can_be_read(bench: Bench) -> None:
    device = bench.device
    seen: list[str] = []
    device.updater.watch(lambda: seen.append(device.updater.slot_states()[SLOT].state.value))
    device.want(1, bench.a).turns()
    assert seen == device.states


def test_the_same_order_again_after_a_reconnect_does_nothing(bench: Bench) -> None:
    device = bench.installed(bench.a)
    refreshed = device.trust.refreshed
    device.want(1, bench.a).turns()
    assert device.watching.reports == []
    assert device.trust.refreshed == refreshed + 1


def test_an_older_order_that_somebody_sends_again_is_reported_once_and_moves_nothing(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    for _ in range(3):
        device.want(1, bench.a).turns()
    (told,) = device.watching.reports
    assert isinstance(told, Event)
    assert (told.name, told.state, told.detail) == ("assignment", "refused", "old news")
    assert device.record.active == bench.b


def test_old_metadata_are_reported_once_though_no_order_waits_for_them(bench: Bench) -> None:
    device = bench.installed(bench.a)

    def replayed(what: str) -> None:
        if what == "refresh":
            raise TrustError("timestamp 1: expected 7")

    bench.world.before = replayed
    for _ in range(3):
        device.want(1, bench.a).turns()
    (told,) = device.watching.reports
    assert isinstance(told, Event)
    assert (told.name, told.state, told.detail) == ("trust", "refused", "timestamp 1: expected 7")


def test_an_old_order_is_no_refusal_where_only_fresh_metadata_can_tell_its_age(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = bench.installed(bench.a)
    check = device.trust.check_assignment

    def only_when_fresh(raw: bytes) -> Assignment:
        if device.trust.refreshed == refreshed:
            raise TrustError("no metadata of the role targets is held yet")
        return check(raw)

    refreshed = device.trust.refreshed
    monkeypatch.setattr(device.trust, "check_assignment", only_when_fresh)
    device.want(1, bench.a).turns()
    assert device.trust.refreshed == refreshed + 1
    assert device.watching.reports == []


def test_the_release_before_is_kept_and_older_ones_go(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b, bench.c)
    assert {each.target for each in device.slots.releases(SLOT)} == {bench.b.target, bench.c.target}
    assert (device.record.active, device.record.previous) == (bench.c, bench.b)


def test_a_release_that_fails_its_golden_samples_is_rejected_with_the_reason(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.probe_fails.add(bench.b.sha256)
    device.want(2, bench.b).turns()
    assert (device.record.state, device.record.refused) == (UpdateState.REJECTED, bench.b)
    assert "off by 1" in device.record.why
    assert device.record.active == bench.a
    assert device.pipelines.trials == [bench.a]


def test_a_release_that_fails_its_trial_is_rolled_back_and_tried_again_only_when_named_anew(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.trial_fails.add(bench.b.sha256)
    device.want(2, bench.b).turns()
    assert (device.record.state, device.record.active) == (UpdateState.ROLLED_BACK, bench.a)
    assert device.record.why == "after 3 inferences: InferenceError: bad"
    assert device.pipelines.runs[-1] == bench.a
    bench.world.trial_fails.clear()
    bench.boot().turns()
    assert bench.device.record.state is UpdateState.ROLLED_BACK
    bench.device.want(2, bench.b).turns()
    assert bench.device.record.active == bench.a
    bench.device.want(3, bench.b).turns()
    assert bench.device.record.active == bench.b
    assert bench.device.fetches.fetched == [], "the files were still here"


def test_a_trial_that_never_ends_is_rolled_back_at_its_deadline(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.trial_hangs.add(bench.b.sha256)
    device.want(2, bench.b).turns()
    assert device.record.state is UpdateState.TRIAL
    device.clock.advance(23 * 3600)
    device.turns()
    assert device.record.state is UpdateState.TRIAL
    device.clock.advance(2 * 3600)
    device.turns()
    assert (device.record.state, device.record.why) == (UpdateState.ROLLED_BACK, "not done in 24 h")
    assert device.pipelines.pending is not None
    device.pipelines.pending(Verdict(is_good=True, items=5))
    device.turns()
    assert device.record.active == bench.a, "a verdict that comes late moves nothing"


@pytest.mark.parametrize(("where", "attempts"), [("probe", 2), ("trial", 3)])
def test_a_release_that_kills_the_process_is_given_up_after_some_restarts(
    bench: Bench, where: str, attempts: int
) -> None:
    class Killed(BaseException):
        pass

    def kill(what: str) -> None:
        if what == where and bench.device.record.coming == bench.b:
            raise Killed

    bench.installed(bench.a)
    bench.world.before = kill
    bench.device.want(2, bench.b)
    deaths = 0
    for _ in range(10):
        try:
            bench.device.turns()
            break
        except Killed:
            deaths += 1
            bench.boot()
    assert deaths == attempts
    assert bench.device.record.active == bench.a
    assert f"cut short {attempts} times" in bench.device.record.why


def test_a_newer_order_takes_the_place_of_the_one_under_way(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.trial_hangs.add(bench.b.sha256)
    device.want(2, bench.b).turns()
    device.want(3, bench.c).turns()
    assert (device.record.active, device.record.previous) == (bench.c, bench.a)
    assert device.pipelines.runs[-2:] == [bench.a, bench.c], "the trial of b ended first"


def test_an_order_that_no_longer_names_the_slot_stops_what_is_under_way_and_nothing_else(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.trial_hangs.add(bench.b.sha256)
    device.want(2, bench.b).turns()
    device.want(3, None).turns()
    assert (device.record.state, device.record.active, device.record.coming) == (UpdateState.IDLE, bench.a, None)
    assert device.pipelines.runs[-1] == bench.a


def test_a_shadow_is_reported_and_swaps_nothing_and_its_release_need_not_be_fetched_again(bench: Bench) -> None:
    device = bench.installed(bench.a)
    device.want(2, bench.b, mode="shadow", share=0.25).turns()
    shadow = next(report for report in device.watching.reports if isinstance(report, Shadow))
    assert (shadow.target, shadow.items, shadow.agreed, shadow.shadow_ms) == (bench.b.target, 10, 9, 2.0)
    assert device.pipelines.shares == [0.25]
    assert (device.record.state, device.record.active) == (UpdateState.IDLE, bench.a)
    assert device.pipelines.runs[-1] == bench.a
    fetched = len(device.fetches.fetched)
    device.want(3, bench.b).turns()
    assert device.record.active == bench.b
    assert len(device.fetches.fetched) == fetched


def test_an_order_for_the_factorys_model_needs_no_probe_and_no_file_and_the_way_back_lies_here(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    probed = len(device.probed)
    device.want(3, FACTORY).turns()
    assert device.states == ["committed", "idle"]
    assert (device.record.active, device.record.previous) == (None, bench.b)
    assert device.pipelines.runs[-1] is None
    assert (len(device.probed), device.updater.slot_states()[SLOT].active) == (probed, "")
    again = bench.boot().turns()
    assert again.loadable() is None, "the one before is not started in its place"
    give(bench.folder / "data", Order(slot=SLOT, what="rollback"))
    again.turns()
    assert (again.record.active, again.pipelines.runs[-1]) == (bench.b, bench.b)


def test_an_order_for_the_release_before_fetches_nothing_and_checks_probes_and_tries_it_again(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    device.fetches.fetched.clear()
    device.repository.asked.clear()
    device.want(3, bench.a, size_bytes=0).turns()
    assert device.states == ["offered", "fetching", "staged", "probing", "trial", "committed", "idle"]
    assert (device.record.active, device.record.previous) == (bench.a, bench.b)
    assert (device.fetches.fetched, device.repository.asked) == ([], [])
    device.watching.reports.clear()
    device.want(4, bench.a).turns()
    assert device.states == ["idle"], "the same release, whatever size the order gives; its revision is told"


def test_the_same_bundle_under_a_new_number_is_found_by_it(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    anew = Release(target="models/digits/9.json", sha256=bench.b.sha256)
    bench.world.made[anew.target] = bench.world.made[bench.b.target]
    device.want(3, anew).turns()
    assert (device.record.active, device.record.previous) == (anew, bench.a)
    assert set(device.slots.releases(SLOT)) == {bench.a, anew}


def test_every_report_says_which_order_asked_for_it(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.trial_fails.add(bench.b.sha256)
    device.want(5, bench.b).turns()
    device.want(6, bench.c, mode="shadow").turns()
    told = [(report.target, report.rev) for report in device.watching.reports if isinstance(report, Update | Shadow)]
    assert set(told) == {(bench.b.target, 5), (bench.c.target, 6), (bench.a.target, 1)}
    assert [report.rev for report in device.watching.reports if isinstance(report, Shadow)] == [6]


def test_a_newer_order_for_what_is_on_trial_lets_the_trial_go_on(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.trial_hangs.add(bench.b.sha256)
    device.want(2, bench.b).turns()
    device.want(3, bench.b).turns()
    give(bench.folder / "data", Order(slot=SLOT, what="pin"))
    device.turns()
    assert device.pipelines.trials.count(bench.b) == 1
    assert device.pipelines.pending is not None
    device.pipelines.pending(Verdict(is_good=False, why="slow", items=5))
    device.turns()
    refused = [report for report in device.watching.reports if getattr(report, "state", "") == "rolled_back"]
    assert [report.rev for report in refused if isinstance(report, Update)] == [3]


def test_a_device_tells_the_revision_it_goes_by_before_its_first_look(bench: Bench) -> None:
    bench.installed(bench.a)
    assert bench.boot().updater.trust_state().rev == 1


def test_a_release_that_may_not_be_started_is_refused_for_its_slot_and_stops_no_other(bench: Bench) -> None:
    device = bench.boot(names=(SLOT, "attic"))
    bench.world.standings[bench.a.target] = Standing(word=Word.REVOKED, why="it sees ghosts")
    slots = {
        name: Wanted(target=each.target, sha256=each.sha256, size_bytes=0)
        for name, each in ((SLOT, bench.a), ("attic", bench.b))
    }
    device.updater.want(encode_assignment(Assignment(fleet="home", device="porch", rev=4, slots=slots)))
    device.turns()
    assert device.desk.record("attic").active == bench.b
    (refused,) = [report for report in device.watching.reports if getattr(report, "state", "") == "rejected"]
    assert isinstance(refused, Update)
    assert (refused.slot, refused.rev, refused.target) == (SLOT, 4, bench.a.target)
    assert "it sees ghosts" in refused.why


def test_an_order_that_overtakes_its_metadata_waits_for_them_some_minutes(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.standings[bench.b.target] = Standing(word=Word.WITHDRAWN, why="not signed, or no longer")
    device.want(2, bench.b).turns()
    assert device.record.state is UpdateState.OFFERED
    del bench.world.standings[bench.b.target]
    device.clock.advance(10)
    device.turns()
    assert device.record.active == bench.b
    bench.world.standings[bench.c.target] = Standing(word=Word.WITHDRAWN, why="not signed, or no longer")
    device.want(3, bench.c).turns()
    for _ in range(12):
        device.clock.advance(60)
        device.turns()
    assert device.record.state is UpdateState.REJECTED
    assert "not signed" in device.record.why


def test_an_offer_that_nothing_can_be_said_of_for_now_waits_a_day_and_is_refused_with_the_reason(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.standings[bench.b.target] = Standing(word=Word.UNKNOWN, why="the metadata have expired")
    device.want(2, bench.b).turns()
    device.clock.advance(12 * 3600)
    device.turns()
    assert device.record.state is UpdateState.OFFERED
    device.clock.advance(13 * 3600)
    device.turns()
    assert (device.record.state, device.record.active) == (UpdateState.REJECTED, bench.a)
    assert device.record.why == "not done in 24 h: the metadata have expired"


def test_an_offer_waits_for_metadata_that_do_not_hold_and_is_no_loop(bench: Bench) -> None:
    device = bench.installed(bench.a)

    def expire(what: str) -> None:
        if what == "refresh" and device.record.state is UpdateState.OFFERED:
            raise TrustError("timestamp.json is expired")

    bench.world.before = expire
    device.want(2, bench.b)
    for _ in range(100):
        device.clock.advance(600)
        device.turns(1)
    assert device.record.state is UpdateState.OFFERED
    bench.world.before = lambda _: None
    device.clock.advance(600)
    device.turns()
    assert device.record.active == bench.b


def test_a_new_device_tells_of_each_slot_that_it_runs_the_factorys_model(bench: Bench) -> None:
    states = bench.boot(names=(SLOT, "attic")).updater.slot_states()
    assert set(states) == {SLOT, "attic"}
    assert {(state.state, state.active) for state in states.values()} == {(UpdateState.IDLE, "")}


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


def test_an_order_for_somebody_else_is_refused_and_told_once(bench: Bench) -> None:
    device = bench.installed(bench.a)
    raw = encode_assignment(Assignment(fleet="home", device="other", rev=9))
    for _ in range(3):
        device.updater.want(raw)
        device.turns()
    events = [report for report in device.watching.reports if isinstance(report, Event)]
    assert [(event.name, event.state, event.detail) for event in events] == [
        ("assignment", "refused", "for another device")
    ]


def test_a_revoked_release_is_left_for_the_one_before_and_then_for_the_factorys(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    bench.world.standings[bench.b.target] = Standing(word=Word.REVOKED, why="it sees ghosts")
    device.clock.advance(4000)
    device.turns()
    assert (device.record.state, device.record.active) == (UpdateState.ROLLED_BACK, bench.a)
    assert device.record.why == "revoked: it sees ghosts"
    assert device.pipelines.runs[-1] == bench.a
    bench.world.standings[bench.a.target] = Standing(word=Word.REVOKED, why="so does this")
    device.clock.advance(4000)
    device.turns()
    assert device.record.active is None
    assert device.pipelines.runs[-1] is None


def test_nobody_goes_back_to_a_revoked_release_or_chooses_one(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    bench.world.standings[bench.a.target] = Standing(word=Word.REVOKED, why="it sees ghosts")
    data_dir = bench.folder / "data"
    give(data_dir, Order(slot=SLOT, what="use", target=bench.a.target))
    device.turns()
    assert (device.record.state, device.record.active) == (UpdateState.REJECTED, bench.b)
    assert device.record.why == "revoked: it sees ghosts"
    device.mail.lost(SLOT, bench.b, "a bit has flipped")
    device.turns()
    assert device.record.active is None
    assert bench.a not in device.pipelines.runs[1:], "not for a moment"
    assert device.pipelines.runs[-1] is None


def test_a_release_that_is_revoked_on_its_way_comes_no_further(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.trial_hangs.add(bench.b.sha256)
    device.want(2, bench.b).turns()
    assert device.record.state is UpdateState.TRIAL
    bench.world.standings[bench.b.target] = Standing(word=Word.REVOKED, why="it sees ghosts")
    device.clock.advance(4000)
    device.turns()
    assert (device.record.state, device.record.why) == (UpdateState.ROLLED_BACK, "revoked: it sees ghosts")
    assert device.pipelines.runs[-1] == bench.a


def test_a_withdrawn_release_goes_on_and_is_told_once(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.standings[bench.a.target] = Standing(word=Word.WITHDRAWN, why="no longer signed")
    for _ in range(3):
        device.clock.advance(4000)
        device.turns()
    assert device.record.active == bench.a
    assert [report.state for report in device.watching.reports if isinstance(report, Event)] == ["withdrawn"]


def test_a_release_below_its_floor_runs_on_and_is_not_started_again(bench: Bench) -> None:
    device = bench.installed(bench.a)
    bench.world.standings[bench.a.target] = Standing(word=Word.BELOW_FLOOR, why="the lowest is 2")
    device.clock.advance(4000)
    device.turns()
    assert device.record.active == bench.a
    bench.boot().turns()
    assert bench.device.record.active is None


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


def test_a_release_of_another_kind_of_input_or_for_no_pipeline_is_rejected(bench: Bench) -> None:
    bench.boot(names=())
    bench.device.want(1, bench.a).turns()
    assert (bench.device.record.state, bench.device.record.why) == (
        UpdateState.REJECTED,
        "this device has no pipeline of that name",
    )
    device = bench.boot()
    device.pipelines.kind = lambda slot: None  # type: ignore[method-assign]
    device.want(2, bench.a).turns()
    assert device.record.why == "this device has no pipeline of that name"


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


def test_an_operator_goes_back_pins_and_chooses_again(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    data_dir = bench.folder / "data"
    give(data_dir, Order(slot=SLOT, what="rollback"))
    device.turns()
    assert (device.record.active, device.record.refused) == (bench.a, bench.b)
    give(data_dir, Order(slot=SLOT, what="pin"))
    device.turns().want(7, bench.c).turns()
    assert (device.record.active, device.record.is_pinned) == (bench.a, True)
    give(data_dir, Order(slot=SLOT, what="use", target=bench.b.target))
    device.turns()
    assert device.record.active == bench.b
    assert list((data_dir / FOLDER_NAME).iterdir()) == []


def test_an_order_that_cannot_be_obeyed_is_told(bench: Bench) -> None:
    device = bench.device
    device.data_dir.mkdir(exist_ok=True)
    give(device.data_dir, Order(slot=SLOT, what="use", target="models/x/1.json"))
    give(device.data_dir, Order(slot=SLOT, what="rollback"))
    (device.data_dir / FOLDER_NAME / "junk.json").write_bytes(b"{")
    device.turns()
    assert [report.state for report in device.watching.reports] == ["refused", "refused"]


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


def live(device: Device, turns: int = 1) -> None:
    """One life of the thread, as the supervisor starts it; it ends after so many turns, or raises."""
    left = [turns]
    stop = threading.Event()

    def went_well() -> None:
        left[0] -= 1
        if not left[0]:
            stop.set()

    pulse = Pulse(device.clock)
    device.updater.run(SimpleNamespace(stop=stop, went_well=went_well, pulse=pulse))  # type: ignore[arg-type]


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


def test_an_operators_order_is_carried_out_once_whatever_cuts_it_short(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b, bench.c)
    give(bench.folder / "data", Order(slot=SLOT, what="rollback"))
    (waiting,) = (bench.folder / "data" / FOLDER_NAME).iterdir()
    raw = waiting.read_bytes()
    device.turns()
    assert device.record.active == bench.b
    waiting.write_bytes(raw)  # as if the power had gone between the commit and the end of the file
    bench.boot().turns()
    assert bench.device.record.active == bench.b
    assert not waiting.exists()


def test_an_order_for_no_pipeline_is_refused_whatever_it_says(bench: Bench) -> None:
    device = bench.device
    device.data_dir.mkdir(exist_ok=True)
    for slot in ("cellar", "../..", "a\0b"):
        give(device.data_dir, Order(slot=slot, what="use", target="models/x/1.json"))
    device.turns()
    assert [report.state for report in device.watching.reports] == ["refused"] * 3
    assert device.desk.names() == ()


def test_a_fetch_makes_way_for_what_an_operator_at_the_device_asks(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    asked = []

    def slow(what: str) -> None:
        if what == "fetch" and not asked:
            asked.append(give(bench.folder / "data", Order(slot=SLOT, what="pin")))
            device.updater.nudge()
            assert device.interrupt.is_set()
            raise RepositoryError("told to stop")

    bench.world.before = slow
    device.want(3, bench.c).turns()
    assert device.record.is_pinned


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
