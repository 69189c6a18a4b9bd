"""One MQTT connection, from CONNECT to its end: the only file that names the MQTT library.

Promises: every connection is a new paho client, so nothing of an old one (queued publishes, packet ids) reaches a new
one. Callbacks, which run inside paho's locks, only take notes; `turn` returns, and they are acted upon outside.
Leaves out: what happens after the end (`mqtt`).
Thread: `mqtt`, and no other.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edge.errors import MissingExtraError, WireError
from edge.wire.api import Will
from edge.wire.config import BrokerConfig
from edge.wire.outgoing import Outgoing

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

__all__ = ["Identity", "Link", "Message", "require_paho"]

_SESSION_EXPIRY_S = 7 * 24 * 3600  # MQTT 5 only; on 3.1.1 the broker's own setting decides
_QOS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who connects, what is said when it vanishes, and whether the broker keeps its session meanwhile."""

    client_id: str
    will: Will | None
    is_durable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What came in. `mid` is its packet id on this connection, meaningless for QoS 0 and on any other."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    mid: int
    response_topic: str | None


def require_paho() -> Any:
    """Load the library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        from paho.mqtt import client
    except ImportError as err:
        raise MissingExtraError("paho-mqtt", "mqtt") from err
    return client


class Link:
    """One connection. Use it in a `with`: `connect`, then `turn` until it raises, or `disconnect`."""

    def __init__(
        self, config: BrokerConfig, identity: Identity, outgoing: Outgoing, wakeup: socket.socket, generation: int
    ) -> None:
        self._paho = require_paho()
        self._client = _new_client(self._paho, config, identity)
        self._config = config
        self._is_durable = identity.is_durable
        self._outgoing = outgoing
        self._wakeup = wakeup
        self._generation = generation
        self._selector = selectors.DefaultSelector()
        self._registered: tuple[Any, int] | None = None
        self._filters: list[str] = []
        self._arrived: list[Message] = []
        self._acknowledged: list[int] = []
        self._tokens: dict[int, int] = {}
        self._refused: str | None = None
        self._is_accepted = False
        self._subscribe_mid: int | None = None
        self.is_ready = False
        self.denied: str | None = None  # why it took no message of ours; MQTT 5 only, 3.1.1 does not say
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect

    def __enter__(self) -> Link:  # noqa: PYI034 - `Self` is in no Python 3.10
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._selector.close()
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    @property
    def is_drained(self) -> bool:
        """Whether all that was handed over is sent, and acknowledged where it asked for that."""
        return self._outgoing.is_empty and not self._tokens and not self._client.want_write()

    def connect(self, filters: list[str]) -> None:
        """Open the connection and ask for the session.

        Raises:
            WireError: no way there.
        """
        self._filters = filters
        config = self._config
        try:
            rc = self._client.connect(config.host, config.port, config.keepalive_s, **self._session_options())
        except (OSError, ValueError) as err:  # ValueError: a host that is no name
            raise WireError(f"cannot connect ({err})") from err
        self._check(rc)
        sock: Any = self._client.socket()
        if sock is not None:
            # Else a small message waits for the broker's delayed ACK of the one before: 40 ms for every question asked.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def turn(self, timeout_s: float) -> None:
        """Wait for the socket or a wish, at most `timeout_s`, and serve both.

        Raises:
            WireError: the connection is gone, or the broker refused us.
        """
        sock = self._watch()
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0  # decrypted bytes that no select can see
        ready = {key.fileobj: mask for key, mask in self._selector.select(0 if pending else timeout_s)}
        if self._wakeup in ready:
            self._outgoing.swallow_wakeups()
        mask = ready.get(sock, 0)
        if pending or mask & selectors.EVENT_READ:
            self._check(self._client.loop_read())
        if mask & selectors.EVENT_WRITE:
            self._check(self._client.loop_write())
        self._check(self._client.loop_misc())
        if self._refused is not None:
            raise WireError(self._refused)
        self._subscribe()
        self._send()

    def matches(self, topic_filter: str, topic: str) -> bool:
        """Whether a filter covers a topic, by MQTT's rules."""
        return bool(self._paho.topic_matches_sub(topic_filter, topic))

    def take_arrived(self) -> list[Message]:
        """Messages since the last call."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def take_acknowledged(self) -> list[int]:
        """Tokens since the last call."""
        acknowledged, self._acknowledged = self._acknowledged, []
        return acknowledged

    def disconnect(self) -> None:
        """Say goodbye, so that the broker keeps the last will to itself."""
        self._client.disconnect()
        if self._client.want_write():
            self._client.loop_write()

    def _watch(self) -> Any:
        sock = self._client.socket()
        if sock is None:
            raise WireError(self._refused or "the connection was lost")
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        if self._registered is None:
            self._selector.register(sock, events)
        elif self._registered != (sock, events):
            self._selector.modify(sock, events)
        self._registered = (sock, events)
        return sock

    def _subscribe(self) -> None:
        if not self._is_accepted or self.is_ready or self._subscribe_mid is not None:
            return
        if not self._filters:
            self.is_ready = True
            return
        rc, self._subscribe_mid = self._client.subscribe([(topic_filter, _QOS) for topic_filter in self._filters])
        self._check(rc)

    def _send(self) -> None:
        """Hand over wishes as long as the socket takes them; the rest waits where it is bounded."""
        while self.is_ready and not self._client.want_write():
            ack = self._outgoing.take_ack()
            if ack is not None:
                if ack.generation == self._generation:
                    self._check(self._client.ack(ack.mid, ack.qos))
                continue
            if len(self._tokens) >= self._config.max_inflight:
                return
            wish = self._outgoing.take_publish()
            if wish is None:
                return
            info = self._client.publish(wish.topic, wish.payload, qos=wish.qos, retain=wish.retain)
            if wish.qos:
                self._tokens[info.mid] = wish.token
            self._check(info.rc)

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refused = f"it refused us: {reason}"
        else:
            self._is_accepted = True

    def _on_subscribe(self, _client: Client, _data: Any, mid: int, reasons: list[Any], _properties: Any) -> None:
        if mid != self._subscribe_mid:
            return
        denied = [name for name, reason in zip(self._filters, reasons, strict=False) if reason.is_failure]
        if denied:
            self._refused = f"it refused the subscription to {', '.join(denied)}; look at its access list"
        self.is_ready = not denied

    def _on_publish(self, _client: Client, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self.denied = str(reason)
        token = self._tokens.pop(mid, None)
        if token is not None:
            self._acknowledged.append(token)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        properties: Any = message.properties
        self._arrived.append(
            Message(
                topic=message.topic,
                payload=bytes(message.payload),
                qos=message.qos,
                retained=message.retain,
                mid=message.mid,
                response_topic=getattr(properties, "ResponseTopic", None),
            )
        )

    def _on_disconnect(self, _client: Client, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._refused = f"it ended the connection: {reason}"

    def _session_options(self) -> dict[str, Any]:
        if self._config.protocol != "5":
            return {}
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S if self._is_durable else 0
        return {"clean_start": not self._is_durable, "properties": properties}

    def _check(self, rc: int) -> None:
        """Put paho's return code into our own words."""
        if rc == self._paho.MQTT_ERR_SUCCESS:
            return
        if self._refused is not None:
            raise WireError(self._refused)
        what = "" if rc == self._paho.MQTT_ERR_CONN_LOST else f": {self._paho.error_string(rc)}"
        raise WireError(f"the connection was lost{what}")


def _new_client(paho: Any, config: BrokerConfig, identity: Identity) -> Client:
    is_v5 = config.protocol == "5"
    client: Client = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id=identity.client_id,
        clean_session=None if is_v5 else not identity.is_durable,
        protocol=paho.MQTTv5 if is_v5 else paho.MQTTv311,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.connect_timeout = config.connect_timeout_s
    client.max_inflight_messages_set(config.max_inflight)
    if identity.will is not None:
        client.will_set(identity.will.topic, identity.will.payload, qos=_QOS, retain=identity.will.retain)
    # Read for each connection, so that a renewed password or certificate is found without a restart.
    try:
        if config.username is not None:
            password = Path(config.password_file).read_text().rstrip("\r\n") if config.password_file else None
            client.username_pw_set(config.username, password)
        if config.tls:
            client.tls_set(ca_certs=config.ca_file, certfile=config.cert_file, keyfile=config.key_file)
    except (OSError, ValueError) as err:
        raise WireError(f"the credentials cannot be read ({err})") from err
    return client
