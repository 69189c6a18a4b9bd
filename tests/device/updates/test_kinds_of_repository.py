"""What only one kind of repository has; the rest stands in tests/conformance/test_repositories.py."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.contract.asks import BLOCK_BYTES, BlocksSent, Refusal, TimeReply, decode_ask, encode_block, encode_reply
from edge.device.updates.repositories.folder import FolderRepository
from edge.device.updates.repositories.https import HttpsRepository
from edge.device.updates.repositories.mqtt import MqttRepository
from edge.errors import InputError, NotInRepositoryError, NotNowError, RepositoryError
from edge.wire.api import Arrived
from tests.conformance.repositories import TOPICS, MemoryMqttBench
from tests.conformance.wires import Owner
from tests.simulators.static_repository import StaticRepository
from tests.simulators.web import Web, make_certificate
from tests.simulators.wire import MemoryBroker

CONTENT = random.Random(1).randbytes(10 * BLOCK_BYTES)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def web(tmp_path: Path, certificate: Path) -> Iterator[Web]:
    StaticRepository(tmp_path / "www").put("metadata/2.root.json", b"signed")
    with Web(tmp_path / "www", certificate) as web:
        yield web


def https(web: Web, ca_file: Path | None) -> HttpsRepository:
    return HttpsRepository(web.url, SystemClock(), ca_file=ca_file, patience_s=2.0)


def test_a_server_that_nobody_vouches_for_is_refused(web: Web, tmp_path: Path) -> None:
    other = make_certificate(tmp_path / "other") / "cert.pem"
    for ca_file in (None, other):
        with pytest.raises(RepositoryError, match="certificate") as caught:
            https(web, ca_file).read("metadata/2.root.json", most_bytes=100)
        assert not isinstance(caught.value, NotNowError | NotInRepositoryError)
    assert web.requests == []


def test_a_server_under_another_name_is_refused(web: Web, certificate: Path) -> None:
    web.url = web.url.replace("127.0.0.1", "localhost")
    with pytest.raises(RepositoryError, match="localhost"):
        https(web, certificate / "cert.pem").read("metadata/2.root.json", most_bytes=100)
    assert web.requests == []


@pytest.mark.parametrize(("status", "kind"), [("404", NotInRepositoryError), ("410", NotInRepositoryError)])
def test_gone_is_not_there(web: Web, certificate: Path, status: str, kind: type[Exception]) -> None:
    web.fault = status
    with pytest.raises(kind):
        https(web, certificate / "cert.pem").read("metadata/2.root.json", most_bytes=100)


@pytest.mark.parametrize("status", ["301", "302", "401", "403", "500"])
def test_a_redirect_and_a_failure_are_failures(web: Web, certificate: Path, status: str) -> None:
    web.fault = status
    with pytest.raises(RepositoryError, match=status) as caught:
        https(web, certificate / "cert.pem").read("metadata/2.root.json", most_bytes=100)
    assert type(caught.value) is RepositoryError
    assert len(web.requests) == 1


@pytest.mark.parametrize("status", ["429", "503"])
def test_a_busy_server_says_when_to_come_again(web: Web, certificate: Path, status: str) -> None:
    web.fault = status
    with pytest.raises(NotNowError) as caught:
        https(web, certificate / "cert.pem").read("metadata/2.root.json", most_bytes=100)
    assert caught.value.retry_after_s == 7.0


def test_neighbours_come_by_one_request(web: Web, certificate: Path) -> None:
    digest = StaticRepository(web.root).put_blob(CONTENT)
    found = dict(https(web, certificate / "cert.pem").blocks(digest, len(CONTENT), (0, 1, 2, 5, 6, 9)))
    assert sorted(found) == [0, 1, 2, 5, 6, 9]
    assert [span for _, span in web.requests] == ["bytes=0-196607", "bytes=327680-458751", "bytes=589824-655359"]


def test_plain_http_serves_a_network_of_ones_own(tmp_path: Path) -> None:
    StaticRepository(tmp_path).put("metadata/2.root.json", b"signed")
    with Web(tmp_path, None) as web:
        assert https(web, None).read("metadata/2.root.json", most_bytes=100) == b"signed"


def test_what_is_no_web_address_or_no_authority_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="https://"):
        HttpsRepository("ftp://models", SystemClock())
    with pytest.raises(InputError, match="no such file"):
        HttpsRepository("https://models", SystemClock(), ca_file=tmp_path / "absent.pem")


def test_a_stick_without_a_repository_is_not_now(tmp_path: Path) -> None:
    with pytest.raises(NotNowError, match="mounted"):
        FolderRepository(tmp_path / "usb").read("metadata/2.root.json", most_bytes=100)


class Device:
    """The device's end alone; the test is the centre."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.wire = self.broker.wire("porch")
        self.repository = MqttRepository(self.wire, TOPICS, SystemClock(), patience_s=0.3)
        owner = Owner()
        self.wire.start(owner)
        assert owner.connections.await_count(1)


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.wire.stop()


def test_what_was_not_asked_for_is_dropped_and_counted(device: Device) -> None:
    device.broker.publish(TOPICS.block, encode_block("ab" * 32, 0, b"x"), qos=0)
    device.broker.publish(TOPICS.block, b"short", qos=0)
    device.broker.publish(TOPICS.reply, encode_reply(TimeReply(id=1, token=b"x")))
    device.broker.publish(TOPICS.reply, b"garbage")
    device.broker.publish(TOPICS.trust, bytes(5 * 1024 * 1024), retain=True)
    with pytest.raises(NotNowError, match="not answered"):
        device.repository.read("metadata/2.root.json", most_bytes=100)
    assert device.repository.dropped == 5
    assert device.repository.trust_files() == {}


def test_a_silent_centre_is_not_now(device: Device) -> None:
    for call in (
        lambda: device.repository.time_token(b"n" * 16),
        lambda: list(device.repository.blocks("ab" * 32, 1000, (0,))),
    ):
        with pytest.raises(NotNowError, match="not answered"):
            call()


def test_answers_with_no_block_in_them_end_the_ask(tmp_path: Path) -> None:
    bench = MemoryMqttBench(tmp_path)
    digest = bench.files.put_blob(CONTENT)
    repository = bench.open()
    assert list(repository.blocks(digest, len(CONTENT), (10, 11))) == []
    bench.close()


def test_a_refusal_keeps_its_meaning(tmp_path: Path) -> None:
    bench = MemoryMqttBench(tmp_path)
    repository = bench.open()
    bench.files.put("metadata/large.json", bytes(1_000_000))
    with pytest.raises(RepositoryError, match="413"):
        repository.read("metadata/large.json", most_bytes=2_000_000)
    error = repository._refused(Refusal(id=1, status=429, why="busy", retry_after_s=1e12))  # type: ignore[attr-defined]
    assert isinstance(error, NotNowError)
    assert error.retry_after_s == 3600
    bench.close()


def test_blocks_that_the_broker_lost_are_missed_soon(device: Device) -> None:
    device.repository._patience_s = 1000.0
    digest = "ab" * 32

    def answer(arrived: Arrived) -> None:
        arrived.ack()
        ask = decode_ask(arrived.payload)
        for index in (0, 2):
            device.broker.publish(TOPICS.block, encode_block(digest, index, b"x"), qos=0)
        device.broker.publish(TOPICS.reply, encode_reply(BlocksSent(id=ask.id, count=4)))

    centre = device.broker.wire("centre")
    centre.subscribe(TOPICS.ask, answer)
    centre.start(Owner())
    assert dict(device.repository.blocks(digest, 4 * BLOCK_BYTES, (0, 1, 2, 3))) == {0: b"x", 2: b"x"}
    centre.stop()
