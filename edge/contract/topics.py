"""The only module that spells MQTT topics.

Promises: `e1` is the protocol's version; the shape is fixed: one wildcard finds all of a kind, parsing is a split.
Who may speak and hear where stands here too, beside the topics that it follows from.
Leaves out: payloads (`messages`), and making a broker keep to it (`central.broker`).
Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edge.errors import ProtocolError

__all__ = [
    "Access",
    "CentralTopics",
    "DeviceTopics",
    "Up",
    "central_access",
    "device_access",
    "parse_up",
    "viewer_access",
]

_ROOT = "e1"
_ANSWERS = "reply"  # outside of _ROOT: what stands there is between the one who asked and the device


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

    def reply_to(self, asker: str) -> str:
        """Where it may answer a text besides `live`, up, QoS 1: whoever sends one and names this hears nobody else."""
        return f"{_ANSWERS}/{self.fleet}/{self.device}/{asker}"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one user of the broker may hear, and where it may speak: topic filters."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]


def device_access(names: DeviceTopics) -> Access:
    """Of a device: under its own name, and what its fleet is told. It speaks on no more topics than it has."""
    return Access(
        reads=(f"{_ROOT}/{names.fleet}/{names.device}/dn/+", names.texts, f"{_ROOT}/{names.fleet}/all/dn/+"),
        writes=(names.data, names.ask, names.answer, names.state, names.live("+"), names.reply_to("#")),
    )


def central_access() -> Access:
    """Of the central service: every fleet on its broker. Rows and states are the devices' alone to send."""
    return Access(
        reads=(f"{_ROOT}/+/+/up/+", f"{_ROOT}/+/+/state", f"{_ROOT}/+/+/live/+", f"{_ANSWERS}/#"),
        writes=(f"{_ROOT}/+/+/dn/+", f"{_ROOT}/+/+/in/+"),
    )


def viewer_access(fleet: str) -> Access:
    """Of people and home automation: look at one fleet, and send it texts to be read."""
    return Access(
        reads=(f"{_ROOT}/{fleet}/+/live/+", f"{_ROOT}/{fleet}/+/state", f"{_ANSWERS}/{fleet}/#"),
        writes=(f"{_ROOT}/{fleet}/+/in/+",),
    )
