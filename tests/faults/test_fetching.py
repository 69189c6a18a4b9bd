"""A fetch over a real broker, by a process that is killed, and over links that lose."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.central.answers import Answers
from edge.central.config import RegistryConfig
from edge.central.shelf import Shelf
from edge.clock import SystemClock
from edge.contract.asks import BLOCK_BYTES, MAX_BLOCKS
from edge.contract.topics import CentralTopics
from edge.device.updates.fetch import Fetcher
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.conformance.repositories import TOPICS, MemoryMqttBench
from tests.conformance.wires import Owner
from tests.faults.fetching import no_delta
from tests.simulators.book import SqliteBook
from tests.simulators.mosquitto import Mosquitto, running_mosquitto
from tests.simulators.static_repository import StaticRepository

SIZE = 20 * 1024 * 1024
CONTENT = random.Random(1).randbytes(SIZE)


class CountingShelf(Shelf):
    """Counts the bytes of blobs that left the centre."""

    sent_bytes = 0

    def read_part(self, path: str, start: int, size_bytes: int) -> bytes:
        content = super().read_part(path, start, size_bytes)
        self.sent_bytes += len(content)
        return content


class Centre:
    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.files = StaticRepository(folder)
        self.digest = self.files.put_blob(CONTENT)
        self.shelf = CountingShelf(str(folder))
        clock = SystemClock()
        self._wire = MqttWire(BrokerConfig(host=broker.host, port=broker.port), client_id="central", clock=clock)
        self._answers = Answers(
            self._wire, self.shelf, CentralTopics(), RegistryConfig(), clock, fleets=lambda: ("home",)
        )
        owner = Owner()
        self._wire.start(owner)
        assert owner.connections.await_count(1)
        self._answers.start()

    def close(self) -> None:
        self._answers.stop()
        self._wire.stop()


@pytest.fixture
def broker(mosquitto: str) -> Iterator[Mosquitto]:
    with running_mosquitto(mosquitto) as broker:
        yield broker


@pytest.fixture
def centre(tmp_path: Path, broker: Mosquitto) -> Iterator[Centre]:
    centre = Centre(tmp_path / "registry", broker)
    yield centre
    centre.close()


def start(broker: Mosquitto, folder: Path, digest: str) -> subprocess.Popen[str]:
    arguments = [broker.host, str(broker.port), str(folder), digest, str(SIZE)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.fetching", *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.needs_mosquitto
def test_killed_again_and_again_a_fetch_goes_on_where_it_was(centre: Centre, broker: Mosquitto, tmp_path: Path) -> None:
    folder = tmp_path / "device"
    folder.mkdir()
    kills = 0
    while True:
        with start(broker, folder, centre.digest) as child:
            assert child.stdout is not None
            # The first note is the reservation; in a later run, the first window.
            lines = [child.stdout.readline().strip() for _ in range(2 if kills == 0 else 1)]
            if kills == 3:
                rest = child.stdout.read()
                assert child.wait() == 0
                assert rest.endswith("whole\n")
                break
            assert set(lines) == {"noted"}
            child.kill()
            kills += 1
    assert (folder / "model").read_bytes() == CONTENT
    assert kills == 3
    # A killed run may have asked for one window that it never noted.
    assert centre.shelf.sent_bytes <= SIZE + kills * MAX_BLOCKS * BLOCK_BYTES


@pytest.mark.needs_mosquitto
def test_a_broker_that_is_killed_in_between_costs_at_most_a_window(
    centre: Centre, broker: Mosquitto, tmp_path: Path
) -> None:
    folder = tmp_path / "device"
    folder.mkdir()
    with start(broker, folder, centre.digest) as child:
        assert child.stdout is not None
        assert [child.stdout.readline().strip() for _ in range(3)] == ["noted"] * 3
        broker.restart()
        rest = child.stdout.read()
        assert child.wait() == 0
    assert rest.endswith("whole\n")
    assert (folder / "model").read_bytes() == CONTENT
    assert centre.shelf.sent_bytes <= SIZE + 2 * MAX_BLOCKS * BLOCK_BYTES


def test_one_block_in_twenty_lost_by_the_broker_is_made_up_for(tmp_path: Path) -> None:
    bench = MemoryMqttBench(tmp_path)
    digest = bench.files.put_blob(CONTENT)
    repository = bench.open()
    lost = random.Random(7)
    route = bench.broker._deliver

    def deliver(wire: object, message: object) -> None:
        if message.qos or lost.random() >= 0.05:  # type: ignore[attr-defined]
            route(wire, message)  # type: ignore[arg-type]

    bench.broker._deliver = deliver  # type: ignore[method-assign, assignment]
    (tmp_path / "slot").mkdir()
    book = SqliteBook()
    clock = SystemClock()
    fetcher = Fetcher(repository, book, clock, threading.Event(), reserve_bytes=0, apply_delta=no_delta)
    began_s = clock.monotonic_s()
    assert fetcher.fetch(digest, SIZE, tmp_path / "slot" / "model")
    assert (tmp_path / "slot" / "model").read_bytes() == CONTENT
    assert clock.monotonic_s() - began_s < 20
    asks = len(bench.broker.messages(TOPICS.ask))
    assert asks <= 12
    blocks = len(bench.broker.messages(TOPICS.block))
    assert blocks <= 1.15 * SIZE / BLOCK_BYTES
    bench.close()
