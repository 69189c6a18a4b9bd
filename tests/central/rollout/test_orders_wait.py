"""No order before the metadata that it relies on."""

from __future__ import annotations

from edge.central.leader import Leader
from tests.central.rollout.depot import Depot
from tests.central.rollout.test_leader import WANT, PlainSigner, begun


def test_an_order_waits_until_its_fleet_can_know_the_release(depot: Depot) -> None:
    wire = begun(depot)
    told: list[str] = []
    leader = Leader(wire, depot.rollouts, PlainSigner(), depot.centre.clock, is_told=told.__contains__)
    assert leader.step() == 0
    assert WANT not in wire.retained
    told.append("farm")
    assert leader.step() == 1
    assert WANT in wire.retained
