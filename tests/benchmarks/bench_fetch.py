"""Fetching one file over a broker, against bare clients that push the same bytes through the same broker.

The bare end publishes ready-made blocks of 64 KB at QoS 0 as fast as the library takes them and counts them at the other
end; nothing is asked, written or hashed. The fetch asks, notes, writes, flushes, and hashes the whole. Sender and
receiver are two processes in both. They take turns, so that the machine's mood strikes both. The centre's share of bytes
for each device is lifted, or it alone would decide. Wanted: at least 0.15 of the bare rate: most
of the rest is the hash, the flush of each window and the copies through two Python processes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from edge.central.answers import Answers
from edge.central.config import RegistryConfig
from edge.central.shelf import Shelf
from edge.clock import SystemClock
from edge.contract.asks import BLOCK_BYTES
from edge.contract.topics import CentralTopics, DeviceTopics
from edge.device.updates.fetch import Fetcher
from edge.device.updates.repositories.mqtt import MqttRepository
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.conformance.wires import Owner
from tests.faults.fetching import no_delta
from tests.simulators.book import SqliteBook
from tests.simulators.mosquitto import Mosquitto, running_mosquitto
from tests.simulators.static_repository import StaticRepository

_WANTED = 0.15
_TOPIC = "bare"


def _client(port: int) -> Any:
    from paho.mqtt import client

    made = client.Client(client.CallbackAPIVersion.VERSION2)
    made.connect("127.0.0.1", port)
    return made


def push(port: int, size: int) -> None:
    """The bare sender: one line on its input, and it pushes."""
    client = _client(port)
    client.loop_start()
    block = os.urandom(BLOCK_BYTES)
    for _ in sys.stdin:
        for _ in range(size // BLOCK_BYTES):
            info = client.publish(_TOPIC, block, qos=0)
        info.wait_for_publish()
        print("pushed", flush=True)
    client.loop_stop()


def answer(port: int, folder: str) -> None:
    """The centre, until its input ends."""
    clock = SystemClock()
    wire = MqttWire(BrokerConfig(host="127.0.0.1", port=port), client_id="central", clock=clock)
    config = RegistryConfig(device_bytes_per_s=2**40, total_bytes_per_s=2**40)
    answers = Answers(wire, Shelf(folder), CentralTopics(), config, clock, fleets=lambda: ())
    owner = Owner()
    wire.start(owner)
    assert owner.connections.await_count(1)
    answers.start()
    print("ready", flush=True)
    sys.stdin.read()
    answers.stop()
    wire.stop()


def _child(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.bench_fetch", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


class _Bare:
    def __init__(self, broker: Mosquitto, size: int) -> None:
        self._blocks = size // BLOCK_BYTES
        self._all = threading.Event()
        self._count = 0
        self._client = _client(broker.port)
        self._client.on_message = self._arrived
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.loop_start()
        self._client.subscribe(_TOPIC, qos=0)
        assert subscribed.wait(20)
        self._pusher = _child("push", str(broker.port), str(size))

    def run(self) -> float:
        self._count = 0
        self._all.clear()
        assert self._pusher.stdin is not None
        began = time.perf_counter()
        self._pusher.stdin.write("go\n")
        self._pusher.stdin.flush()
        assert self._all.wait(60), self._count
        return time.perf_counter() - began

    def close(self) -> None:
        with self._pusher:
            assert self._pusher.stdin is not None
            self._pusher.stdin.close()
        self._client.loop_stop()

    def _arrived(self, _client: Any, _data: Any, message: Any) -> None:
        self._count += len(message.payload) == BLOCK_BYTES
        if self._count == self._blocks:
            self._all.set()


class _Fetch:
    def __init__(self, broker: Mosquitto, folder: Path, size: int) -> None:
        self._size = size
        self._folder = folder / "device"
        files = StaticRepository(folder / "registry")
        self._digest = files.put_blob(os.urandom(size))
        self._centre = _child("answer", str(broker.port), str(files.root))
        assert self._centre.stdout is not None
        assert self._centre.stdout.readline() == "ready\n"
        self._clock = SystemClock()
        self._wire = MqttWire(BrokerConfig(host="127.0.0.1", port=broker.port), client_id="porch", clock=self._clock)
        self._repository = MqttRepository(self._wire, DeviceTopics(fleet="home", device="porch"), self._clock)
        owner = Owner()
        self._wire.start(owner)
        assert owner.connections.await_count(1)

    def run(self) -> float:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        book = SqliteBook(self._folder / "device.db")
        book.query("PRAGMA synchronous=FULL")
        fetcher = Fetcher(self._repository, book, self._clock, threading.Event(), reserve_bytes=0, apply_delta=no_delta)
        began = time.perf_counter()
        assert fetcher.fetch(self._digest, self._size, self._folder / "model")
        spent = time.perf_counter() - began
        book.close()
        return spent

    def close(self) -> None:
        with self._centre:
            assert self._centre.stdin is not None
            self._centre.stdin.close()
        self._wire.stop()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    size = options.mb * 1024 * 1024
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("mosquitto is not installed")
    # A broker drops what a slow reader leaves behind; the bare pusher waits for nobody.
    options_of_broker = ("max_queued_messages 0", "max_inflight_messages 0", "set_tcp_nodelay true")
    with running_mosquitto(binary, options=options_of_broker) as broker, tempfile.TemporaryDirectory() as folder:
        bare, fetch = _Bare(broker, size), _Fetch(broker, Path(folder), size)
        times = [(bare.run(), fetch.run()) for _ in range(options.rounds)]
        fetch.close()
        bare.close()
    for name, spent in zip(("bare push", "fetch"), zip(*times, strict=True), strict=True):
        median = statistics.median(spent)
        print(f"{name:10} {options.mb} MB in {median * 1000:6.0f} ms: {options.mb / median:5.0f} MB/s")
    ratio = statistics.median(push_s / fetch_s for push_s, fetch_s in times)
    print(f"ratio fetch / bare push: {ratio:.2f} (wanted: at least {_WANTED})")
    if ratio < _WANTED:
        raise SystemExit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["push"]:
        push(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["answer"]:
        answer(int(sys.argv[2]), sys.argv[3])
    else:
        main()
