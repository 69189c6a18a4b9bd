"""Takes messages into the central database.

Promises: what `commit` was given is durable when it returns, and only then do its receipts exist; a row that is there
already is compared, never overwritten; a body under a taken number is kept as a conflict.
Leaves out: acknowledging and sending receipts (`ingest`), queries (`read`).
Thread: one, the ingest's.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Struct

from edge.central.store.arrived import MAX_NUMBER, Answer, Delivery, Message, Refused, Sender, StateSeen
from edge.central.store.audit import EpochKey, advance, record_gap, record_settled, record_start, report_incident
from edge.central.store.database import GoneError, file_of, open_writer, path_of, translating
from edge.central.store.presence import Presence, note_state
from edge.central.store.updates import record_shadow, record_update
from edge.contract.bodies import UNREADABLE
from edge.contract.messages import EpochStart, Gap, Nack, Range, Receipt, Row, Shadow, Update, decode_body
from edge.errors import ProtocolError

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["Store"]

_INSERT = """
INSERT INTO row (device, epoch, seq, class, type, pipeline, made_ms, arrival, got_ms, hash, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_CONFLICT = """
INSERT INTO conflict (device, epoch, seq, hash, session, got_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
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

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._file = file_of(path)
        self._devices: dict[Sender, int] = {}
        self._fresh: dict[Sender, int] = {}
        self.inserted = 0
        self.duplicates = 0
        self.conflicts = 0

    @classmethod
    def open(cls, url: str) -> Store:
        """Create or open `sqlite:///PATH`, and bring its tables up to date.

        Raises:
            ConfigError: not such a URL.
            StoreError: it cannot be opened, is damaged, or is newer than this program.
        """
        return cls(open_writer(url), path_of(url))

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def commit(self, messages: Sequence[Message], now_ms: int) -> tuple[Answer, ...]:
        """Take all messages in one transaction and return what may be said about them now.

        Raises:
            GoneError: the file was deleted or replaced; what it took now would end with this process.
            StoreError: the database failed; nothing was taken, and the same call may succeed later.
            ProtocolError: a message holds what the tables cannot; nothing was taken. Find it by committing each alone.
        """
        self._fresh = {}
        if file_of(self._path) != self._file:
            raise GoneError(f"central database {self._path} was deleted or replaced while in use; start anew")
        with translating(self._path), self._engine.begin() as connection:
            # The driver's own connection inside SQLAlchemy's transaction: a dozen small statements a device would
            # otherwise cost 35 us each instead of 5.
            database: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
            answers = self._take(database, messages, now_ms)
        self._devices.update(self._fresh)  # not before the commit: a rollback takes them back
        return answers

    def _take(self, database: sqlite3.Connection, messages: Sequence[Message], now_ms: int) -> tuple[Answer, ...]:
        groups = self._groups(database, [each for each in messages if isinstance(each, Delivery)], now_ms)
        self._insert(database, groups, now_ms)
        answers = [self._settle(database, group, now_ms) for group in groups]
        for message in messages:
            if isinstance(message, StateSeen):
                answer = self._see(database, message, now_ms)
                answers.extend([answer] if answer is not None else [])
            elif isinstance(message, Refused):
                report_incident(database, "refused", message.who, message.why, now_ms)
        return tuple(answers)

    def _groups(self, database: sqlite3.Connection, deliveries: Iterable[Delivery], now_ms: int) -> list[_Group]:
        groups: dict[tuple[EpochKey, int], _Group] = {}
        for delivery in deliveries:
            device = self._device(database, delivery.sender, now_ms)
            database.execute("UPDATE device SET last_ms = ? WHERE id = ?", (now_ms, device))
            key = EpochKey(device, delivery.batch.epoch)
            group = groups.setdefault(
                (key, delivery.batch.session),
                _Group(sender=delivery.sender, key=key, session=delivery.batch.session),
            )
            group.rows.extend((row, zlib.crc32(row.body)) for row in delivery.batch.rows)
            group.refused.extend(delivery.refused)
        return list(groups.values())

    def _insert(self, database: sqlite3.Connection, groups: list[_Group], now_ms: int) -> None:
        arrival = (database.execute("SELECT max(arrival) FROM row").fetchone()[0] or 0) + 1
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
        if not values:
            return
        inserted = database.executemany(_INSERT, values).rowcount
        if inserted < len(values):
            for group in groups:
                self._compare(database, group, now_ms)
        conflicts = sum(len(group.conflicts) for group in groups)
        self.inserted += inserted
        self.conflicts += conflicts
        self.duplicates += len(values) - inserted - conflicts
        for group, row in audited:
            if row.seq not in group.conflicts:
                self._audit(database, group, row, now_ms)

    def _compare(self, database: sqlite3.Connection, group: _Group, now_ms: int) -> None:
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

    def _audit(self, database: sqlite3.Connection, group: _Group, row: Row, now_ms: int) -> None:
        try:
            body = decode_body(row.body)
        except ProtocolError as err:
            report_incident(database, "unreadable", str(group.sender), f"row {row.seq}: {err}", now_ms)
            return
        if isinstance(body, Gap):
            record_gap(database, group.key, body)
        elif isinstance(body, EpochStart):
            record_start(database, group.key, body, now_ms)
        elif isinstance(body, Update):
            record_update(database, group.key, row.seq, body, now_ms)
        elif isinstance(body, Shadow):
            record_shadow(database, group.key, body, now_ms)

    def _settle(self, database: sqlite3.Connection, group: _Group, now_ms: int) -> Answer:
        extent = advance(database, group.key, now_ms)
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

    def _see(self, database: sqlite3.Connection, seen: StateSeen, now_ms: int) -> Answer | None:
        device = self._device(database, seen.sender, now_ms)
        presence = note_state(database, device, seen, now_ms)
        if presence is Presence.CLONED:
            detail = f"sessions {seen.state.session} and another take turns: two devices use this name"
            report_incident(database, "cloned", str(seen.sender), detail, now_ms)
        if not seen.state.online or not seen.state.epoch:
            return None
        key = EpochKey(device, seen.state.epoch)
        extent = advance(database, key, now_ms)
        record_settled(database, key, seen.state.settled)
        receipt = Receipt(epoch=seen.state.epoch, upto=extent.upto, highest=extent.highest, session=seen.state.session)
        return Answer(sender=seen.sender, receipt=receipt)

    def _device(self, database: sqlite3.Connection, sender: Sender, now_ms: int) -> int:
        known = self._devices.get(sender) or self._fresh.get(sender)
        if known is not None:
            return known
        database.execute(
            "INSERT INTO device (fleet, name, first_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (sender.fleet, sender.device, now_ms),
        )
        found = database.execute(
            "SELECT id FROM device WHERE fleet = ? AND name = ?", (sender.fleet, sender.device)
        ).fetchone()[0]
        self._fresh[sender] = int(found)
        return int(found)


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
