"""The only module that spells MQTT topics.

Promises: `e1` is the protocol's version; the shape is fixed: one wildcard finds all of a kind, parsing is a split.
Leaves out: payloads (`messages`) and who may publish what (the broker's access list; see the table in docs).
Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edge.errors import ProtocolError

__all__ = ["CentralTopics", "DeviceTopics", "Up", "parse_up"]

_ROOT = "e1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTopics:
    """Where one device speaks and listens."""

    fleet: str
    device: str

    def _under(self, rest: str) -> str:
        return f"{_ROOT}/{self.fleet}/{self.device}/{rest}"

    @property
    def data(self) -> str:
        """Batches of rows, up, QoS 1."""
        return self._under("up/data")

    @property
    def state(self) -> str:
        """Birth, death and health, up, QoS 1, retained; also the last will."""
        return self._under("state")

    @property
    def receipt(self) -> str:
        """What the centre has committed, down, QoS 1."""
        return self._under("dn/receipt")

    @property
    def ask(self) -> str:
        """What the device wants to know, up, QoS 1."""
        return self._under("up/ask")

    @property
    def answer(self) -> str:
        """Answers to texts that the centre sent, up, QoS 1."""
        return self._under("up/answer")

    @property
    def want(self) -> str:
        """What the device shall run, signed, down, QoS 1, retained."""
        return self._under("dn/want")

    @property
    def block(self) -> str:
        """Parts of files, down, QoS 0."""
        return self._under("dn/block")

    @property
    def reply(self) -> str:
        """Answers to what it asked, down, QoS 1."""
        return self._under("dn/reply")

    @property
    def trust(self) -> str:
        """The whole trust update, for every device of the fleet, down, QoS 1, retained."""
        return f"{_ROOT}/{self.fleet}/all/dn/trust"

    @property
    def texts(self) -> str:
        """Filter for the texts sent to any pipeline, down, QoS 1."""
        return self._under("in/+")

    def live(self, pipeline: str) -> str:
        """Each result as plain JSON, up, QoS 0; never relied upon."""
        return self._under(f"live/{pipeline}")

    def text(self, pipeline: str) -> str:
        """A text to infer, down, QoS 1."""
        return self._under(f"in/{pipeline}")

    def pipeline_of(self, topic: str) -> str | None:
        """The pipeline that an `in/` topic names, or None where the topic is another."""
        prefix = self._under("in/")
        name = topic.removeprefix(prefix)
        return name if topic.startswith(prefix) and name and "/" not in name else None


class Up(Enum):
    """What arrived from a device."""

    DATA = "up/data"
    ASK = "up/ask"
    STATE = "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralTopics:
    """Where the central service listens; `fleet` None means every fleet."""

    fleet: str | None = None

    @property
    def data(self) -> str:
        """Filter for every device's rows."""
        return f"{_ROOT}/{self.fleet or '+'}/+/{Up.DATA.value}"

    @property
    def ask(self) -> str:
        """Filter for what every device wants to know."""
        return f"{_ROOT}/{self.fleet or '+'}/+/{Up.ASK.value}"

    @property
    def answer(self) -> str:
        """Filter for every device's answers to texts that the centre sent."""
        return f"{_ROOT}/{self.fleet or '+'}/+/up/answer"

    @property
    def state(self) -> str:
        """Filter for every device's birth, death and health."""
        return f"{_ROOT}/{self.fleet or '+'}/+/{Up.STATE.value}"


def parse_up(topic: str) -> tuple[DeviceTopics, Up]:
    """Who sent it, and what it is.

    Raises:
        ProtocolError: no topic that a device of this protocol version sends on.
    """
    parts = topic.split("/", 3)
    if len(parts) == 4 and parts[0] == _ROOT and all(parts):  # noqa: PLR2004 - root, fleet, device, kind
        for kind in Up:
            if parts[3] == kind.value:
                return DeviceTopics(fleet=parts[1], device=parts[2]), kind
    raise ProtocolError(f"topic {topic!r}: expected {_ROOT}/<fleet>/<device>/up/data, .../up/ask or .../state")
