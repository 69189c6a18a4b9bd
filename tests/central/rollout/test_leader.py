from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from edge.central.leader import Leader
from edge.contract.messages import State, encode_state
from edge.contract.topics import DeviceTopics
from edge.contract.trust import Assignment, decode_assignment, decode_signed, encode_assignment
from edge.errors import WireError
from tests.central.registry.fleet import Fleet
from tests.central.rollout.crowd import NEW, plan, runs
from tests.central.rollout.depot import Depot


class PlainSigner:
    def sign_assignment(self, assignment: Assignment) -> bytes:
        return encode_assignment(assignment)


class Retainer:
    """The part of a wire that a leader uses, and what a broker would retain."""

    failure = None

    def __init__(self) -> None:
        self.is_connected = True
        self.is_full = False
        self.retained: dict[str, bytes] = {}
        self.sent = 0

    def subscribe(self, topic_filter: str, handler: object) -> None: ...

    def start(self, events: object) -> None: ...

    def stop(self) -> None: ...

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        if self.is_full:
            raise WireError("full")
        assert (qos, retain) == (1, True)
        self.sent += 1
        self.retained[topic] = payload
        return self.sent


def leader_of(depot: Depot, wire: Retainer) -> Leader:
    return Leader(wire, depot.rollouts, PlainSigner(), depot.centre.clock)


WANT = DeviceTopics(fleet="farm", device="pi").want


def begun(depot: Depot) -> Retainer:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    return Retainer()


def test_what_was_decided_is_signed_and_retained_once(depot: Depot) -> None:
    wire = begun(depot)
    leader = leader_of(depot, wire)
    assert leader.step() == 1
    assert decode_assignment(wire.retained[WANT]).slots == {"porch": NEW}
    assert leader.step() == 0
    leader.published(99)
    leader.published(1)
    assert leader.step() == 0
    assert depot.centre.ask("SELECT rev, published_rev FROM assignment") == [(1, 1)]


def test_a_crash_between_commit_and_publish_is_made_good(depot: Depot) -> None:
    wire = begun(depot)
    depot.turn()
    assert wire.retained == {}
    assert leader_of(depot, wire).step() == 1
    assert decode_assignment(wire.retained[WANT]).rev == 1


def test_a_crash_between_publish_and_its_confirmation_publishes_the_same_again(depot: Depot) -> None:
    wire = begun(depot)
    leader_of(depot, wire).step()
    first = wire.retained.pop(WANT)
    assert leader_of(depot, wire).step() == 1
    assert wire.retained[WANT] == first


def test_each_connection_brings_a_forgetful_broker_everything(depot: Depot) -> None:
    wire = begun(depot)
    leader = leader_of(depot, wire)
    leader.step()
    leader.published(1)
    leader.step()
    wire.retained.clear()
    leader.connected()
    assert leader.step() == 1
    assert list(wire.retained) == [WANT]


def test_an_assignment_that_a_broker_lost_is_published_again_once_a_minute_until_its_device_has_it(
    depot: Depot,
) -> None:
    wire = begun(depot)
    leader = leader_of(depot, wire)
    leader.step()
    leader.published(1)
    leader.step()
    wire.retained.clear()
    for _ in range(59):
        depot.beat("pi")
        assert leader.step() == 0
    for _ in range(2):
        depot.beat("pi")
    assert leader.step() == 1
    assert list(wire.retained) == [WANT]
    leader.published(2)
    leader.step()
    depot.centre.clock.advance(70)
    depot.beat("pi", rev=1)
    assert leader.step() == 0


def test_a_device_that_is_away_or_takes_no_orders_is_published_nothing_again(depot: Depot) -> None:
    wire = begun(depot)
    leader = leader_of(depot, wire)
    leader.step()
    leader.published(1)
    leader.step()
    depot.centre.clock.advance(200)
    assert leader.step() == 0
    depot.beat("pi")
    assert leader.step() == 1
    leader.published(2)
    depot.centre.clock.advance(70)
    state = State(online=True, session=3, epoch=7)
    depot.centre.give(DeviceTopics(fleet="farm", device="pi").state, encode_state(state))
    depot.centre.step()
    assert leader.step() == 0


def test_a_broker_that_is_away_or_full_is_waited_for_while_decisions_go_on(depot: Depot) -> None:
    wire = begun(depot)
    wire.is_connected = False
    leader = leader_of(depot, wire)
    assert leader.step() == 0
    assert set(depot.rollouts.load("autumn").members) == {"pi"}
    wire.is_connected, wire.is_full = True, True
    assert leader.step() == 0
    wire.is_full = False
    assert leader.step() == 1


def fallen_silent(depot: Depot, wire: Retainer) -> Leader:
    """Its device was seen with an assignment, and the deadline is near."""
    leader = leader_of(depot, wire)
    leader.step()
    depot.beat("pi")
    leader.step()
    depot.centre.clock.advance(3590)
    leader.step()
    return leader


def phase_of(depot: Depot) -> str:
    return depot.rollouts.load("autumn").phase.value


def test_a_silent_device_halts_at_its_deadline(depot: Depot) -> None:
    wire = begun(depot)
    leader = fallen_silent(depot, wire)
    assert phase_of(depot) == "running"
    depot.centre.clock.advance(20)
    leader.step()
    assert phase_of(depot) == "halted"


@pytest.mark.parametrize("trouble", ["restart", "outage", "reconnect", "jump"])
def test_time_in_which_no_device_can_be_heard_brings_no_deadline(depot: Depot, trouble: str) -> None:
    wire = begun(depot)
    leader = fallen_silent(depot, wire)
    if trouble == "restart":
        depot.centre.clock.advance(86_400)
        leader = leader_of(depot, wire)
    elif trouble == "outage":
        wire.is_connected = False
        for _ in range(3):
            depot.centre.clock.advance(3000)
            leader.step()
        wire.is_connected = True
    elif trouble == "reconnect":
        depot.centre.clock.advance(60)
        leader.connected()
    else:
        depot.centre.clock.set_wall_ms(depot.now_ms + 86_400_000)
    leader.step()
    assert phase_of(depot) == "running"
    depot.centre.clock.advance(3601)
    leader.step()
    assert phase_of(depot) == "halted"


def test_a_rollout_ends_by_the_word_of_its_devices(depot: Depot) -> None:
    wire = begun(depot)
    leader = leader_of(depot, wire)
    leader.step()
    depot.beat("pi", runs(NEW), rev=1)
    leader.step()
    assert depot.rollouts.load("autumn").phase.value == "done"


def test_a_fleet_that_takes_long_to_look_at_is_looked_at_less_often(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = leader_of(depot, begun(depot))
    clock = depot.centre.clock
    looks: list[float] = []

    def look() -> int:
        looks.append(clock.monotonic_s())
        clock.advance(3)
        if len(looks) == 3:
            leader._stopping.set()
        return 0

    monkeypatch.setattr(leader, "step", look)
    leader._run()
    assert [later - earlier for earlier, later in pairwise(looks)] == [15, 15]


def test_the_online_key_of_a_registry_signs(depot: Depot, tmp_path: Path) -> None:
    wire = begun(depot)
    Leader(wire, depot.rollouts, Fleet(tmp_path / "signed").registry(), depot.centre.clock).step()
    signed = decode_signed(wire.retained[WANT])
    assert decode_assignment(signed.payload).slots == {"porch": NEW}
    assert len(signed.signatures) == 1
