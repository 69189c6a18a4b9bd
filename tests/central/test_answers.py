"""What the centre answers, to whom, and what it never does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge.central.answers import Answers
from edge.central.bucket import Buckets
from edge.central.config import RegistryConfig
from edge.central.shelf import Shelf
from edge.contract.asks import (
    BLOCK_BYTES,
    MAX_BLOCKS,
    Ask,
    BlocksAsk,
    BlocksSent,
    FilesAsk,
    FilesReply,
    Refusal,
    Reply,
    TimeAsk,
    TimeReply,
    decode_block,
    decode_reply,
    encode_ask,
)
from edge.contract.layout import TRUST_FILE
from edge.contract.topics import CentralTopics, DeviceTopics
from edge.errors import InputError, NotInRepositoryError, RepositoryError, StoreError, TrustError
from tests.conformance.wires import Owner
from tests.simulators.clock import ManualClock
from tests.simulators.static_repository import StaticRepository
from tests.simulators.wire import MemoryBroker

PORCH = DeviceTopics(fleet="home", device="porch")
CELLAR = DeviceTopics(fleet="home", device="cellar")
CONTENT = random.Random(1).randbytes(3 * BLOCK_BYTES + 5)
NONCE = b"n" * 16


class Centre:
    """Answers over a pumped broker: nothing happens until `ask`, or `turn`."""

    def __init__(self, folder: Path, config: RegistryConfig) -> None:
        self.files = StaticRepository(folder)
        self.broker = MemoryBroker(is_threaded=False)
        self.clock = ManualClock()
        self.fleets: tuple[str, ...] = ()
        self.key_error: Exception | None = None
        self.wire = self.broker.wire("central")
        self.answers = Answers(
            self.wire,
            Shelf(str(folder)),
            CentralTopics(),
            config,
            self.clock,
            fleets=self.list_fleets,
            sign_time=self.sign_time,
        )
        owner = Owner()
        owner.connected = self.answers.connected  # type: ignore[method-assign]
        self.wire.start(owner)
        self.turn()

    def list_fleets(self) -> tuple[str, ...]:
        if self.key_error is not None:
            raise self.key_error
        return self.fleets

    def sign_time(self, nonce: bytes, now_ms: int) -> bytes:
        if self.key_error is not None:
            raise self.key_error
        return b"%d " % now_ms + nonce

    def turn(self) -> None:
        self.broker.pump()
        while self.answers.step():
            self.broker.pump()

    def send(self, payload: bytes, who: DeviceTopics = PORCH) -> list[Reply]:
        """What comes back for bytes on a device's topic, blocks aside."""
        before = len(self.broker.messages(who.reply))
        self.broker.publish(who.ask, payload)
        self.turn()
        return [decode_reply(each.payload) for each in self.broker.messages(who.reply)[before:]]

    def ask(self, ask: Ask, who: DeviceTopics = PORCH) -> Reply:
        (reply,) = self.send(encode_ask(ask), who)
        return reply

    def blocks(self, who: DeviceTopics = PORCH) -> list[tuple[int, bytes]]:
        found = [decode_block(each.payload) for each in self.broker.messages(who.block)]
        return [(each.index, each.content) for each in found]

    def trust(self, fleet: str = "home") -> bytes | None:
        kept = self.broker.retained.get(DeviceTopics(fleet=fleet, device="").trust)
        return None if kept is None else kept.payload


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    centre = Centre(tmp_path / "registry", RegistryConfig())
    yield centre
    centre.wire.stop()


def test_blocks_come_at_qos_0_each_once_and_then_their_count(centre: Centre) -> None:
    digest = centre.files.put_blob(CONTENT)
    assert centre.ask(BlocksAsk(id=7, digest=digest, indices=(3, 0, 0, 1, 9))) == BlocksSent(id=7, count=3)
    assert sorted(centre.blocks()) == [(i, CONTENT[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES]) for i in (0, 1, 3)]
    assert {each.qos for each in centre.broker.messages(PORCH.block)} == {0}
    assert centre.blocks(CELLAR) == []


def test_of_several_files_those_that_are_there_come(centre: Centre) -> None:
    centre.files.put("metadata/2.root.json", b"root")
    reply = centre.ask(FilesAsk(id=1, names=("metadata/2.root.json", "metadata/3.root.json")))
    assert reply == FilesReply(id=1, files={"metadata/2.root.json": b"root"})


def test_the_time_is_the_centres_own_over_the_nonce(centre: Centre) -> None:
    reply = centre.ask(TimeAsk(id=3, nonce=NONCE))
    assert reply == TimeReply(id=3, token=b"%d " % centre.clock.wall_ms() + NONCE)


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (BlocksAsk(id=5, digest="ab" * 32, indices=(0,)), 404),
        (BlocksAsk(id=5, digest="../../secret", indices=(0,)), 400),
        (BlocksAsk(id=5, digest="ab" * 32, indices=()), 400),
        (BlocksAsk(id=5, digest="ab" * 32, indices=(-1,)), 400),
        (BlocksAsk(id=5, digest="ab" * 32, indices=(2**32,)), 400),
        (BlocksAsk(id=5, digest="ab" * 32, indices=tuple(range(MAX_BLOCKS + 1))), 400),
        (FilesAsk(id=5, names=()), 400),
        (FilesAsk(id=5, names=("metadata/a.json",) * 33), 400),
        (FilesAsk(id=5, names=("../secret",)), 400),
        (FilesAsk(id=5, names=("metadata/../../secret",)), 400),
        (FilesAsk(id=5, names=("metadata/.hidden",)), 400),
        (FilesAsk(id=5, names=("/etc/passwd",)), 400),
        (FilesAsk(id=5, names=("trust.bin",)), 400),
        (FilesAsk(id=5, names=("blobs/ab/" + "ab" * 32,)), 400),
        (FilesAsk(id=5, names=("metadata/large.json",)), 413),
        (FilesAsk(id=5, names=("metadata/half.json", "offers/half.json")), 413),
        (TimeAsk(id=5, nonce=b"short"), 400),
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_refused_with_its_status(centre: Centre, ask: Ask, status: int) -> None:
    (centre.files.root.parent / "secret").write_bytes(b"secret")
    centre.files.put("metadata/.hidden", b"secret")
    centre.files.put("metadata/large.json", bytes(1_000_000))
    centre.files.put("metadata/half.json", bytes(500_000))
    centre.files.put("offers/half.json", bytes(500_000))
    reply = centre.ask(ask)
    assert isinstance(reply, Refusal)
    assert (reply.id, reply.status) == (5, status)
    assert centre.blocks() == []


@pytest.mark.parametrize(
    ("raw", "its_id"),
    [
        (b"", 0),
        (b"garbage", 0),
        (b"\xc1" * 100, 0),
        (b"\x91" * 100_000, 0),
        (msgspec.msgpack.encode({"type": "sing", "id": 9}), 9),
        (msgspec.msgpack.encode({"type": "blocks", "id": 9, "digest": 4, "indices": "x"}), 9),
    ],
    ids=["empty", "text", "invalid", "deep", "newer", "types"],
)
def test_bytes_that_are_no_ask_are_refused_and_stop_nothing(centre: Centre, raw: bytes, its_id: int) -> None:
    (reply,) = centre.send(raw)
    assert isinstance(reply, Refusal)
    assert (reply.id, reply.status) == (its_id, 400)
    assert isinstance(centre.ask(TimeAsk(id=1, nonce=NONCE)), TimeReply)


def test_a_key_that_fails_refuses_the_time_and_stops_nothing(centre: Centre) -> None:
    centre.key_error = TrustError("the key's token was pulled")
    reply = centre.ask(TimeAsk(id=1, nonce=NONCE))
    assert isinstance(reply, Refusal)
    assert (reply.status, "token was pulled" in reply.why) == (502, True)


def test_a_store_that_fails_is_the_centres_fault_and_stops_nothing(centre: Centre) -> None:
    digest = centre.files.put_blob(CONTENT)
    path = centre.files.root / "blobs" / digest[:2] / digest
    path.unlink()
    path.symlink_to(path)  # an error that is no FileNotFoundError
    reply = centre.ask(BlocksAsk(id=1, digest=digest, indices=(0,)))
    assert isinstance(reply, Refusal)
    assert reply.status == 502


def test_a_device_that_asks_for_more_than_its_share_is_told_when_to_come_again(tmp_path: Path) -> None:
    centre = Centre(tmp_path, RegistryConfig(device_bytes_per_s=BLOCK_BYTES, total_bytes_per_s=100 * BLOCK_BYTES))
    digest = centre.files.put_blob(CONTENT)
    ask = BlocksAsk(id=1, digest=digest, indices=tuple(range(MAX_BLOCKS)))
    assert isinstance(centre.ask(ask), BlocksSent)
    assert isinstance(centre.ask(ask), BlocksSent)
    reply = centre.ask(ask)
    assert isinstance(reply, Refusal)
    assert (reply.status, round(reply.retry_after_s)) == (429, MAX_BLOCKS)
    assert isinstance(centre.ask(ask, CELLAR), BlocksSent)
    centre.clock.advance(reply.retry_after_s)
    assert isinstance(centre.ask(ask), BlocksSent)


def test_all_devices_together_get_no_more_than_the_total() -> None:
    buckets = Buckets(device_rate=100.0, total_rate=1000.0, burst=100.0, now_s=0.0)
    sent = 0
    for tenth in range(1000):
        sent += sum(100 for device in range(50) if buckets.take(device, 100, tenth / 10) == 0)
    assert 100_000 <= sent <= 1000 * 100 + 1000
    assert buckets.take("new", 100, 1000.0) == 0


def test_many_devices_leave_no_trace_once_they_have_their_share_again() -> None:
    buckets = Buckets(device_rate=100.0, total_rate=1e9, burst=100.0, now_s=0.0)
    for device in range(20_000):
        assert buckets.take(device, 100, float(device)) == 0
    assert len(buckets._devices) <= 4098


def test_an_ask_that_waits_twice_is_answered_once(centre: Centre) -> None:
    digest = centre.files.put_blob(CONTENT)
    for number in range(1, 6):
        centre.broker.publish(PORCH.ask, encode_ask(BlocksAsk(id=number, digest=digest, indices=(0, 1, 2, 3))))
    centre.broker.publish(CELLAR.ask, encode_ask(BlocksAsk(id=1, digest=digest, indices=(0,))))
    centre.turn()
    assert [decode_reply(each.payload).id for each in centre.broker.messages(PORCH.reply)] == [5]
    assert len(centre.blocks()) == 4
    assert len(centre.blocks(CELLAR)) == 1


def test_a_broker_that_is_away_costs_the_answer_and_nothing_else(centre: Centre) -> None:
    digest = centre.files.put_blob(CONTENT)
    centre.broker.publish(PORCH.ask, encode_ask(BlocksAsk(id=1, digest=digest, indices=(0, 1))))
    centre.broker.pump()
    centre.broker.disconnect("central")
    assert centre.answers.step() == 1
    centre.broker.reconnect("central")
    # The first comes again too: its ack was void.
    replies = centre.send(encode_ask(BlocksAsk(id=2, digest=digest, indices=(0,))))
    assert BlocksSent(id=2, count=1) in replies


def test_trust_is_kept_with_the_broker_for_every_fleet_and_anew_when_it_changes(centre: Centre) -> None:
    centre.fleets = ("home", "ship")
    centre.files.put_trust({"timestamp.json": b"1"})
    centre.clock.advance(6)
    centre.turn()
    first = (centre.files.root / "trust.bin").read_bytes()
    assert (centre.trust("home"), centre.trust("ship")) == (first, first)
    centre.files.put_trust({"timestamp.json": b"2"})
    centre.turn()
    assert centre.trust() == first
    centre.clock.advance(6)
    centre.turn()
    assert centre.trust() != first


def test_trust_that_has_not_changed_is_not_sent_again(centre: Centre) -> None:
    centre.fleets = ("home",)
    centre.files.put_trust({"timestamp.json": b"1"})
    for _ in range(10):
        centre.clock.advance(6)
        centre.turn()
    assert len(centre.broker.messages(PORCH.trust)) == 1


def test_a_broker_that_forgot_what_it_retained_gets_it_again(centre: Centre) -> None:
    centre.fleets = ("home",)
    centre.files.put_trust({"timestamp.json": b"1"})
    centre.clock.advance(6)
    centre.turn()
    centre.broker.stop()
    centre.broker.retained.clear()
    centre.broker.start()
    centre.turn()
    assert centre.trust() is not None


def test_a_fleet_whose_device_asks_is_known_from_then_on(centre: Centre) -> None:
    centre.files.put_trust({"timestamp.json": b"1"})
    centre.ask(TimeAsk(id=1, nonce=NONCE))
    centre.clock.advance(6)
    centre.turn()
    assert centre.trust() is not None


def test_a_database_that_fails_delays_trust_and_stops_nothing(centre: Centre) -> None:
    centre.files.put_trust({"timestamp.json": b"1"})
    centre.key_error = StoreError("locked")
    centre.clock.advance(6)
    centre.turn()
    centre.key_error, centre.fleets = None, ("home",)
    centre.clock.advance(6)
    centre.turn()
    assert centre.trust() is not None


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_shelf_reads_a_folder_by_its_path_or_its_url(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    shelf = Shelf(f"{prefix}{tmp_path}")
    assert shelf.read("a", most_bytes=10) == b"0123456789"
    assert shelf.read_part("a", 8, 10) == b"89"
    assert shelf.read_part("a", 20, 10) == b""
    with pytest.raises(RepositoryError, match="more than 9"):
        shelf.read("a", most_bytes=9)
    (tmp_path / TRUST_FILE).write_bytes(b"trust")
    with pytest.raises(NotInRepositoryError):
        shelf.read("b", most_bytes=9)


def test_a_shelf_whose_disk_was_taken_away_does_not_say_that_a_model_never_was(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    (folder / TRUST_FILE).write_bytes(b"trust")
    shelf = Shelf(str(folder))
    folder.rename(tmp_path / "gone")
    with pytest.raises(RepositoryError, match="holds no repository now; is it mounted") as raised:
        shelf.read("targets/models/digits/1.json", most_bytes=9)
    assert not isinstance(raised.value, NotInRepositoryError)
    with pytest.raises(NotInRepositoryError):  # nothing was ever published here
        shelf.read(TRUST_FILE, most_bytes=9)


def test_a_shelf_that_no_library_reaches_is_refused() -> None:
    with pytest.raises(InputError, match="nowhere"):
        Shelf("nowhere://bucket")


def test_whoever_asks_whether_a_fleet_is_told_makes_it_so_at_the_next_step(centre: Centre) -> None:
    assert centre.answers.is_told("home"), "without an update devices ask for each file"
    centre.fleets = ("home",)
    centre.files.put_trust({"timestamp.json": b"1"})
    assert not centre.answers.is_told("home")
    centre.turn()
    assert centre.trust() is not None
    assert centre.answers.is_told("home")
    assert not centre.answers.is_told("another")
