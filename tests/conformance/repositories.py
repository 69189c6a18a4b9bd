"""The implementations of `Repository`, behind one face for the conformance suite."""

from __future__ import annotations

import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge.central.answers import Answers
from edge.central.config import RegistryConfig
from edge.central.shelf import Shelf
from edge.clock import SystemClock
from edge.contract.asks import BLOCK_BYTES
from edge.contract.topics import CentralTopics, DeviceTopics
from edge.device.updates.api import Repository
from edge.device.updates.repositories.folder import FolderRepository
from edge.device.updates.repositories.https import HttpsRepository
from edge.device.updates.repositories.mqtt import MqttRepository
from edge.wire.api import Arrived, Handler, Wire, WireEvents
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.conformance.wires import WAIT_S, Owner
from tests.simulators.mosquitto import Mosquitto
from tests.simulators.static_repository import StaticRepository
from tests.simulators.web import Web
from tests.simulators.wire import MemoryBroker

PATIENCE_S = 0.4
TOPICS = DeviceTopics(fleet="home", device="porch")


class Bench(Protocol):
    """Files, and a repository that shows them."""

    files: StaticRepository
    has_clock: bool
    faults: frozenset[str]

    def open(self) -> Repository:
        """Call it when the files stand there."""
        ...

    def fault(self, kind: str | None) -> None:
        """From now on go wrong in this way: "cut", "wrong", "slow", "endless"; None: no more."""
        ...

    def go_away(self) -> None: ...
    def close(self) -> None: ...


class FolderBench:
    has_clock = False
    faults = frozenset({"cut", "wrong", "endless"})

    def __init__(self, folder: Path) -> None:
        self.files = StaticRepository(folder / "stick")
        self._whole = folder / "whole"

    def open(self) -> Repository:
        return FolderRepository(self.files.root)

    def fault(self, kind: str | None) -> None:
        if kind is None:
            shutil.rmtree(self.files.root)
            self._whole.rename(self.files.root)
            return
        shutil.copytree(self.files.root, self._whole)
        for path in self.files.root.rglob("*"):
            if path.is_file():
                path.write_bytes(damaged(kind, path.read_bytes()))

    def go_away(self) -> None:
        shutil.rmtree(self.files.root)
        self.files.root.mkdir()  # a mount point without its stick

    def close(self) -> None: ...


class WebBench:
    has_clock = False
    faults = frozenset({"cut", "wrong", "slow", "endless"})

    def __init__(self, folder: Path, certificate: Path, *, has_ranges: bool = True) -> None:
        self.files = StaticRepository(folder / "www")
        self._usual = None if has_ranges else "no ranges"
        self._ca_file = certificate / "cert.pem"
        self.web = Web(self.files.root, certificate)
        self.web.fault = self._usual
        self.web.__enter__()

    def open(self) -> Repository:
        return HttpsRepository(self.web.url, SystemClock(), ca_file=self._ca_file, patience_s=PATIENCE_S)

    def fault(self, kind: str | None) -> None:
        self.web.fault = {"slow": "drip", None: self._usual}.get(kind, kind)

    def go_away(self) -> None:
        self.web.stop()

    def close(self) -> None:
        self.web.stop()


class MqttBench(ABC):
    """A broker, the centre's answers, and the device's end."""

    has_clock = True
    faults = frozenset({"cut", "wrong", "slow", "endless"})

    def __init__(self, folder: Path) -> None:
        self.files = StaticRepository(folder / "registry")
        self.shelf = FaultyShelf(self.files.root)
        self._trust_came = threading.Event()
        self._is_closed = False
        self._owner = Owner()

    @abstractmethod
    def make_wire(self, client_id: str) -> Wire: ...

    @abstractmethod
    def stop_broker(self) -> None: ...

    def open(self) -> Repository:
        clock = SystemClock()
        self._central = self.make_wire("central")
        self._answers = Answers(
            self._central,
            self.shelf,
            CentralTopics(),
            RegistryConfig(),
            clock,
            fleets=lambda: ("home",),
            sign_time=lambda nonce, _now_ms: b"signed " + nonce,
        )
        told = _Told(self._answers)
        self._central.start(told)
        assert told.connections.await_count(1)
        self._wire = self.make_wire("porch")
        self.repository = MqttRepository(
            _Watched(self._wire, TOPICS.trust, self._trust_came.set), TOPICS, clock, patience_s=PATIENCE_S
        )
        self._wire.start(self._owner)
        assert self._owner.connections.await_count(1)
        self._answers.start()
        if (self.files.root / "trust.bin").exists():
            assert self._trust_came.wait(WAIT_S)
        return self.repository

    def fault(self, kind: str | None) -> None:
        self.shelf.fault = kind
        self.shelf.released.set() if kind is None else self.shelf.released.clear()

    def go_away(self) -> None:
        self.stop_broker()
        assert self._owner.losses.await_count(1)

    def close(self) -> None:
        self.shelf.released.set()
        self._answers.stop()
        self._wire.stop()
        self._central.stop()


class MemoryMqttBench(MqttBench):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.broker = MemoryBroker()

    def make_wire(self, client_id: str) -> Wire:
        return self.broker.wire(client_id)

    def stop_broker(self) -> None:
        self.broker.stop()


class MosquittoBench(MqttBench):
    def __init__(self, folder: Path, binary: str) -> None:
        super().__init__(folder)
        self.broker = Mosquitto(binary)
        self.broker.start()

    def make_wire(self, client_id: str) -> Wire:
        config = BrokerConfig(host=self.broker.host, port=self.broker.port, reconnect_min_s=0.05, reconnect_max_s=0.2)
        return MqttWire(config, client_id=client_id, clock=SystemClock())

    def stop_broker(self) -> None:
        self.broker.kill()

    def close(self) -> None:
        super().close()
        self.broker.close()


class FaultyShelf:
    """Implements `edge.central.replies.Files`."""

    def __init__(self, root: Path) -> None:
        self._shelf = Shelf(str(root))
        self.fault: str | None = None
        self.released = threading.Event()

    def read(self, path: str, *, most_bytes: int) -> bytes:
        return self._shelf.read(path, most_bytes=most_bytes)

    def read_part(self, path: str, start: int, size_bytes: int) -> bytes:
        content = self._shelf.read_part(path, start, size_bytes)
        if self.fault == "slow":
            self.released.wait(WAIT_S)
        return content if self.fault is None else damaged(self.fault, content)


class _Told(Owner):
    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    def connected(self) -> None:
        self._answers.connected()
        super().connected()


class _Watched:
    """A wire that tells when a topic's handler has run."""

    def __init__(self, wire: Wire, topic: str, seen: Callable[[], None]) -> None:
        self._wire = wire
        self._topic = topic
        self._seen = seen

    @property
    def is_connected(self) -> bool:
        return self._wire.is_connected

    @property
    def failure(self) -> BaseException | None:
        return self._wire.failure

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        def watched(arrived: Arrived) -> None:
            handler(arrived)
            self._seen()

        self._wire.subscribe(topic_filter, watched if topic_filter == self._topic else handler)

    def start(self, events: WireEvents) -> None:
        self._wire.start(events)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        return self._wire.publish(topic, payload, qos=qos, retain=retain)

    def stop(self) -> None:
        self._wire.stop()


def damaged(kind: str, content: bytes) -> bytes:
    """What becomes of a file, or a part of one."""
    if kind == "cut":
        return content[: len(content) // 2]
    if kind == "wrong":
        return bytes(byte ^ 1 for byte in content)
    if kind == "endless":
        return content + bytes(10 * BLOCK_BYTES)
    return content
