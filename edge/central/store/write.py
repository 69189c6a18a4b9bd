"""Takes messages into the central database.

Promises: what `commit` was given is durable when it returns, and only then do its receipts exist; a row that is there
already is compared, never overwritten; a body under a taken number is kept as a conflict.
Leaves out: acknowledging and sending receipts (`ingest`), queries (`read`).
Thread: one, the ingest's.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Struct

from edge.central.store.arrived import MAX_NUMBER, Answer, Delivery, Message, Refused, Sender, StateSeen
from edge.central.store.audit import (
    Books,
    EpochKey,
    Extent,
    advance,
    read_books,
    record_gap,
    record_settled,
    record_start,
    report_incident,
)
from edge.central.store.database import Database, Transaction, open_writer
from edge.central.store.presence import Presence, note_state
from edge.central.store.updates import record_shadow, record_update
from edge.contract.bodies import UNREADABLE
from edge.contract.messages import EpochStart, Gap, Nack, Range, Receipt, Row, Shadow, Update, decode_body
from edge.errors import ProtocolError, StoreError

__all__ = ["Store"]

_CONFLICT = """
INSERT INTO conflict (device, epoch, seq, hash, session, got_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
_DEVICE = "SELECT id FROM device WHERE fleet = ? AND name = ?"
_NEW_DEVICE = "INSERT INTO device (fleet, name, first_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_MAX_CONFLICTS = 100  # ranges named in one receipt; the rest comes with the next ones


class _Peek(Struct):
    """As much of a body as the indexes need. Reading all of it would double the cost of a row."""

    type: str = ""
    pipeline: str | None = None
    made_ms: Annotated[int, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)] | None = None


_NOTHING = _Peek()
_peek = msgspec.msgpack.Decoder(_Peek).decode
_AUDITED = frozenset({"gap", "epoch", "update", "shadow"})


@dataclass(slots=True)
class _Group:
    """What one run of one device sent of one epoch."""

    sender: Sender
    key: EpochKey
    session: int
    rows: list[tuple[Row, int]] = field(default_factory=list)  # with its hash
    refused: list[Nack] = field(default_factory=list)
    conflicts: set[int] = field(default_factory=set)


class Store:
    """The central database, opened for writing."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._devices: dict[Sender, int] = {}
        self._fresh: dict[Sender, int] = {}
        self.inserted = 0
        self.duplicates = 0
        self.conflicts = 0

    @classmethod
    def open(cls, url: str) -> Store:
        """Create or open it, and bring its tables up to date.

        Raises:
            ConfigError, MissingExtraError, StoreError: see `database.open_writer`.
        """
        return cls(open_writer(url))

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def commit(self, messages: Sequence[Message], now_ms: int) -> tuple[Answer, ...]:
        """Take all messages in one transaction and return what may be said about them now.

        Raises:
            GoneError: the file was deleted or replaced; what it took now would end with this process.
            StoreError: the database failed; nothing was taken, and the same call may succeed later.
            ProtocolError: a message holds what the tables cannot; nothing was taken. Find it by committing each alone.
        """
        self._fresh = {}
        self.database.check()
        try:
            with self.database.transaction() as database:
                answers = self._take(database, messages, now_ms)
        except StoreError:
            self._devices.clear()  # a database that was restored meanwhile has other keys
            raise
        self._devices.update(self._fresh)  # not before the commit: a rollback takes them back
        return answers

    def _take(self, database: Transaction, messages: Sequence[Message], now_ms: int) -> tuple[Answer, ...]:
        self._enter(database, messages, now_ms)
        groups = self._groups([each for each in messages if isinstance(each, Delivery)])
        asking = self._births([each for each in messages if isinstance(each, StateSeen)])
        books = read_books(database, [*(group.key for group in groups), *(key for _, key in asking)])
        told = self._insert(database, groups, books, now_ms)
        for message in messages:
            if isinstance(message, StateSeen):
                self._see(database, message, now_ms)
            elif isinstance(message, Refused):
                report_incident(database, "refused", message.who, message.why, now_ms)
        extents = advance(database, books, _arrived(groups), told, now_ms)
        for seen, key in asking:
            record_settled(database, key, seen.state.settled)
        return (
            *(_receipt(group, extents[group.key]) for group in groups),
            *(_known(seen, extents[key]) for seen, key in asking),
        )

    def _enter(self, database: Transaction, messages: Sequence[Message], now_ms: int) -> None:
        """Know and hold all devices of the messages, always in the same order: another writer may hold some."""
        senders = {each.sender for each in messages if isinstance(each, Delivery | StateSeen)}
        keys = {each: self._device(database, each, now_ms) for each in sorted(senders, key=str)}
        database.lock_devices(sorted(keys.values()))
        speaking = sorted({keys[each.sender] for each in messages if isinstance(each, Delivery)})
        if speaking:
            places = ", ".join("?" * len(speaking))
            database.execute(f"UPDATE device SET last_ms = ? WHERE id IN ({places})", (now_ms, *speaking))  # noqa: S608 - only ?

    def _groups(self, deliveries: Iterable[Delivery]) -> list[_Group]:
        groups: dict[tuple[EpochKey, int], _Group] = {}
        for delivery in deliveries:
            key = EpochKey(self._key(delivery.sender), delivery.batch.epoch)
            group = groups.setdefault(
                (key, delivery.batch.session),
                _Group(sender=delivery.sender, key=key, session=delivery.batch.session),
            )
            group.rows.extend((row, zlib.crc32(row.body)) for row in delivery.batch.rows)
            group.refused.extend(delivery.refused)
        return list(groups.values())

    def _births(self, states: Iterable[StateSeen]) -> list[tuple[StateSeen, EpochKey]]:
        """Those that ask for a receipt, and of which epoch."""
        return [
            (each, EpochKey(self._key(each.sender), each.state.epoch))
            for each in states
            if each.state.online and each.state.epoch
        ]

    def _insert(self, database: Transaction, groups: list[_Group], books: Books, now_ms: int) -> set[EpochKey]:
        """Put rows into the table; return the epochs of which they told gaps."""
        if not any(group.rows for group in groups):
            return set()
        arrival = database.next_arrival()
        values = []
        audited: list[tuple[_Group, Row]] = []
        for group in groups:
            device, epoch = group.key.device, group.key.epoch
            for row, digest in group.rows:
                body = row.body
                try:
                    peek = _peek(body)
                except UNREADABLE:
                    peek = _NOTHING  # kept as it is: a newer version may read it
                if peek.type in _AUDITED:
                    audited.append((group, row))
                values.append(
                    (
                        *(device, epoch, row.seq, int(row.row_class), peek.type, peek.pipeline, peek.made_ms),
                        *(arrival, now_ms, digest, body),
                    )
                )
        highest = {(key.device, key.epoch): extent.highest for key, extent in books.items() if extent is not None}
        inserted = database.insert_rows(values, highest)
        if inserted < len(values):
            for group in groups:
                self._compare(database, group, now_ms)
        conflicts = sum(len(group.conflicts) for group in groups)
        self.inserted += inserted
        self.conflicts += conflicts
        self.duplicates += len(values) - inserted - conflicts
        return {
            group.key
            for group, row in audited
            if row.seq not in group.conflicts and self._audit(database, group, row, now_ms)
        }

    def _compare(self, database: Transaction, group: _Group, now_ms: int) -> None:
        """Some rows were there already: find those whose number holds another body."""
        if not group.rows:
            return
        seqs = [row.seq for row, _ in group.rows]
        found = database.execute(
            "SELECT seq, hash FROM row WHERE device = ? AND epoch = ? AND seq BETWEEN ? AND ?",
            (group.key.device, group.key.epoch, min(seqs), max(seqs)),
        )
        held = {int(seq): int(digest) for seq, digest in found}
        others = [(row, digest) for row, digest in group.rows if held[row.seq] != digest]
        if not others:
            return
        group.conflicts.update(row.seq for row, _ in others)
        database.executemany(
            _CONFLICT,
            [
                (group.key.device, group.key.epoch, row.seq, digest, group.session, now_ms, row.body)
                for row, digest in others
            ],
        )
        detail = f"epoch {group.key.epoch}: {len(others)} numbers used twice, first {others[0][0].seq}"
        report_incident(database, "conflict", str(group.sender), detail, now_ms, len(others))

    def _audit(self, database: Transaction, group: _Group, row: Row, now_ms: int) -> bool:
        """Enter in the books what a row tells; return whether it told a gap."""
        try:
            body = decode_body(row.body)
        except ProtocolError as err:
            report_incident(database, "unreadable", str(group.sender), f"row {row.seq}: {err}", now_ms)
            return False
        if isinstance(body, Gap):
            record_gap(database, group.key, body)
        elif isinstance(body, EpochStart):
            record_start(database, group.key, body, now_ms)
        elif isinstance(body, Update):
            record_update(database, group.key, row.seq, body, now_ms)
        elif isinstance(body, Shadow):
            record_shadow(database, group.key, body, now_ms)
        return isinstance(body, Gap)

    def _see(self, database: Transaction, seen: StateSeen, now_ms: int) -> None:
        device = self._key(seen.sender)
        presence = note_state(database, device, seen, now_ms)
        if presence is Presence.CLONED:
            detail = f"sessions {seen.state.session} and another take turns: two devices use this name"
            report_incident(database, "cloned", str(seen.sender), detail, now_ms)

    def _device(self, database: Transaction, sender: Sender, now_ms: int) -> int:
        known = self._devices.get(sender)
        if known is not None:
            return known
        where = (sender.fleet, sender.device)
        found = database.execute(_DEVICE, where).fetchone()
        if found is None:
            database.execute(_NEW_DEVICE, (*where, now_ms))
            found = database.execute(_DEVICE, where).fetchone()
        self._fresh[sender] = int(found[0])
        return int(found[0])

    def _key(self, sender: Sender) -> int:
        return self._devices.get(sender) or self._fresh[sender]


def _arrived(groups: Iterable[_Group]) -> dict[EpochKey, set[int]]:
    """Numbers that have a row now: their own, or where they are in conflict, another."""
    arrived: dict[EpochKey, set[int]] = {}
    for group in groups:
        arrived.setdefault(group.key, set()).update(row.seq for row, _ in group.rows)
    return arrived


def _receipt(group: _Group, extent: Extent) -> Answer:
    held = {row.seq for row, _ in group.rows} - group.conflicts
    receipt = Receipt(
        epoch=group.key.epoch,
        upto=extent.upto,
        highest=extent.highest,
        session=group.session,
        ranges=_ranges(held),
        nack=tuple(group.refused),
        conflicts=_ranges(group.conflicts)[:_MAX_CONFLICTS],
    )
    return Answer(sender=group.sender, receipt=receipt)


def _known(seen: StateSeen, extent: Extent) -> Answer:
    receipt = Receipt(epoch=seen.state.epoch, upto=extent.upto, highest=extent.highest, session=seen.state.session)
    return Answer(sender=seen.sender, receipt=receipt)


def _ranges(seqs: Iterable[int]) -> tuple[Range, ...]:
    """The fewest ranges that hold exactly these numbers."""
    ranges: list[Range] = []
    lo = hi = 0
    for seq in sorted(seqs):
        if seq == hi + 1 and lo:
            hi = seq
            continue
        if lo:
            ranges.append(Range(lo, hi))
        lo = hi = seq
    return (*ranges, Range(lo, hi)) if lo else ()
