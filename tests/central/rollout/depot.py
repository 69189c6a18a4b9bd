"""A central database that devices report to, and the rollouts on it."""

from __future__ import annotations

from edge.central.rollout.engine import step
from edge.central.rollout.plan import Step
from edge.central.store.people import Person
from edge.central.store.rollouts import Rollouts
from edge.contract.messages import Body, SlotState, State, TrustState, encode_state
from edge.contract.topics import DeviceTopics
from tests.central.ingest_bench import Centre, row
from tests.central.rollout.crowd import IDLE


class Depot:
    def __init__(self, centre: Centre) -> None:
        self.centre = centre
        self.rollouts = Rollouts.open(self.centre.url)
        self._seq = 0

    def close(self) -> None:
        self.rollouts.close()

    @property
    def now_ms(self) -> int:
        return self.centre.clock.wall_ms()

    def beat(self, device: str, slot: SlotState = IDLE, *, rev: int = 0, every_s: float = 30) -> None:
        """A heartbeat, a second later."""
        self.centre.clock.advance(1)
        state = State(
            online=True,
            session=3,
            epoch=7,
            every_s=every_s,
            version="1.0",
            slots={"porch": slot},
            trust=TrustState(rev=rev),
            board={"model": "raspberry-pi-5"},
        )
        self.centre.give(DeviceTopics(fleet="farm", device=device).state, encode_state(state))
        self.centre.step()

    def say(self, device: str, body: Body) -> None:
        """A row of this device."""
        self._seq += 1
        topic = DeviceTopics(fleet="farm", device=device)
        self.centre.data((row(self._seq, body),), device=topic.device, fleet=topic.fleet)
        self.centre.step()

    def person(self, device: str) -> Person:
        """Who says something of this device."""
        return Person(who="ada", now_ms=self.now_ms, fleet="farm", device=device)

    def turn(self, name: str = "autumn") -> Step:
        now_ms = self.now_ms
        return self.rollouts.turn(name, lambda rollout, reports: step(rollout, reports, now_ms), now_ms)
