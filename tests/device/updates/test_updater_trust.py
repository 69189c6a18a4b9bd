"""The thread `updates`, by what is signed: old, forged, revoked and withdrawn."""

from __future__ import annotations

import pytest

from edge.contract.messages import Event, Update, UpdateState
from edge.contract.trust import Assignment, Wanted, encode_assignment
from edge.device.updates.orders import Order, give
from edge.device.updates.trust import Standing, Word
from edge.errors import (
    TrustError,
)
from tests.device.updates.benches import Bench
from tests.simulators.updates import SLOT


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
