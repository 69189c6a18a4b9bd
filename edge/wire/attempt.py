"""Try a broker once, and say what it said.

Promises: leaves nothing behind: no session, no message, no retained anything.
Leaves out: trying again (`mqtt`).
Thread: the caller's.
"""

from __future__ import annotations

from msgspec.structs import replace

from edge.clock import Clock
from edge.errors import WireError
from edge.wire.config import BrokerConfig
from edge.wire.outgoing import Outgoing
from edge.wire.paho_link import Identity, Link

__all__ = ["connect_once"]


def connect_once(
    config: BrokerConfig, *, client_id: str, topic_filters: list[str], clock: Clock, may_speak_on: str | None = None
) -> None:
    """Connect, subscribe to `topic_filters`, and leave. `client_id` must be no one else's: that client is thrown out.

    With `may_speak_on` an empty message is sent there, over MQTT 5: an older one is not told when it may not.

    Raises:
        WireError: no way there, refused, or silent.
        MissingExtraError: paho-mqtt is not installed.
    """
    identity = Identity(client_id=client_id, will=None, is_durable=False)
    until_s = clock.monotonic_s() + 2 * config.connect_timeout_s
    outgoing = Outgoing()
    if may_speak_on is not None:
        config = replace(config, protocol="5")
    with outgoing as wakeup, Link(config, identity, outgoing, wakeup, 1) as link:
        if may_speak_on is not None:
            outgoing.open()
            outgoing.put_publish(may_speak_on, b"", qos=1, retain=False)
        link.connect(topic_filters)
        while not (link.is_ready and link.is_drained):
            if clock.monotonic_s() > until_s:
                raise WireError("it accepts connections but does not answer; is this an MQTT port?")
            link.turn(0.1)
        if link.denied is not None:
            raise WireError(f"it lets us in, and may not be spoken to: {link.denied}")
        link.disconnect()
