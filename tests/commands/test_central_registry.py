"""`edge central run` with models to give away: a device fetches one through a real broker."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.contract.messages import State, encode_state
from edge.contract.topics import DeviceTopics
from edge.device.updates.fetch import Fetcher
from edge.device.updates.repositories.mqtt import MqttRepository
from edge.errors import RepositoryError
from edge.wire.api import Arrived, Handler
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.commands.test_central_command import central
from tests.conformance.wires import WAIT_S, Owner
from tests.faults.fetching import no_delta
from tests.simulators.book import SqliteBook
from tests.simulators.mosquitto import running_mosquitto
from tests.simulators.static_repository import StaticRepository

CONTENT = random.Random(1).randbytes(5_000_000)
TOPICS = DeviceTopics(fleet="home", device="porch")


class _Watched(MqttWire):
    """Tells when trust has come."""

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        self.came = threading.Event()

        def watched(arrived: Arrived) -> None:
            handler(arrived)
            if arrived.topic == TOPICS.trust:
                self.came.set()

        super().subscribe(topic_filter, watched)


@pytest.mark.needs_mosquitto
def test_the_central_service_gives_models_and_trust_to_the_fleets_it_knows(mosquitto: str, tmp_path: Path) -> None:
    files = StaticRepository(tmp_path / "registry")
    files.put_trust({"timestamp.json": b"signed"})
    digest = files.put_blob(CONTENT)
    (tmp_path / "central.toml").write_text('[registry]\npath = "registry"\n')
    (tmp_path / "slot").mkdir()
    with (
        running_mosquitto(mosquitto) as broker,
        central(tmp_path, broker.port, "--config", "central.toml"),
    ):
        clock = SystemClock()
        wire = _Watched(BrokerConfig(host=broker.host, port=broker.port), client_id="porch", clock=clock)
        repository = MqttRepository(wire, TOPICS, clock)
        owner = Owner()
        wire.start(owner)
        assert owner.connections.await_count(1)
        # A birth makes its fleet known.
        wire.publish(TOPICS.state, encode_state(State(online=True, session=1, epoch=1)), qos=1, retain=True)
        assert wire.came.wait(WAIT_S)
        assert repository.trust_files() == {"timestamp.json": b"signed"}
        fetcher = Fetcher(repository, SqliteBook(), clock, threading.Event(), reserve_bytes=0, apply_delta=no_delta)
        assert fetcher.fetch(digest, len(CONTENT), tmp_path / "slot" / "model")
        with pytest.raises(RepositoryError, match="key"):
            repository.time_token(b"n" * 16)
        wire.stop()
    assert (tmp_path / "slot" / "model").read_bytes() == CONTENT
