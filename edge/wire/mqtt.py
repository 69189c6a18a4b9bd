"""The wire over MQTT: paho 2, one connection at a time, healed for ever.

Promises: what `api.Wire` says. The library is only ever called by the thread `mqtt`, and none of its locks is held
while a handler runs, which is where its known deadlocks come from.
Leaves out: the library itself (`paho_link`), durability (`device.outbox`, `central.ingest`), topics (`contract`).
Thread: `mqtt`; the public methods hand it their wishes through a bounded queue.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable

from edge.clock import Clock
from edge.errors import WireError
from edge.wire.api import Arrived, Handler, Will, WireEvents
from edge.wire.config import BrokerConfig
from edge.wire.outgoing import Ack, Outgoing
from edge.wire.paho_link import Identity, Link, Message, require_paho
from edge.wire.worker import Backoff, Worker

__all__ = ["MqttWire"]

_log = logging.getLogger(__name__)

_TICK_S = 1.0  # how often keepalive is looked at
_STABLE_S = 5.0  # a connection that lived this long was a good one: the next outage starts with the shortest delay


class MqttWire:
    """Implements `api.Wire`.

    `is_durable` asks the broker to keep the session while we are away: texts sent to a device meanwhile, and batches
    sent to the centre, then wait in the broker. Nothing relies on it; it spares resends. `client_id` must be unique: a
    second client with the same id makes the broker throw the two out in turn.
    """

    def __init__(
        self,
        config: BrokerConfig,
        *,
        client_id: str,
        clock: Clock,
        will: Will | None = None,
        is_durable: bool = True,
    ) -> None:
        self._config = config
        self._identity = Identity(client_id=client_id, will=will, is_durable=is_durable)
        self._clock = clock
        self._handlers: list[tuple[str, Handler]] = []
        self._events: WireEvents | None = None
        self._worker = Worker("mqtt", self._run)
        self._stopping = threading.Event()
        self._outgoing = Outgoing()
        self._generation = 0
        self._ready_s: float | None = None
        self._last_why = ""

    @property
    def is_connected(self) -> bool:
        """See `api.Wire`."""
        return self._outgoing.is_open

    @property
    def failure(self) -> BaseException | None:
        """See `api.Wire`."""
        return self._worker.failure

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        """See `api.Wire`. A message goes to the first handler whose filter matches."""
        if self._events is not None:
            raise RuntimeError("subscribe before start")
        self._handlers.append((topic_filter, handler))

    def start(self, events: WireEvents) -> None:
        """See `api.Wire`.

        Raises:
            MissingExtraError: paho-mqtt is not installed.
        """
        require_paho()
        self._events = events
        self._worker.start()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        """See `api.Wire`. Also refused while 1024 messages or 8 MB wait for the socket."""
        return self._outgoing.put_publish(topic, payload, qos=qos, retain=retain)

    def stop(self) -> None:
        """See `api.Wire`. What was published before gets `connect_timeout_s` to be acknowledged."""
        self._stopping.set()
        self._outgoing.wake()
        if self._events is not None:
            self._worker.join()

    def _run(self) -> None:
        backoff = Backoff(self._config.reconnect_min_s, self._config.reconnect_max_s)
        with self._outgoing as wakeup:
            while not self._stopping.is_set():
                self._generation += 1
                self._ready_s = None
                self._live_once(wakeup)
                if self._ready_s is not None and self._clock.monotonic_s() - self._ready_s >= _STABLE_S:
                    backoff.reset()
                if not self._stopping.is_set():
                    self._clock.wait(self._stopping, backoff.next_s())

    def _live_once(self, wakeup: socket.socket) -> None:
        """One connection, from its start to its end."""
        try:
            with Link(self._config, self._identity, self._outgoing, wakeup, self._generation) as link:
                self._open(link)
                self._serve(link)
        except WireError as err:
            why = str(err)  # not the error itself: a log that keeps records would keep its frames, and their sockets
            if why != self._last_why:
                _log.warning("broker %s:%d: %s; trying on", self._config.host, self._config.port, why)
                self._last_why = why

    def _open(self, link: Link) -> None:
        until_s = self._clock.monotonic_s() + 2 * self._config.connect_timeout_s
        link.connect([topic_filter for topic_filter, _ in self._handlers])
        while not link.is_ready:
            if self._clock.monotonic_s() > until_s:
                raise WireError("it accepts connections but does not answer; is this an MQTT port?")
            if self._stopping.is_set():
                return
            link.turn(min(_TICK_S, self._config.connect_timeout_s))

    def _serve(self, link: Link) -> None:
        if not link.is_ready or self._events is None:
            return
        _log.info("broker %s:%d: connected", self._config.host, self._config.port)
        self._last_why = ""
        self._ready_s = self._clock.monotonic_s()
        self._outgoing.open()
        why = "a handler failed"
        try:
            self._events.connected()
            while not self._stopping.is_set():
                self._deliver(link)
                link.turn(_TICK_S)
            self._finish(link)
        except WireError as err:
            why = str(err)
            raise
        finally:
            self._outgoing.close()
            if not self._stopping.is_set():
                self._events.disconnected(why)

    def _deliver(self, link: Link) -> None:
        assert self._events is not None  # noqa: S101 - `start` set it before the thread began
        for token in link.take_acknowledged():
            self._events.published(token)
        for message in link.take_arrived():
            arrived = self._arrived(message)
            handler = self._handler_of(link, arrived.topic)
            if handler is None:
                arrived.ack()  # a durable session still holds subscriptions of an older version of us
            else:
                handler(arrived)

    def _finish(self, link: Link) -> None:
        until_s = self._clock.monotonic_s() + self._config.connect_timeout_s
        while not link.is_drained and self._clock.monotonic_s() < until_s:
            link.turn(0.1)
        link.disconnect()

    def _arrived(self, message: Message) -> Arrived:
        return Arrived(
            topic=message.topic,
            payload=message.payload,
            retained=message.retained,
            ack=self._ack_of(message),
            response_topic=message.response_topic,
        )

    def _ack_of(self, message: Message) -> Callable[[], None]:
        generation, mid, qos = self._generation, message.mid, message.qos

        def ack() -> None:
            # A packet id means nothing on another connection: there it may belong to another message.
            if qos and generation == self._generation:
                self._outgoing.put_ack(Ack(generation=generation, mid=mid, qos=qos))

        return ack

    def _handler_of(self, link: Link, topic: str) -> Handler | None:
        return next((handler for topic_filter, handler in self._handlers if link.matches(topic_filter, topic)), None)
