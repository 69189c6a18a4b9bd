"""Keeps the books of each epoch: what is here, what will never come, where it ends.

Promises: `upto` is what the table and the gaps hold, step by step from where it last stood; no message can move it
past a number that is in neither.
Everything here runs inside the caller's transaction.
Leaves out: inserting rows (`write`) and judging (`read`).
Thread: the writer's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edge.central.store.arrived import MAX_NUMBER
from edge.central.store.database import Transaction
from edge.contract.messages import EpochStart, Gap

__all__ = [
    "Books",
    "EpochKey",
    "Extent",
    "advance",
    "read_books",
    "record_gap",
    "record_settled",
    "record_start",
    "report_incident",
]

_Where: TypeAlias = tuple[int, int]  # device, epoch

_STRIDE = 512  # rows looked at in one go: a hole that stays open costs one such look a commit

_OPEN = """
INSERT INTO epoch (device, epoch, opened_ms, upto, highest) VALUES (?, ?, ?, 0, 0) ON CONFLICT DO NOTHING
"""
_BOOKS = "SELECT upto, highest FROM epoch WHERE device = ? AND epoch = ?"
_ADVANCE = """
INSERT INTO epoch (device, epoch, opened_ms, upto, highest) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (device, epoch) DO UPDATE SET upto = excluded.upto, highest = excluded.highest
"""
_NEXT = """
SELECT count(*), min(seq), max(seq)
FROM (SELECT seq FROM row WHERE device = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?) AS following
"""
_SEQS = "SELECT seq FROM row WHERE device = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?"
_GAP = "SELECT max(hi) FROM gap WHERE device = ? AND epoch = ? AND lo <= ? AND hi >= ?"
_HIGHEST = """
SELECT coalesce((SELECT max(seq) FROM row WHERE device = ? AND epoch = ?), 0),
       coalesce((SELECT max(hi) FROM gap WHERE device = ? AND epoch = ?), 0)
"""
_END = """
INSERT INTO epoch (device, epoch, opened_ms, upto, highest, ended, end_seq) VALUES (?, ?, ?, 0, 0, 1, ?)
ON CONFLICT (device, epoch) DO UPDATE SET
  ended = 1, end_seq = CASE WHEN epoch.end_seq > excluded.end_seq THEN epoch.end_seq
    ELSE coalesce(excluded.end_seq, epoch.end_seq) END
"""
_INCIDENT = """
INSERT INTO incident (what, who, count, first_ms, last_ms, detail) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (what, who) DO UPDATE SET
  count = incident.count + excluded.count, last_ms = excluded.last_ms, detail = excluded.detail
"""
_MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class EpochKey:
    """One lineage of one device, by the device's integer key."""

    device: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Extent:
    """How far an epoch reaches here: 1 to `upto` without a hole, and `highest` at all."""

    upto: int
    highest: int


Books: TypeAlias = Mapping[EpochKey, Extent | None]

_NOWHERE = Extent(0, 0)


def read_books(database: Transaction, keys: Iterable[EpochKey]) -> Books:
    """How far each epoch reached before this transaction. One that is new here reached nowhere."""
    asked = list(dict.fromkeys(keys))
    found = database.ask_each(_BOOKS, [(key.device, key.epoch) for key in asked])
    return {key: Extent(*rows[0]) if rows else None for key, rows in zip(asked, found, strict=True)}


def advance(
    database: Transaction,
    books: Books,
    arrived: Mapping[EpochKey, Iterable[int]],
    told: Collection[EpochKey],
    now_ms: int,
) -> dict[EpochKey, Extent]:
    """Open epochs where they are new, and move `upto` over what the table holds; return how far each reaches now.

    `arrived` are the numbers that lie in the table since this transaction at the latest, `told` the epochs of which it
    told gaps. Where an epoch had no hole, has no new one and was told of no gap, nothing need be read again.
    """
    extents = {key: _grown(extent or _NOWHERE, arrived.get(key, ())) for key, extent in books.items()}
    unsure = [key for key, extent in extents.items() if extent.upto < extent.highest or key in told]
    if unsure:
        extents.update(_read(database, {key: books[key] or _NOWHERE for key in unsure}))
    database.executemany(
        _ADVANCE,
        [
            (key.device, key.epoch, now_ms, extent.upto, extent.highest)
            for key, extent in extents.items()
            if extent != books[key]
        ],
    )
    return extents


def _grown(extent: Extent, seqs: Iterable[int]) -> Extent:
    """What it is when these numbers are there as well. Where `upto` is not all, there may be more than this knows."""
    upto, highest = extent.upto, extent.highest
    for seq in sorted(seqs):
        if seq == upto + 1:
            upto = seq
        highest = max(highest, seq)
    return Extent(upto, highest)


def _read(database: Transaction, books: Mapping[EpochKey, Extent]) -> dict[EpochKey, Extent]:
    """How far epochs reach by the table and the gaps, from where they stood.

    Each question is asked for all of them, so that a server answers in one go.
    """
    wheres = {(key.device, key.epoch): key for key in books}
    reached = {(key.device, key.epoch): extent.upto for key, extent in books.items()}
    going = reached
    while going:
        over_rows = _over_rows(database, going)
        over_gaps = _over_gaps(database, over_rows)
        reached = {**reached, **over_gaps}
        going = {where: upto for where, upto in over_gaps.items() if upto != over_rows[where]}
    highest = database.ask_each(_HIGHEST, [where + where for where in wheres])
    return {
        wheres[where]: Extent(upto, max(*found[0], upto))
        for (where, upto), found in zip(reached.items(), highest, strict=True)
    }


def _over_gaps(database: Transaction, reached: Mapping[_Where, int]) -> dict[_Where, int]:
    """How far the gap goes that begins right after, if one does."""
    found = database.ask_each(_GAP, [(*where, upto + 1, upto + 1) for where, upto in reached.items()])
    return {
        where: upto if rows[0][0] is None else int(rows[0][0])
        for (where, upto), rows in zip(reached.items(), found, strict=True)
    }


def _over_rows(database: Transaction, reached: Mapping[_Where, int]) -> dict[_Where, int]:
    """How far the rows go that follow right after, if some do."""
    over = dict(reached)
    going = dict(reached)
    while going:
        asked = [(*where, upto, _STRIDE) for where, upto in going.items()]
        found = dict(zip(going, database.ask_each(_NEXT, asked), strict=True))
        ends = {where: _end(database, where, going[where], *rows[0]) for where, rows in found.items()}
        over.update(ends)
        going = {where: upto for where, upto in ends.items() if upto - going[where] == _STRIDE}
    return over


def _end(database: Transaction, where: _Where, upto: int, count: int, lowest: int | None, highest: int) -> int:
    """The end of the run that begins right after `upto`, among the next `count` rows."""
    if lowest != upto + 1:
        return upto
    if highest - lowest + 1 == count:
        return int(highest)
    for (seq,) in database.execute(_SEQS, (*where, upto, _STRIDE)).fetchall():
        if seq != upto + 1:
            break
        upto = seq
    return upto


def record_settled(database: Transaction, key: EpochKey, settled: int) -> None:
    """The device holds nothing below `settled` any more. It only ever grows, whatever order states come in."""
    database.execute(
        "UPDATE epoch SET settled = ? WHERE device = ? AND epoch = ? AND settled < ?",
        (settled, key.device, key.epoch, settled),
    )


def record_gap(database: Transaction, key: EpochKey, body: Gap) -> None:
    """Rows of this epoch will never come."""
    ranges = [
        (key.device, key.epoch, each.lo, each.hi, body.why) for each in body.ranges if _is_range(each.lo, each.hi)
    ]
    if ranges:
        database.executemany(
            "INSERT INTO gap (device, epoch, lo, hi, why) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", ranges
        )


def _is_range(lo: int, hi: int) -> bool:
    return 0 < lo <= hi <= MAX_NUMBER


def record_start(database: Transaction, key: EpochKey, body: EpochStart, now_ms: int) -> None:
    """This epoch began; the one before it is over.

    A card that was copied lets two epochs name the same one before: the later end is the true one.
    """
    prev = body.prev if body.prev is not None and 0 < body.prev <= MAX_NUMBER else None
    database.execute(_OPEN, (key.device, key.epoch, now_ms))
    database.execute(
        "UPDATE epoch SET why = ?, prev = ? WHERE device = ? AND epoch = ?",
        (body.why.value, prev, key.device, key.epoch),
    )
    if prev is not None:
        end = body.prev_end if body.prev_end is not None and 0 < body.prev_end <= MAX_NUMBER else None
        database.execute(_END, (key.device, prev, now_ms, end))


def report_incident(database: Transaction, what: str, who: str, detail: str, now_ms: int, count: int = 1) -> None:
    """Note what someone should look at; the newest detail of a kind and sender is kept, and how often it came."""
    database.execute(_INCIDENT, (what, who, count, now_ms, now_ms, detail[:_MAX_DETAIL]))
