"""Answer what devices ask: blocks, small files and the time; and keep the newest trust update with the broker.

Promises: nothing that a device sends ends the thread; what cannot be answered is refused, with the reason. An ask that
its device has repeated is answered once. Whoever asks for more than its share is told when to come again. An answer
that is lost costs nothing: devices ask again.
Leaves out: what stands in an answer (`replies`). Signatures mean nothing here.
Thread: `answers`; the wire's thread only fills the inbox.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec

from edge.central.bucket import Buckets
from edge.central.config import RegistryConfig
from edge.central.inbox import Inbox
from edge.central.replies import Files, RefusedError, Replies, SignTime
from edge.clock import Clock
from edge.contract.asks import (
    BLOCK_BYTES,
    MAX_BLOCKS,
    Ask,
    BlocksAsk,
    BlocksSent,
    Refusal,
    Reply,
    decode_ask,
    encode_block,
    encode_reply,
)
from edge.contract.bodies import UNREADABLE
from edge.contract.ids import check_name
from edge.contract.layout import MAX_TRUST_BYTES, TRUST_FILE
from edge.contract.topics import CentralTopics, DeviceTopics, parse_up
from edge.errors import InputError, NotInRepositoryError, ProtocolError, RepositoryError, StoreError, WireError
from edge.wire.api import Arrived, Wire
from edge.wire.worker import Worker

__all__ = ["Answers"]

_log = logging.getLogger(__name__)

_TICK_S = 1.0
_TRUST_EVERY_S = 5.0  # how soon a publication reaches the broker
_QUEUE = 1024  # asks; a device has one or two under way
_TAKE = 64
_BURST_BYTES = 2 * MAX_BLOCKS * BLOCK_BYTES  # two asks without a wait
_BAD, _LATER = 400, 429
_FULL_S = 0.05  # between two looks whether a full link has room
_FULL_TIMES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One ask that can be answered."""

    message: Arrived
    topics: DeviceTopics
    ask: Ask


class _Id(msgspec.Struct, frozen=True):
    """The least that an ask of any version has."""

    id: int


class Answers:
    """Make it before the wire starts; `start` and `stop` run the thread. Tests call `step` instead."""

    def __init__(
        self,
        wire: Wire,
        files: Files,
        topics: CentralTopics,
        config: RegistryConfig,
        clock: Clock,
        *,
        fleets: Callable[[], Collection[str]],
        sign_time: SignTime | None = None,
    ) -> None:
        """`fleets`: those to keep the trust update for; those whose devices ask are known without it."""
        self._wire = wire
        self._files = files
        self._replies = Replies(files, clock, sign_time)
        self._clock = clock
        self._fleets = fleets
        self._inbox = Inbox(_QUEUE)
        self._stopping = threading.Event()
        self._worker = Worker("answers", self._run)
        self._buckets = Buckets(
            device_rate=config.device_bytes_per_s,
            total_rate=config.total_bytes_per_s,
            burst=float(_BURST_BYTES),
            now_s=clock.monotonic_s(),
        )
        self._asking: set[str] = set()
        self._published: dict[str, bytes] = {}
        self._trust_at_s = clock.monotonic_s()
        self._joined = threading.Event()
        self._hurried = threading.Event()
        self.answered = 0
        self.refused = 0
        wire.subscribe(topics.ask, self._arrived)

    @property
    def failure(self) -> BaseException | None:
        """What the thread died of."""
        return self._worker.failure

    def start(self) -> None:
        """Run the thread `answers`."""
        self._worker.start()

    def stop(self) -> None:
        """End the thread; what was asked and not answered is asked again.

        Raises:
            Exception: what the thread died of.
        """
        self._stopping.set()
        self._inbox.filled.set()
        self._worker.join()

    def connected(self) -> None:
        """Tell it of each connection, on any thread: a broker may have forgotten what it retained."""
        self._joined.set()

    def is_told(self, fleet: str) -> bool:
        """Whether the broker has a fleet's newest trust update; where not, the next step sees to it. Any thread."""
        try:
            packed = self._files.read(TRUST_FILE, most_bytes=MAX_TRUST_BYTES)
        except NotInRepositoryError:
            return True  # devices ask for each file
        except RepositoryError:
            return False
        if self._published.get(fleet) == hashlib.sha256(packed).digest():
            return True
        self._hurried.set()
        self._inbox.filled.set()
        return False

    def step(self) -> int:
        """Publish trust where it is new, and answer what was asked; how many asks that were."""
        self._keep_trust()
        taken = self._inbox.take(_TAKE)
        for asked in _newest([asked for each in taken if (asked := self._read(each)) is not None]):
            self._answer(asked.topics, asked.ask)
        for each in taken:
            each.ack()
        return len(taken)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._clock.wait(self._inbox.filled, _TICK_S)
            self.step()

    # The wire's thread.

    def _arrived(self, message: Arrived) -> None:
        if not self._inbox.put(message):
            message.ack()  # its device asks again; the broker need not keep it

    # The thread `answers`.

    def _read(self, message: Arrived) -> _Asked | None:
        try:
            topics, _ = parse_up(message.topic)
            check_name("fleet", topics.fleet)
            check_name("device", topics.device)
        except (ProtocolError, InputError) as err:
            self.refused += 1
            _log.warning("central: an ask was dropped: %s", err)
            return None
        self._asking.add(topics.fleet)
        try:
            return _Asked(message=message, topics=topics, ask=decode_ask(message.payload))
        except ProtocolError as err:
            self._refuse(topics, _id_of(message.payload), RefusedError(_BAD, str(err)))
            return None

    def _answer(self, topics: DeviceTopics, ask: Ask) -> None:
        try:
            self._charge(topics, self._replies.price_bytes(ask))
            if isinstance(ask, BlocksAsk):
                self._send_blocks(topics, ask)
            else:
                self._reply(topics, self._replies.reply(ask))
        except RefusedError as err:
            self._refuse(topics, ask.id, err)
        else:
            self.answered += 1

    def _charge(self, topics: DeviceTopics, price_bytes: int) -> None:
        wait_s = self._buckets.take(topics, price_bytes, self._clock.monotonic_s())
        if wait_s:
            raise RefusedError(_LATER, "more than this device's share", retry_after_s=wait_s)

    def _send_blocks(self, topics: DeviceTopics, ask: BlocksAsk) -> None:
        count = 0
        for index, content in self._replies.blocks(ask):
            if not self._send(topics.block, encode_block(ask.digest, index, content), qos=0):
                return
            count += 1
        self._reply(topics, BlocksSent(id=ask.id, count=count))

    def _refuse(self, topics: DeviceTopics, ask_id: int, why: RefusedError) -> None:
        self.refused += 1
        _log.debug("%s/%s: ask refused (%d): %s", topics.fleet, topics.device, why.status, why)
        self._reply(topics, Refusal(id=ask_id, status=why.status, why=str(why), retry_after_s=why.retry_after_s))

    def _reply(self, topics: DeviceTopics, reply: Reply) -> None:
        self._send(topics.reply, encode_reply(reply), qos=1)

    def _send(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> bool:
        """Publish, waiting for a link that is full; false when it was dropped."""
        for _ in range(_FULL_TIMES):
            try:
                self._wire.publish(topic, payload, qos=qos, retain=retain)
            except WireError:  # noqa: PERF203 - it waits where it fails
                if not self._wire.is_connected or self._clock.wait(self._stopping, _FULL_S):
                    return False
            else:
                return True
        return False

    def _keep_trust(self) -> None:
        now_s = self._clock.monotonic_s()
        if self._joined.is_set():
            self._joined.clear()
            self._published.clear()
        elif now_s < self._trust_at_s and not self._hurried.is_set():
            return
        self._hurried.clear()
        self._trust_at_s = now_s + _TRUST_EVERY_S
        try:
            packed = self._files.read(TRUST_FILE, most_bytes=MAX_TRUST_BYTES)
            fleets = {*self._fleets(), *self._asking}
        except NotInRepositoryError:
            return
        except (RepositoryError, StoreError) as err:
            _log.warning("central: the trust update cannot be published: %s", err)
            return
        digest = hashlib.sha256(packed).digest()
        for fleet in fleets:
            if self._published.get(fleet) == digest:
                continue
            # Of every device of a fleet the topic is the same.
            topic = DeviceTopics(fleet=fleet, device="").trust
            if self._send(topic, packed, qos=1, retain=True):
                self._published[fleet] = digest
                _log.info("fleet %s: trust update of %d bytes published", fleet, len(packed))


def _newest(asked: Sequence[_Asked]) -> list[_Asked]:
    """Without the asks for blocks that a later one of the same device asks for anyway."""
    kept: list[_Asked] = []
    later: dict[tuple[DeviceTopics, str], set[int]] = {}
    for each in reversed(asked):
        if isinstance(each.ask, BlocksAsk):
            seen = later.setdefault((each.topics, each.ask.digest), set())
            if each.ask.indices and seen.issuperset(each.ask.indices):
                continue
            seen.update(each.ask.indices)
        kept.append(each)
    kept.reverse()
    return kept


def _id_of(raw: bytes) -> int:
    try:
        return msgspec.msgpack.decode(raw, type=_Id).id
    except UNREADABLE:
        return 0
