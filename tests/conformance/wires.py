"""The two implementations of `Wire`, behind one face for the conformance suite."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from edge.clock import SystemClock
from edge.wire.api import Arrived, Will, Wire
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.simulators.mosquitto import Mosquitto
from tests.simulators.wire import MemoryBroker

WAIT_S = 20.0

_MORTAL = """
import sys, threading
from edge.clock import SystemClock
from edge.wire.api import Will
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire

class Owner:
    def connected(self): print("connected", flush=True)
    def disconnected(self, why): pass
    def published(self, token): pass

host, port, client_id, topic, payload = sys.argv[1:]
config = BrokerConfig(host=host, port=int(port))
MqttWire(config, client_id=client_id, will=Will(topic=topic, payload=payload.encode()), clock=SystemClock()).start(Owner())
threading.Event().wait()
"""


class Bench(Protocol):
    """A broker that can be switched off and on, and clients for it."""

    def wire(self, client_id: str, *, will: Will | None = None) -> Wire: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def live_and_die(self, client_id: str, will: Will) -> None:
        """A client connects, and then its process dies: no farewell."""
        ...


class MemoryBench:
    def __init__(self) -> None:
        self._broker = MemoryBroker()

    def wire(self, client_id: str, *, will: Will | None = None) -> Wire:
        return self._broker.wire(client_id, will=will)

    def start(self) -> None:
        self._broker.start()

    def stop(self) -> None:
        self._broker.stop()

    def close(self) -> None:
        pass

    def live_and_die(self, client_id: str, will: Will) -> None:
        wire, owner = self._broker.wire(client_id, will=will), Owner()
        wire.start(owner)
        assert owner.connections.await_count(1)
        wire.kill()


class MqttBench:
    def __init__(self, binary: str, protocol: str) -> None:
        self._broker = Mosquitto(binary)
        self._protocol = protocol
        self._broker.start()

    def wire(self, client_id: str, *, will: Will | None = None) -> Wire:
        config = BrokerConfig(
            host=self._broker.host,
            port=self._broker.port,
            protocol=self._protocol,
            reconnect_min_s=0.05,
            reconnect_max_s=0.2,
        )
        return MqttWire(config, client_id=client_id, will=will, clock=SystemClock())

    def start(self) -> None:
        self._broker.start()

    def stop(self) -> None:
        self._broker.kill()

    def close(self) -> None:
        self._broker.close()

    def live_and_die(self, client_id: str, will: Will) -> None:
        arguments = [self._broker.host, str(self._broker.port), client_id, will.topic, will.payload.decode()]
        child = subprocess.Popen([sys.executable, "-c", _MORTAL, *arguments], stdout=subprocess.PIPE)
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"connected\n"
            child.kill()


class Notes:
    """Things that happened, in order; waiting for them never sleeps."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.items: list[object] = []

    def add(self, item: object) -> None:
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def await_count(self, count: int, timeout_s: float = WAIT_S) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self.items) >= count, timeout_s)


class Owner:
    """Implements `WireEvents` and remembers. `order` holds events and messages as they came."""

    def __init__(self, *, on_message: Callable[[Arrived], None] | None = None) -> None:
        self.connections = Notes()
        self.losses = Notes()
        self.tokens = Notes()
        self.messages = Notes()
        self.order = Notes()
        self._on_message = on_message

    def connected(self) -> None:
        self.order.add("connected")
        self.connections.add("connected")

    def disconnected(self, why: str) -> None:
        self.order.add("disconnected")
        self.losses.add(why)

    def published(self, token: int) -> None:
        self.tokens.add(token)

    def handle(self, message: Arrived) -> None:
        self.order.add(message.payload)
        if self._on_message is not None:
            self._on_message(message)
        self.messages.add(message)
