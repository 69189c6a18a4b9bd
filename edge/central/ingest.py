"""Messages in, rows on disk, receipts out.

Promises: a message is acknowledged, and a receipt sent, only after the transaction that holds it has committed; a crash
anywhere makes a duplicate, never a loss. A message that nobody can read is noted, acknowledged, and stops nothing.
Leaves out: tables (`store`), connecting (`wire`).
Thread: `ingest` has the store; the wire's thread only fills the inbox.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from msgspec import structs

from edge.central.config import IngestConfig
from edge.central.inbox import Inbox
from edge.central.store.arrived import (
    Answer,
    Delivery,
    Message,
    Refused,
    Sender,
    StateSeen,
    check_batch,
    check_state,
    read_rows,
)
from edge.central.store.database import GoneError
from edge.clock import Clock
from edge.contract.ids import check_name
from edge.contract.messages import Nack, decode_batch, decode_state, encode_receipt
from edge.contract.topics import CentralTopics, DeviceTopics, Up, parse_up
from edge.errors import InputError, ProtocolError, StoreError, WireError
from edge.wire.api import Arrived, Wire
from edge.wire.packing import unpack
from edge.wire.worker import Backoff, Worker

__all__ = ["Ingest", "RowStore"]

_log = logging.getLogger(__name__)

_TICK_S = 1.0


class RowStore(Protocol):
    """Where messages go. `store.Store` is one."""

    def commit(self, messages: Sequence[Message], now_ms: int) -> tuple[Answer, ...]:
        """Take all in one transaction. StoreError: ask again; ProtocolError: a message is to blame."""
        ...


class Ingest:
    """Implements `wire.WireEvents`. Give it the wire before that starts; `start` and `stop` run the thread.

    Tests, and whoever has no thread to spare, call `step` instead.
    """

    def __init__(self, wire: Wire, store: RowStore, topics: CentralTopics, config: IngestConfig, clock: Clock) -> None:
        self._wire = wire
        self._store = store
        self._config = config
        self._clock = clock
        self._inbox = Inbox(config.queue)
        self._stopping = threading.Event()
        self._worker = Worker("ingest", self._run)
        self._backoff = Backoff(0.5, 30.0)
        self._pending: list[Arrived] = []
        self._parsed: list[Message] = []
        self.messages = 0
        self.refused = 0
        self.unsent_receipts = 0
        wire.subscribe(topics.data, self._arrived)
        wire.subscribe(topics.state, self._arrived)

    @property
    def failure(self) -> BaseException | None:
        """What the thread died of."""
        return self._worker.failure

    def start(self) -> None:
        """Run the thread `ingest`."""
        self._worker.start()

    def stop(self) -> None:
        """Commit what has arrived, and end the thread. Call it before the wire stops, so that the acks still go out.

        Raises:
            Exception: what the thread died of.
        """
        self._stopping.set()
        self._inbox.filled.set()
        self._worker.join()

    def connected(self) -> None:
        """See `wire.WireEvents`. Devices resend what was not answered; nothing to do."""

    def disconnected(self, why: str) -> None:
        """See `wire.WireEvents`. Acks of that connection are void, the rows are not."""

    def published(self, token: int) -> None:
        """See `wire.WireEvents`. A receipt that was lost is asked for by the next resend."""

    def step(self) -> int:
        """Commit what has arrived, acknowledge it, answer it; return how many messages that were.

        Raises:
            StoreError: the database failed. The messages are kept for the next `step`, unacknowledged.
        """
        if not self._pending:
            self._pending = self._inbox.take(self._config.max_messages)
            self._parsed = [self._parse(message) for message in self._pending]
        if not self._pending:
            return 0
        answers = self._commit(self._parsed)
        taken, self._pending, self._parsed = self._pending, [], []
        self.messages += len(taken)
        for message in taken:
            message.ack()
        for answer in answers:
            self._send(answer)
        return len(taken)

    def _run(self) -> None:
        while True:
            is_last = self._stopping.is_set()
            self._clock.wait(self._inbox.filled, _TICK_S)
            if not is_last:
                self._clock.wait(self._stopping, self._config.window_ms / 1000)
            try:
                while self.step():
                    pass
                self._backoff.reset()
            except GoneError:
                raise
            except StoreError as err:
                _log.warning("central: %s; trying again", err)
                if not is_last:
                    self._clock.wait(self._stopping, self._backoff.next_s())
            if is_last:
                return

    def _arrived(self, message: Arrived) -> None:
        if not self._inbox.put(message):
            _log.debug("central: the queue is full, %s stays with the broker", message.topic)

    def _parse(self, message: Arrived) -> Message:
        who = "?"
        try:
            topics, kind = parse_up(message.topic)
            sender = Sender(
                fleet=check_name("fleet", topics.fleet),
                device=check_name("device", topics.device),
            )
            who = str(sender)
            if kind is Up.DATA:
                return _delivery(sender, unpack(message.payload))
            state = check_state(decode_state(message.payload))
            return StateSeen(sender=sender, state=state, raw=message.payload, is_retained=message.retained)
        except (ProtocolError, InputError) as err:
            return self._refuse(who, str(err))

    def _refuse(self, who: str, why: str) -> Refused:
        self.refused += 1
        _log.warning("%s: message refused: %s", who, why)
        return Refused(who=who, why=why)

    def _commit(self, messages: Sequence[Message]) -> tuple[Answer, ...]:
        try:
            return self._store.commit(messages, self._clock.wall_ms())
        except ProtocolError:
            # One message spoils the transaction: take each alone, and that one as refused.
            return tuple(answer for message in messages for answer in self._commit_alone(message))

    def _commit_alone(self, message: Message) -> tuple[Answer, ...]:
        try:
            return self._store.commit([message], self._clock.wall_ms())
        except ProtocolError as err:
            if isinstance(message, Delivery) and message.batch.rows:
                return self._commit_rows(message, str(err))
            who = str(message.sender) if isinstance(message, Delivery | StateSeen) else "?"
            return self._store.commit([self._refuse(who, str(err))], self._clock.wall_ms())

    def _commit_rows(self, message: Delivery, why: str) -> tuple[Answer, ...]:
        """Each row alone; one that still spoils its transaction is named, or its device would send it for ever."""
        rows = message.batch.rows
        if len(rows) > 1:
            parts = [replace(message, batch=structs.replace(message.batch, rows=(row,)), refused=()) for row in rows]
            rest = replace(message, batch=structs.replace(message.batch, rows=()))
            return tuple(answer for part in (*parts, rest) for answer in self._commit_alone(part))
        self._refuse(str(message.sender), f"row {rows[0].seq}: {why}")
        nack = Nack(rows[0].seq, rows[0].seq, why)
        named = replace(message, batch=structs.replace(message.batch, rows=()), refused=(*message.refused, nack))
        return self._store.commit([named], self._clock.wall_ms())

    def _send(self, answer: Answer) -> None:
        topic = DeviceTopics(fleet=answer.sender.fleet, device=answer.sender.device).receipt
        try:
            self._wire.publish(topic, encode_receipt(answer.receipt), qos=1)
        except WireError:
            self.unsent_receipts += 1  # the device sends again, and is answered then


def _delivery(sender: Sender, raw: bytes) -> Delivery:
    try:
        return check_batch(sender, decode_batch(raw))
    except ProtocolError:
        return read_rows(sender, raw)
