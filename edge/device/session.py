"""Hand the backlog to the centre, over a wire that may lose, repeat, reorder and vanish.

Promises: a row is offered until a receipt for this session names it, whatever the broker acknowledged. The centre is
known to be there only by its receipts. `live` is for people: it is dropped when it cannot be sent at once.
Leaves out: keeping rows (`outbox`), the connection (`wire`), what a state says about pipelines (`make_state`).
Thread: `session` sends and waits; the wire's thread only drops messages into its inbox. `publish_live` from any.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, final

from msgspec.structs import replace

from edge.clock import Clock
from edge.contract.messages import (
    Batch,
    Range,
    Receipt,
    Result,
    State,
    TextRequest,
    decode_receipt,
    decode_text_request,
    encode_live,
    encode_state,
)
from edge.contract.topics import DeviceTopics
from edge.device.window import Window
from edge.errors import ProtocolError, StoreError, WireError
from edge.wire.api import Arrived, Will, Wire
from edge.wire.packing import pack_batch
from edge.wire.worker import Worker

__all__ = ["Backlog", "BacklogStatus", "OnText", "Session", "SessionStatus", "last_will"]

_log = logging.getLogger(__name__)

_RECEIPTS_WAITING = 256  # more than the window can ever be owed; a dropped receipt costs one resend
_STORE_RETRY_S = 1.0


class BacklogStatus(Protocol):
    """What a birth tells about the rows that wait."""

    @property
    def epoch(self) -> int: ...  # noqa: D102 - the names are the contract's
    @property
    def next_seq(self) -> int: ...  # noqa: D102
    @property
    def settled(self) -> int: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def size_bytes(self) -> int: ...  # noqa: D102


class Backlog(Protocol):
    """What a session asks of an outbox."""

    def read(self, *, session: int, skip: Mapping[int, Sequence[Range]] | None = None, max_bytes: int) -> Batch | None:
        """The oldest rows outside `skip` (ranges by epoch), at most `max_bytes` or one row, None when there are none.

        Raises:
            StoreError: it cannot be read now.
        """
        ...

    def settle(self, receipt: Receipt, *, session: int) -> None:
        """Take a receipt; rows it covers are not read again."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, on any thread, when there may be new rows; it does not block."""
        ...

    def status(self) -> BacklogStatus:
        """How much waits."""
        ...


class OnText(Protocol):
    """Who takes the texts sent to a pipeline. Runs on the wire's thread and must not block."""

    def __call__(self, pipeline: str, request: TextRequest, taken: Callable[[], None]) -> None:
        """Call `taken` from any thread once the text cannot be lost; until then the broker keeps it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """How the session is. `silent_s` is the time since a receipt moved something, None before the first."""

    is_connected: bool
    in_flight: int
    receipts: int
    resent: int
    rtt_s: float | None
    silent_s: float | None


def last_will(topics: DeviceTopics, *, session_id: int, epoch: int) -> Will:
    """What the broker says when we vanish; the centre believes it for the last seen session only."""
    return Will(topic=topics.state, payload=encode_state(State(online=False, session=session_id, epoch=epoch)))


@final
class Session:
    """One run of one device. Use as a context manager: it starts the wire and the thread, and says farewell."""

    def __init__(
        self,
        wire: Wire,
        outbox: Backlog,
        topics: DeviceTopics,
        session_id: int,
        clock: Clock,
        *,
        make_state: Callable[[], State] | None = None,
        on_text: OnText | None = None,
        on_want: Callable[[bytes], None] | None = None,
        state_every_s: float = 60.0,
    ) -> None:
        """`make_state` gives pipelines, health and version; the session fills in the rest and publishes it.

        `on_want` gets each signed assignment, on the wire's thread, and must not block.
        """
        self._wire = wire
        self._outbox = outbox
        self._topics = topics
        self._session = session_id
        self._clock = clock
        self._make_state = make_state or (lambda: State(online=True, session=session_id, epoch=0))
        self._on_text = on_text
        self._on_want = on_want
        self._state_every_s = state_every_s
        self._bell = threading.Event()
        self._receipts: deque[bytes] = deque(maxlen=_RECEIPTS_WAITING)
        self._joined = threading.Event()
        self._has_news = threading.Event()
        self._is_stopping = False
        self._worker = Worker("session", self._run)
        # Below: the session thread's own.
        self._window = Window()
        self._state_at_s = 0.0
        self._told_epoch = 0
        self._read_at_s = 0.0
        self._counted = 0
        self._resent = 0
        self._moved_s: float | None = None

    def __enter__(self) -> Session:
        self.attach()
        self._worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def attach(self) -> None:
        """Subscribe and start the wire; without the thread, for those who call `turn` themselves."""
        self._wire.subscribe(self._topics.receipt, self._receipt_arrived)
        if self._on_text is not None:
            self._wire.subscribe(self._topics.texts, self._text_arrived)
        if self._on_want is not None:
            self._wire.subscribe(self._topics.want, self._want_arrived)
        self._outbox.watch(self._bell.set)
        self._wire.start(self)

    def close(self) -> None:
        """Say farewell (the rows stay where they are) and stop the wire. A second call does nothing.

        Raises:
            Exception: what the thread, or the wire's, died of.
        """
        if self._is_stopping:
            return
        self._is_stopping = True
        self._bell.set()
        with ExitStack() as stack:
            stack.callback(self._wire.stop)
            stack.callback(self._send_state, is_online=False)
            if self._worker.is_alive or self._worker.failure is not None:
                self._worker.join()

    def publish_live(self, pipeline: str, result: Result) -> bool:
        """Show a result to people; false when it was dropped because nobody can hear it now."""
        return self._send(self._topics.live(pipeline), encode_live(result), qos=0)

    def publish_reply(self, topic: str, result: Result) -> bool:
        """Answer a text on the topic its sender asked for; false when it was dropped."""
        if not topic or any(mark in topic for mark in "+#\0"):
            _log.debug("session: %r is no topic to answer on", topic)
            return False
        return self._send(topic, encode_live(result), qos=1)

    def tell_state(self) -> None:
        """Publish the state now and not when it is due; from any thread."""
        self._has_news.set()
        self._bell.set()

    @property
    def failure(self) -> BaseException | None:
        """What the thread died of: nothing is sent any more."""
        return self._worker.failure

    def status(self) -> SessionStatus:
        """How it is now."""
        return SessionStatus(
            is_connected=self._wire.is_connected,
            in_flight=len(self._window.in_flight),
            receipts=self._counted,
            resent=self._resent,
            rtt_s=self._window.rtt_s,
            silent_s=None if self._moved_s is None else self._clock.monotonic_s() - self._moved_s,
        )

    # WireEvents: the wire's thread.

    def connected(self) -> None:
        """See `WireEvents`."""
        self._joined.set()
        self._bell.set()

    def disconnected(self, why: str) -> None:
        """See `WireEvents`."""
        _log.debug("session: disconnected: %s", why)

    def published(self, token: int) -> None:
        """See `WireEvents`. The broker's word is worth nothing here."""

    def _receipt_arrived(self, arrived: Arrived) -> None:
        self._receipts.append(arrived.payload)
        arrived.ack()
        self._bell.set()

    def _want_arrived(self, arrived: Arrived) -> None:
        arrived.ack()  # it is retained, and comes again
        if self._on_want is not None and arrived.payload:
            self._on_want(arrived.payload)

    def _text_arrived(self, arrived: Arrived) -> None:
        pipeline = self._topics.pipeline_of(arrived.topic)
        # A retained text would be inferred again after every reconnect.
        if pipeline is None or self._on_text is None or arrived.retained:
            arrived.ack()
            return
        try:
            request = decode_text_request(arrived.payload)
        except ProtocolError as err:
            _log.warning("pipeline %s: dropped a text: %s", pipeline, err)
            arrived.ack()
            return
        if request.reply_to is None and arrived.response_topic is not None:
            request = replace(request, reply_to=arrived.response_topic)
        self._on_text(pipeline, request, arrived.ack)

    # The session thread.

    def _run(self) -> None:
        while not self._is_stopping:
            wait_s = self.turn()
            if wait_s > 0:
                self._clock.wait(self._bell, wait_s)
            self._bell.clear()

    def turn(self) -> float:
        """Take receipts, send what may be sent; returns how long nothing needs doing, seconds."""
        self._take_receipts()
        if self._joined.is_set():
            self._joined.clear()
            self._window.reconnected()
            self._state_at_s = 0.0
        if self._has_news.is_set():
            self._has_news.clear()
            self._state_at_s = 0.0
        if self._wire.is_connected:
            self._say_state()
            self._resend()
            self._fill_window()
        return self._wait_s()

    def _take_receipts(self) -> None:
        while self._receipts:
            try:
                receipt = decode_receipt(self._receipts.popleft())
            except ProtocolError as err:
                _log.warning("session: dropped a receipt: %s", err)
                continue
            self._counted += 1
            if receipt.session == self._session:
                now_s = self._clock.monotonic_s()
                self._window.answer(receipt, now_s)
                self._moved_s = now_s
            self._outbox.settle(receipt, session=self._session)

    def _resend(self) -> None:
        for sent in self._window.overdue(self._clock.monotonic_s()):
            self._resent += 1
            if not self._send(self._topics.data, sent.payload, qos=1):
                break
        for epoch, nack in self._window.take_hopeless():
            _log.warning("session: epoch %d, seq %d: given up: %s", epoch, nack.lo, nack.why)
            receipt = Receipt(epoch=epoch, upto=0, highest=0, session=self._session, nack=(nack,))
            self._outbox.settle(receipt, session=self._session)

    def _fill_window(self) -> None:
        now_s = self._clock.monotonic_s()
        while self._window.has_room and now_s >= self._read_at_s:
            try:
                batch = self._outbox.read(
                    session=self._session, skip=self._window.spans(), max_bytes=self._window.batch_bytes
                )
            except StoreError as err:
                _log.warning("session: the outbox cannot be read: %s", err)
                self._read_at_s = now_s + _STORE_RETRY_S
                return
            if batch is None:
                return
            payload = pack_batch(batch)
            if not self._send(self._topics.data, payload, qos=1):
                return
            self._window.add(batch, payload, now_s)

    def _say_state(self) -> None:
        now_s = self._clock.monotonic_s()
        if (now_s >= self._state_at_s or self._outbox.status().epoch != self._told_epoch) and self._send_state(
            is_online=True
        ):
            self._state_at_s = now_s + self._state_every_s

    def _send_state(self, *, is_online: bool) -> bool:
        waiting = self._outbox.status()
        state = replace(
            self._make_state(),
            online=is_online,
            session=self._session,
            epoch=waiting.epoch,
            next_seq=waiting.next_seq,
            settled=waiting.settled,
            made_ms=self._clock.wall_ms(),
            every_s=self._state_every_s,
            backlog_rows=waiting.rows,
            backlog_bytes=waiting.size_bytes,
        )
        self._told_epoch = waiting.epoch
        return self._send(self._topics.state, encode_state(state), qos=1, retain=True)

    def _send(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> bool:
        try:
            self._wire.publish(topic, payload, qos=qos, retain=retain)
        except WireError as err:
            _log.debug("session: not sent: %s", err)
            return False
        return True

    def _wait_s(self) -> float:
        if not self._wire.is_connected:
            return self._state_every_s
        now_s = self._clock.monotonic_s()
        wait_s = self._state_at_s - now_s
        overdue_s = self._window.wait_s(now_s)
        if overdue_s is not None:
            wait_s = min(wait_s, overdue_s)
        if self._read_at_s > now_s:
            wait_s = min(wait_s, self._read_at_s - now_s)
        return max(wait_s, 0.001)
