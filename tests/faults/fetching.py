"""A device that fetches one file over a real broker, to be killed: prints how much is noted after each window.

`python -m tests.faults.fetching HOST PORT FOLDER SHA256 SIZE`
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from edge.clock import SystemClock
from edge.contract.topics import DeviceTopics
from edge.device.updates.api import Report, Write
from edge.device.updates.fetch import Fetcher
from edge.device.updates.repositories.mqtt import MqttRepository
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.conformance.wires import Owner
from tests.simulators.book import SqliteBook


class _TellingBook(SqliteBook):
    def commit(self, writes: Sequence[Write], reports: Sequence[Report] = ()) -> None:
        super().commit(writes, reports)
        print("noted", flush=True)


def no_delta(base: Path, delta: Path, out: Path, *, size_bytes: int, sha256: str) -> None:
    raise AssertionError("no delta was offered")


def main(host: str, port: str, folder: str, sha256: str, size: str) -> None:
    clock = SystemClock()
    wire = MqttWire(BrokerConfig(host=host, port=int(port)), client_id="porch", clock=clock)
    repository = MqttRepository(wire, DeviceTopics(fleet="home", device="porch"), clock)
    owner = Owner()
    wire.start(owner)
    assert owner.connections.await_count(1)
    book = _TellingBook(Path(folder) / "device.db")
    fetcher = Fetcher(repository, book, clock, threading.Event(), reserve_bytes=0, apply_delta=no_delta)
    assert fetcher.fetch(sha256, int(size), Path(folder) / "model")
    print("whole", flush=True)
    wire.stop()
    book.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
