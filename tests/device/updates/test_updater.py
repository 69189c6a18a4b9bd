"""The thread `updates`: orders in, releases tried, kept or refused."""

from __future__ import annotations

import pytest

from edge.contract.messages import Shadow, Update, UpdateState
from edge.device.seat import Verdict
from edge.device.updates.orders import Order, give
from edge.device.updates.record import Release
from tests.device.updates.benches import Bench
from tests.simulators.updates import FACTORY, SLOT


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


def test_a_new_device_tells_of_each_slot_that_it_runs_the_factorys_model(bench: Bench) -> None:
    states = bench.boot(names=(SLOT, "attic")).updater.slot_states()
    assert set(states) == {SLOT, "attic"}
    assert {(state.state, state.active) for state in states.values()} == {(UpdateState.IDLE, "")}


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
