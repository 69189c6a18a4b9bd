"""Somebody with the broker's credentials: may publish anything on every topic, hear everything, and signs nothing.

The device is whole, and so is the centre that answers it; the broker is in memory. Whatever comes, the device goes on
with the release that it has, and says what it refused.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.central.answers import Answers
from edge.central.config import RegistryConfig
from edge.central.shelf import Shelf
from edge.clock import Clock, SystemClock
from edge.contract.asks import (
    BLOCK_BYTES,
    Ask,
    BlocksAsk,
    FilesAsk,
    FilesReply,
    Refusal,
    Reply,
    TimeAsk,
    TimeReply,
    decode_ask,
    encode_block,
    encode_reply,
)
from edge.contract.layout import MAX_TRUST_BYTES, blob_path
from edge.contract.messages import UpdateState
from edge.contract.topics import CentralTopics, DeviceTopics
from edge.device.updates.api import Repository
from edge.device.updates.repositories.mqtt import MqttRepository
from edge.wire.api import Arrived
from edge.zstd import pack
from tests.central.registry.fleet import Fleet
from tests.conformance.wires import WAIT_S, Owner
from tests.simulators.attacked import FAMILY, Scene, memory_folder
from tests.simulators.wire import MemoryBroker

TOPICS = DeviceTopics(fleet="home", device="porch")
_SYNC = "test/sync"
SECOND = f"models/{FAMILY}/2.json"


class BrokerScene(Scene):
    """The device hears its orders, metadata and blocks through `broker`, which is the attacker's as well."""

    def __init__(self, folder: Path) -> None:
        self.broker = MemoryBroker()
        self.wires = [self.broker.wire("porch"), self.broker.wire("central")]
        self._synced = threading.Event()
        self.answers: Answers | None = None
        self.behind_ms = 0  # what the device's clock is late
        super().__init__(folder, make_repository=self._open, size=3 * BLOCK_BYTES)

    def _open(self, seen: Path, _: Clock) -> Repository:
        device, central = self.wires
        self.repository = MqttRepository(device, TOPICS, SystemClock(), patience_s=0.2)
        device.subscribe(TOPICS.want, self._want)
        device.subscribe(_SYNC, lambda _: self._synced.set())
        self.answers = Answers(
            central,
            Shelf(str(seen)),
            CentralTopics(),
            RegistryConfig(),
            SystemClock(),
            fleets=lambda: (),
            sign_time=lambda nonce, _: self.time_token(nonce),
        )
        for wire in self.wires:
            owner = Owner()
            wire.start(owner)
            assert owner.connections.await_count(1)
        self.answers.start()
        self.show()
        return self.repository

    def time_token(self, nonce: bytes) -> bytes:
        """The centre's clock is right, whatever the device's says."""
        return self.fleet.registry().sign_time(nonce, self.clock.wall_ms() + self.behind_ms)

    def restart(self) -> None:
        """As a process does that begins."""
        super().restart()
        self.repository.watch(self.device.updater.refresh_soon)

    def show(self) -> None:
        """The centre has it, and has published what is to be retained."""
        super().show()
        if self.answers is not None:
            self.say(TOPICS.trust, (self.seen / "trust.bin").read_bytes())

    def say(self, topic: str, payload: bytes) -> None:
        """Publish as anybody may, and return when the device has heard it."""
        self.broker.publish(topic, payload, retain=topic in {TOPICS.want, TOPICS.trust})
        self._synced.clear()
        self.broker.publish(_SYNC, b"")
        assert self._synced.wait(WAIT_S)

    def _want(self, arrived: Arrived) -> None:
        arrived.ack()
        self.device.updater.want(arrived.payload)

    def close(self) -> None:
        assert self.answers is not None
        self.answers.stop()
        for wire in self.wires:
            wire.stop()


@pytest.fixture
def scene() -> Iterator[BrokerScene]:
    with memory_folder() as folder:
        made = BrokerScene(folder)
        yield made
        made.close()


def test_orders_of_everybody_else_are_refused_and_told_once_each(scene: BrokerScene, tmp_path: Path) -> None:
    scene.publish(2)
    scene.show()
    other = Fleet(tmp_path / "other")
    wanted = scene.wanted(2)
    ours, genuine = scene.fleet, scene.order(wanted)
    scene.fleet = other
    forged = scene.order(wanted)
    scene.fleet = ours
    wrong = [
        b"\xc1",
        os.urandom(1000),
        os.urandom(1 << 20),
        b"\x80" * 5000,
        genuine[:-1],
        bytes([*genuine[:60], genuine[60] ^ 1, *genuine[61:]]),
        forged,
        scene.order(wanted, device="shed"),
        scene.order(wanted, fleet="farm"),
    ]
    for number, raw in enumerate(wrong, 1):
        for _ in range(2):  # retained: it comes again at each reconnect
            scene.say(TOPICS.want, raw)
            assert scene.settle().state is UpdateState.IDLE
        assert len(scene.told) == number
    assert scene.goes_on()
    scene.say(TOPICS.want, scene.order(wanted))
    scene.settle()
    assert scene.device.loads() == SECOND


@pytest.mark.parametrize(
    "trust",
    [b"", b"garbage", os.urandom(1 << 20), pack(bytes(64 << 20)), bytes(MAX_TRUST_BYTES + 1), pack(b"\x81\xa5files")],
    ids=["empty", "garbage", "random", "bomb", "huge", "cut"],
)
def test_metadata_that_are_none_are_refused_and_the_honest_ones_count_again(trust: bytes, scene: BrokerScene) -> None:
    scene.publish(2)
    Scene.show(scene)
    scene.say(TOPICS.trust, trust)
    shutil.move(scene.seen / "metadata", scene.folder / "kept")  # and the centre is not heard
    scene.say(TOPICS.want, scene.order(scene.wanted(2)))
    scene.settle()
    assert scene.goes_on()
    shutil.move(scene.folder / "kept", scene.seen / "metadata")
    scene.show()
    scene.say(TOPICS.want, scene.order(scene.wanted(2)))
    scene.clock.advance(700)
    scene.settle()
    assert scene.device.loads() == SECOND


def test_metadata_of_another_fleet_and_older_ones_are_refused(scene: BrokerScene, tmp_path: Path) -> None:
    old = (scene.seen / "trust.bin").read_bytes()
    other = Fleet(tmp_path / "other")
    other.registry().publish(other.bundle(66))
    scene.publish(2)
    scene.show()
    scene.look()
    for number, packed in enumerate(((other.served / "trust.bin").read_bytes(), old), 1):
        scene.say(TOPICS.trust, packed)
        scene.say(TOPICS.want, scene.order(scene.wanted(2)))
        assert scene.settle().state is UpdateState.IDLE
        assert len(set(scene.told)) == number, "metadata and the order that waits for them are told each"
        assert scene.goes_on()


def test_a_revocation_is_heard_when_its_metadata_arrive(scene: BrokerScene) -> None:
    scene.fleet.registry().revoke(FAMILY, 1, why="sees ghosts")
    scene.show()
    scene.device.turns(1)
    record = scene.device.record
    assert (record.active, record.why) == (None, "revoked: sees ghosts")


class Forger:
    """Has thrown the centre off the broker, and answers in its place: asks of one kind with lies, others rightly."""

    def __init__(self, scene: BrokerScene, kind: type[Ask], answer: str) -> None:
        """`answer`: "garbage", or the status of a refusal."""
        self._scene = scene
        self._kind = kind
        self._answer = answer
        self.forged = 0
        wire, owner = scene.broker.wire("forger"), Owner()
        scene.wires.append(wire)
        wire.subscribe(CentralTopics().ask, self._asked)
        scene.broker.disconnect("central")
        wire.start(owner)
        assert owner.connections.await_count(1)

    def leave(self) -> None:
        self._scene.wires.pop().stop()
        self._scene.broker.reconnect("central")

    def _asked(self, arrived: Arrived) -> None:
        ask = decode_ask(arrived.payload)
        arrived.ack()
        is_lie = isinstance(ask, self._kind)
        self.forged += is_lie
        if is_lie and self._answer != "garbage":
            self._reply(Refusal(id=ask.id, status=int(self._answer), why="not for you"))
        elif isinstance(ask, FilesAsk):
            found = {name: self._scene.seen / name for name in ask.names if (self._scene.seen / name).is_file()}
            files = {name: path.read_bytes() for name, path in found.items()}
            self._reply(FilesReply(id=ask.id, files=dict.fromkeys(ask.names, os.urandom(99)) if is_lie else files))
        elif isinstance(ask, BlocksAsk):
            content = (self._scene.seen / blob_path(ask.digest)).read_bytes()
            for index in ask.indices:
                block = bytes(byte ^ is_lie for byte in content[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES])
                self._scene.broker.publish(TOPICS.block, encode_block(ask.digest, index, block), qos=0)
        else:
            token = os.urandom(99) if is_lie else self._scene.time_token(ask.nonce)
            self._reply(TimeReply(id=ask.id, token=token))

    def _reply(self, reply: Reply) -> None:
        self._scene.broker.publish(TOPICS.reply, encode_reply(reply))


@pytest.mark.parametrize(
    ("kind", "answer", "why"),
    [
        (FilesAsk, "garbage", f"{SECOND}: "),
        (FilesAsk, "404", "not for you"),
        (BlocksAsk, "garbage", "came twice, and was another each time"),
        (BlocksAsk, "404", "not for you"),
        (BlocksAsk, "500", "given up after 3 tries"),
    ],
)
def test_whoever_answers_in_the_centres_place_brings_nothing_in(
    kind: type[Ask], answer: str, why: str, scene: BrokerScene
) -> None:
    scene.publish(2)
    scene.show()
    forger = Forger(scene, kind, answer)
    scene.say(TOPICS.want, scene.order(scene.wanted(2)))
    record = scene.settle()
    assert forger.forged
    assert record.state is UpdateState.REJECTED
    assert why in record.why
    assert scene.goes_on()
    forger.leave()
    scene.say(TOPICS.want, scene.order(scene.wanted(2)))
    scene.settle()
    assert scene.device.loads() == SECOND


@pytest.mark.parametrize("answer", ["garbage", "404", "500"])
def test_an_order_waits_while_somebody_keeps_the_time_from_the_device(answer: str, scene: BrokerScene) -> None:
    scene.publish(2)
    scene.show()
    scene.restart()
    forger = Forger(scene, TimeAsk, answer)
    scene.say(TOPICS.want, scene.order(scene.wanted(2)))
    scene.settle(days=1)
    assert forger.forged
    assert scene.goes_on()
    assert not scene.told
    forger.leave()
    scene.say(TOPICS.want, scene.order(scene.wanted(2)))
    scene.settle()
    assert scene.device.loads() == SECOND


def test_a_freeze_is_seen_by_a_device_without_a_clock(scene: BrokerScene) -> None:
    scene.publish(2)
    scene.show()
    order = scene.order(scene.wanted(2))
    scene.restart()
    scene.behind_ms = 8 * 86_400_000  # order and metadata were kept back until the snapshot had expired
    scene.say(TOPICS.want, order)
    scene.settle()
    assert "expired" in scene.reason
    assert scene.goes_on()


def test_a_flood_of_orders_costs_the_device_a_bounded_number_of_reports(scene: BrokerScene) -> None:
    for number in range(300):
        scene.say(TOPICS.want, b"order %d" % number)
        scene.device.turns(1)
    assert len(scene.told) == 16  # of an hour; without an end they would push results out of the outbox
    scene.clock.advance(3700)
    scene.say(TOPICS.want, b"another one")
    scene.settle()
    assert len(scene.told) == 17
    assert scene.goes_on()


def test_a_flood_of_blocks_and_replies_that_nobody_asked_for_is_dropped(scene: BrokerScene) -> None:
    manifest = scene.publish(2)
    scene.show()
    digest = manifest.variants[0].sha256
    for number in range(2000):
        scene.broker.publish(TOPICS.block, encode_block(digest, number, os.urandom(100)), qos=0)
        scene.broker.publish(TOPICS.reply, encode_reply(FilesReply(id=number, files={"metadata/2.root.json": b"x"})))
    scene.say(TOPICS.want, scene.order(scene.wanted(2)))
    scene.settle()
    assert scene.repository.dropped >= 4000
    assert scene.device.loads() == SECOND
