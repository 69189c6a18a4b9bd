"""A message broker in memory that loses, repeats, reorders, drops connections and forgets, as real ones do.

Promises: what `MemoryWire` does is what `edge.wire.api.Wire` promises. A QoS 1 publish is acknowledged to its sender
even when the broker then loses it: that is what a full Mosquitto queue does. A message that was delivered but not
acknowledged comes again after a reconnect, unless the broker was restarted in between. The same seed and the same
calls give the same faults when `is_threaded` is false.
Leaves out: QoS 2, wildcards inside a level, MQTT 5.
Thread: threaded (one thread a wire runs its handlers), or pumped: nothing happens until `pump` is called.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.errors import WireError
from edge.wire.api import Arrived, Handler, Will, WireEvents


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 3.1.1, section 4.7: '+' is one level, a last '#' is the rest."""
    wanted, found = topic_filter.split("/"), topic.split("/")
    for index, part in enumerate(wanted):
        if part == "#":
            return True
        if index >= len(found) or part not in ("+", found[index]):
            return False
    return len(wanted) == len(found)


class MemoryBroker:
    """`loss`, `duplication` and `reorder` are probabilities 0..1 for each delivery and may be changed at any time."""

    def __init__(
        self,
        *,
        loss: float = 0.0,
        duplication: float = 0.0,
        reorder: float = 0.0,
        seed: int = 0,
        is_threaded: bool = True,
    ) -> None:
        self.loss = loss
        self.duplication = duplication
        self.reorder = reorder
        self.max_bytes: int | None = None  # larger payloads are acknowledged and dropped, as Mosquitto does
        self.is_up = True
        self.lost: list[Message] = []
        self.seen: list[Message] = []
        self.retained: dict[str, Message] = {}
        self._random = random.Random(seed)
        self._is_threaded = is_threaded
        self._lock = threading.RLock()
        self._wires: list[MemoryWire] = []
        self._tokens = itertools.count(1)

    def wire(self, client_id: str, *, will: Will | None = None) -> MemoryWire:
        """A new client. A second one with this id pushes the first off, as in MQTT."""
        wire = MemoryWire(self, client_id, will, is_threaded=self._is_threaded)
        with self._lock:
            self._wires.append(wire)
        return wire

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Speak as a client that needs no wire."""
        self._route(Message(topic, payload, qos, retain))

    def messages(self, topic_filter: str) -> list[Message]:
        """Everything published so far under `topic_filter`, lost or not."""
        with self._lock:
            return [message for message in self.seen if matches(topic_filter, message.topic)]

    def disconnect(self, client_id: str, why: str = "cut") -> None:
        """Cut a client off: its will is sent, and it stays away until `reconnect`."""
        with self._lock:
            for wire in self._wires:
                if wire.client_id == client_id:
                    wire._cut(why, is_forgotten=False)

    def reconnect(self, client_id: str) -> None:
        """Let a client in again."""
        with self._lock:
            for wire in self._wires:
                if wire.client_id == client_id:
                    wire._join()

    def stop(self) -> None:
        """SIGKILL: every queue, every unacknowledged message and every connection is gone; retained messages stay."""
        with self._lock:
            self.is_up = False
            for wire in self._wires:
                wire._cut("broker is gone", is_forgotten=True)

    def start(self) -> None:
        """Up again; clients reconnect at once."""
        with self._lock:
            self.is_up = True
            for wire in self._wires:
                wire._join()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pump(self, limit: int = 100_000) -> int:
        """Run handlers on this thread until every inbox is empty; returns how many things happened."""
        assert not self._is_threaded, "a threaded broker pumps itself"
        happened = 0
        while happened < limit:
            busy = [wire for wire in list(self._wires) if wire._run_one()]
            if not busy:
                return happened
            happened += len(busy)
        raise AssertionError(f"the wires still talk after {limit} messages")

    def _route(self, message: Message) -> None:
        with self._lock:
            self.seen.append(message)
            if message.retain:
                if message.payload:
                    self.retained[message.topic] = message
                else:
                    self.retained.pop(message.topic, None)
            for wire in self._wires:
                if wire._wants(message.topic):
                    self._deliver(wire, message)

    def _deliver(self, wire: MemoryWire, message: Message) -> None:
        if (self.max_bytes is not None and len(message.payload) > self.max_bytes) or self._random.random() < self.loss:
            self.lost.append(message)
            return
        times = 2 if message.qos and self._random.random() < self.duplication else 1
        for _ in range(times):
            wire._enqueue(message, is_early=self._random.random() < self.reorder)


@dataclass
class _Delivery:
    message: Message
    retained: bool


@dataclass
class _Session:
    """What the broker remembers of a client: its queue and what it has not acknowledged."""

    inbox: deque[_Delivery | Callable[[], None]] = field(default_factory=deque)
    unacked: dict[int, _Delivery] = field(default_factory=dict)


class MemoryWire:
    """Implements `edge.wire.api.Wire`."""

    def __init__(self, broker: MemoryBroker, client_id: str, will: Will | None, *, is_threaded: bool) -> None:
        self.client_id = client_id
        self._broker = broker
        self._will = will
        self._handlers: list[tuple[str, Handler]] = []
        self._events: WireEvents | None = None
        self._session = _Session()
        self._generation = 0
        self._is_connected = False
        self._is_stopped = False
        self._failure: BaseException | None = None
        self._wake = threading.Condition(broker._lock)
        self._thread = (
            threading.Thread(target=self._run, name=f"wire:{client_id}", daemon=True) if is_threaded else None
        )

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    @property
    def failure(self) -> BaseException | None:
        return self._failure

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        self._handlers.append((topic_filter, handler))

    def start(self, events: WireEvents) -> None:
        self._events = events
        if self._thread is not None:
            self._thread.start()
        self._join()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        with self._broker._lock:
            if not self._is_connected:
                raise WireError(f"{self.client_id} is not connected")
            token = next(self._broker._tokens)
            self._broker._route(Message(topic, payload, qos, retain))
            if qos and self._events is not None:
                self._post(lambda events=self._events: events.published(token))  # type: ignore[misc]
            return token

    def stop(self) -> None:
        with self._broker._lock:
            if self._is_stopped:
                return
            self._is_stopped = True
            self._is_connected = False
            self._session = _Session()
            if self in self._broker._wires:
                self._broker._wires.remove(self)
            self._wake.notify_all()
        if self._thread is not None and self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)
        if self._failure is not None:
            raise self._failure

    def kill(self) -> None:
        """The process died: no farewell, the will is sent, nothing more is handled."""
        with self._broker._lock:
            self._cut("killed", is_forgotten=True)
        self.stop()

    def _wants(self, topic: str) -> bool:
        return self._events is not None and any(matches(wanted, topic) for wanted, _ in self._handlers)

    def _join(self) -> None:
        with self._broker._lock:
            if self._is_connected or self._is_stopped or self._events is None or not self._broker.is_up:
                return
            for other in list(self._broker._wires):
                if other is not self and other.client_id == self.client_id:
                    other._cut("another client took this id", is_forgotten=True)
            self._is_connected = True
            self._generation += 1
            self._post(self._events.connected)
            self._session.inbox.extend(self._session.unacked.values())
            self._session.unacked.clear()
            for message in self._broker.retained.values():
                if self._wants(message.topic):
                    self._session.inbox.append(_Delivery(message, retained=True))
            self._wake.notify_all()

    def _cut(self, why: str, *, is_forgotten: bool) -> None:
        was_connected, self._is_connected = self._is_connected, False
        self._generation += 1
        if is_forgotten:
            self._session = _Session()
        if was_connected and self._events is not None:
            self._session.inbox.appendleft(lambda events=self._events: events.disconnected(why))  # type: ignore[misc]
            self._wake.notify_all()
            if self._will is not None and self._broker.is_up:
                self._broker._route(Message(self._will.topic, self._will.payload, 1, self._will.retain))

    def _enqueue(self, message: Message, *, is_early: bool) -> None:
        if not self._is_connected and not message.qos:
            return
        inbox = self._session.inbox
        delivery = _Delivery(message, retained=False)
        if is_early and inbox and isinstance(inbox[-1], _Delivery):
            inbox.insert(len(inbox) - 1, delivery)
        else:
            inbox.append(delivery)
        self._wake.notify_all()

    def _post(self, call: Callable[[], None]) -> None:
        self._session.inbox.append(call)
        self._wake.notify_all()

    def _run(self) -> None:
        while not self._is_stopped and self._failure is None:
            if not self._run_one():
                with self._broker._lock:
                    if not self._is_stopped and not self._is_ready():
                        self._wake.wait(timeout=1.0)

    def _is_ready(self) -> bool:
        inbox = self._session.inbox
        return bool(inbox) and (self._is_connected or not isinstance(inbox[0], _Delivery))

    def _run_one(self) -> bool:
        try:
            return self._handle_one()
        except Exception as err:
            if self._thread is None:
                raise
            with self._broker._lock:
                self._failure = err
                self._is_connected = False
            if self._events is not None:
                self._events.disconnected(f"handler failed: {err}")
            return False

    def _handle_one(self) -> bool:
        with self._broker._lock:
            if self._is_stopped or not self._is_ready():
                return False
            item = self._session.inbox.popleft()
            key = next(self._broker._tokens)
            if isinstance(item, _Delivery) and item.message.qos:
                self._session.unacked[key] = item
            generation = self._generation
        if not isinstance(item, _Delivery):
            item()
            return True
        arrived = Arrived(
            topic=item.message.topic,
            payload=item.message.payload,
            retained=item.retained,
            ack=lambda: self._ack(key, generation),
        )
        for wanted, handler in list(self._handlers):
            if matches(wanted, item.message.topic):
                handler(arrived)
        return True

    def _ack(self, key: int, generation: int) -> None:
        with self._broker._lock:
            if generation == self._generation:
                self._session.unacked.pop(key, None)
