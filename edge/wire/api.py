"""What device and central service ask of a message bus.

Promises: handlers run on the wire's own thread, in the order of arrival; a message is acknowledged to the broker only
when its receiver calls `ack`, and an ack that belongs to an earlier connection is dropped silently. A handler or an
event that raises ends the wire: its message stays unacknowledged, `disconnected` is told, `failure` holds the error and
`stop` raises it.
Leaves out: durability. The broker's acknowledgement means nothing; only the centre's receipt does.
Thread: `publish`, `ack` and `subscribe` from any; handlers must not block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Arrived", "Handler", "Will", "Wire", "WireEvents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker says in our name when we vanish, QoS 1."""

    topic: str
    payload: bytes
    retain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A message. `ack` tells the broker that it may forget it; for QoS 0 it does nothing."""

    topic: str
    payload: bytes
    retained: bool
    ack: Callable[[], None]
    response_topic: str | None = None


Handler = Callable[[Arrived], None]


class WireEvents(Protocol):
    """What a wire tells its owner. All run on the wire's thread and must not block."""

    def connected(self) -> None:
        """The broker took us and every subscription stands."""
        ...

    def disconnected(self, why: str) -> None:
        """The connection is gone; the wire is already trying again."""
        ...

    def published(self, token: int) -> None:
        """The broker acknowledged a QoS 1 publish. It has promised nothing."""
        ...


class Wire(Protocol):
    """One connection to a broker that heals itself."""

    @property
    def is_connected(self) -> bool:
        """Whether a publish has a chance."""
        ...

    @property
    def failure(self) -> BaseException | None:
        """What a handler raised, when that ended this wire; it will not connect again."""
        ...

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        """Ask for a topic, now and after each reconnect. Call before `start`."""
        ...

    def start(self, events: WireEvents) -> None:
        """Begin connecting, for ever, with jittered back-off; returns at once. A broker that is away is normal."""
        ...

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        """Hand a message to the connection and return its token.

        Raises:
            WireError: not connected. Nothing is ever queued for later.
        """
        ...

    def stop(self) -> None:
        """Disconnect in an orderly way (the last will is not sent) and join the thread.

        Raises:
            Exception: `failure`, where there is one. A second call does nothing.
        """
        ...
