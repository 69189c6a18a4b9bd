"""Try a broker once, and say what it said.

Promises: leaves nothing behind: no session, no message, no retained anything.
Leaves out: trying again (`mqtt`).
Thread: the caller's.
"""

from __future__ import annotations

from edge.clock import Clock
from edge.errors import WireError
from edge.wire.config import BrokerConfig
from edge.wire.outgoing import Outgoing
from edge.wire.paho_link import Identity, Link

__all__ = ["connect_once"]


def connect_once(config: BrokerConfig, *, client_id: str, topic_filters: list[str], clock: Clock) -> None:
    """Connect, subscribe to `topic_filters`, and leave. `client_id` must be no one else's: that client is thrown out.

    Raises:
        WireError: no way there, refused, or silent.
        MissingExtraError: paho-mqtt is not installed.
    """
    identity = Identity(client_id=client_id, will=None, is_durable=False)
    until_s = clock.monotonic_s() + 2 * config.connect_timeout_s
    outgoing = Outgoing()
    with outgoing as wakeup, Link(config, identity, outgoing, wakeup, 1) as link:
        link.connect(topic_filters)
        while not link.is_ready:
            if clock.monotonic_s() > until_s:
                raise WireError("it accepts connections but does not answer; is this an MQTT port?")
            link.turn(0.1)
        link.disconnect()
