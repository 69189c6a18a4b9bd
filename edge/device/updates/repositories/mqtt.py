"""The repository behind the broker: the centre answers what is asked.

Promises: what `api.Repository` says. Handlers only file what arrives: never more than the blocks that are being waited
for, 4 MB an ask. What was not asked for is dropped and counted. The newest retained trust update is at hand.
Leaves out: asking again (`download`); the centre's end (`central.answers`).
Thread: any asks; the wire's thread files.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from edge.clock import Clock
from edge.contract.asks import (
    MAX_BLOCKS,
    Ask,
    Block,
    BlocksAsk,
    BlocksSent,
    FilesAsk,
    FilesReply,
    Refusal,
    Reply,
    TimeAsk,
    TimeReply,
    check_digest,
    decode_block,
    decode_reply,
    encode_ask,
)
from edge.contract.ids import MAX_NUMBER
from edge.contract.layout import MAX_TRUST_BYTES
from edge.contract.topics import DeviceTopics
from edge.device.updates.repositories.received import small_path, trust_files
from edge.errors import NotInRepositoryError, NotNowError, ProtocolError, RepositoryError, WireError
from edge.wire.api import Arrived, Wire

__all__ = ["MqttRepository"]

_GONE, _LATER = 404, 429
_MAX_RETRY_AFTER_S = 3600.0
# Blocks at QoS 0 may be overtaken by the message that says that all were sent.
_STRAGGLERS_S = 0.2
# How soon a lost connection is noticed: before the wire, which waits half a second at least, has another.
_LOOK_S = 0.25


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """One ask, and what has come of it. `bell` rings at each arrival."""

    id: int
    prefix: bytes = b""
    missing: set[int] = field(default_factory=set)
    blocks: deque[Block] = field(default_factory=deque)
    reply: Reply | None = None
    bell: threading.Event = field(default_factory=threading.Event)


class MqttRepository:
    """Implements `api.Repository`. Make it before the wire starts."""

    def __init__(self, wire: Wire, topics: DeviceTopics, clock: Clock, *, patience_s: float = 30.0) -> None:
        """`patience_s`: how long nothing may come until an ask is given up."""
        self._wire = wire
        self._topics = topics
        self._clock = clock
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._asks: dict[int, _Waiting] = {}
        # Drawn, so that an answer to an earlier run of this device is none to this one.
        self._last_id = secrets.randbelow(MAX_NUMBER // 2)
        self._trust = b""
        self._changed: Callable[[], None] = lambda: None
        self.dropped = 0
        wire.subscribe(topics.block, self._block_arrived)
        wire.subscribe(topics.reply, self._reply_arrived)
        wire.subscribe(topics.trust, self._trust_arrived)

    @property
    def name(self) -> str:
        """See `api.Repository`."""
        return "mqtt"

    def trust_files(self) -> Mapping[str, bytes]:
        """See `api.Repository`. Empty until the broker has sent what it retains."""
        packed = self._trust
        return trust_files(self.name, packed) if packed else {}

    def read(self, path: str, *, most_bytes: int) -> bytes:
        """See `api.Repository`."""
        with self._asking() as waiting:
            self._send(FilesAsk(id=waiting.id, names=(small_path(self.name, path),)))
            reply = self._reply(waiting)
        content = reply.files.get(path) if isinstance(reply, FilesReply) else None
        if content is None:
            raise NotInRepositoryError(f"{self.name}: the centre has no {path}")
        if len(content) > most_bytes:
            raise RepositoryError(f"{self.name}: {path} has {len(content)} bytes, expected at most {most_bytes}")
        return content

    def blocks(
        self,
        digest: str,
        size_bytes: int,  # noqa: ARG002 - others cut by it; here no block is longer than 64 KB
        indices: Sequence[int],
    ) -> Iterator[tuple[int, bytes]]:
        """See `api.Repository`."""
        prefix = bytes.fromhex(check_digest(digest))[:8]
        for start in range(0, len(indices), MAX_BLOCKS):
            asked = tuple(indices[start : start + MAX_BLOCKS])
            with self._asking(prefix=prefix, missing=set(asked)) as waiting:
                self._send(BlocksAsk(id=waiting.id, digest=digest, indices=asked))
                yield from self._blocks(waiting)

    def time_token(self, nonce: bytes) -> bytes:
        """See `api.Repository`."""
        with self._asking() as waiting:
            self._send(TimeAsk(id=waiting.id, nonce=nonce))
            try:
                reply = self._reply(waiting)
            except NotInRepositoryError as err:  # whoever holds the broker may say so, and would do without a clock
                raise RepositoryError(str(err)) from err
        if not isinstance(reply, TimeReply):
            raise RepositoryError(f"{self.name}: asked for the time, the centre sent {type(reply).__name__}")
        return reply.token

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called on the wire's thread when another trust update has come; it must not block."""
        self._changed = changed

    # The wire's thread.

    def _block_arrived(self, arrived: Arrived) -> None:
        try:
            block = decode_block(arrived.payload)
        except ProtocolError:
            self.dropped += 1
            return
        with self._lock:
            takers = [
                each for each in self._asks.values() if each.prefix == block.prefix and block.index in each.missing
            ]
            for waiting in takers:
                waiting.missing.discard(block.index)
                waiting.blocks.append(block)
                waiting.bell.set()
        self.dropped += not takers

    def _reply_arrived(self, arrived: Arrived) -> None:
        arrived.ack()
        try:
            reply = decode_reply(arrived.payload)
        except ProtocolError:
            self.dropped += 1
            return
        with self._lock:
            waiting = self._asks.get(reply.id)
            if waiting is not None:
                waiting.reply = reply
                waiting.bell.set()
        self.dropped += waiting is None

    def _trust_arrived(self, arrived: Arrived) -> None:
        arrived.ack()
        if len(arrived.payload) > MAX_TRUST_BYTES:
            self.dropped += 1
        elif arrived.payload != self._trust:  # it is retained, and comes again at each reconnect
            self._trust = arrived.payload
            self._changed()

    # The asking thread.

    @contextmanager
    def _asking(self, *, prefix: bytes = b"", missing: set[int] | None = None) -> Iterator[_Waiting]:
        with self._lock:
            self._last_id += 1
            waiting = _Waiting(id=self._last_id, prefix=prefix, missing=missing or set())
            self._asks[waiting.id] = waiting
        try:
            yield waiting
        finally:
            with self._lock:
                del self._asks[waiting.id]

    def _send(self, ask: Ask) -> None:
        try:
            self._wire.publish(self._topics.ask, encode_ask(ask), qos=1)
        except WireError as err:
            raise NotNowError(f"{self.name}: {err}") from err

    def _reply(self, waiting: _Waiting) -> Reply:
        if not self._rings(waiting, self._patience_s) or waiting.reply is None:
            raise self._silent()
        if isinstance(waiting.reply, Refusal):
            raise self._refused(waiting.reply)
        return waiting.reply

    def _blocks(self, waiting: _Waiting) -> Iterator[tuple[int, bytes]]:
        """Blocks as they come, until all are there, or those that are not were sent in vain."""
        count = 0
        while True:
            waiting.bell.clear()
            with self._lock:
                arrived, waiting.blocks = waiting.blocks, deque()
                is_complete, reply = not waiting.missing, waiting.reply
            for block in arrived:
                yield block.index, block.content
            count += len(arrived)
            if is_complete:
                return
            if isinstance(reply, Refusal):
                raise self._refused(reply)
            is_sent = isinstance(reply, BlocksSent)
            if self._rings(waiting, _STRAGGLERS_S if is_sent else self._patience_s):
                continue
            if count or is_sent:
                return
            raise self._silent()

    def _rings(self, waiting: _Waiting, timeout_s: float) -> bool:
        """Wait until something arrives; false after `timeout_s`, or when the ask was lost with its connection."""
        until_s = self._clock.monotonic_s() + timeout_s
        while not self._clock.wait(waiting.bell, min(_LOOK_S, until_s - self._clock.monotonic_s())):
            if self._clock.monotonic_s() >= until_s or not self._wire.is_connected:
                return False
        return True

    def _silent(self) -> NotNowError:
        why = f"in {self._patience_s:g} s" if self._wire.is_connected else "before the connection was lost"
        return NotNowError(f"{self.name}: the centre has not answered {why}")

    def _refused(self, refusal: Refusal) -> RepositoryError:
        what = f"{self.name}: the centre refused ({refusal.status}): {refusal.why}"
        if refusal.status == _GONE:
            return NotInRepositoryError(what)
        if refusal.status == _LATER:
            return NotNowError(what, retry_after_s=min(max(refusal.retry_after_s, 0.0), _MAX_RETRY_AFTER_S))
        return RepositoryError(what)
