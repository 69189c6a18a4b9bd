"""Keeps the books of each epoch: what is here, what will never come, where it ends.

Promises: `upto` is read from the table and the gaps, step by step from where it last stood; no message can move it.
Everything here runs inside the caller's transaction.
Leaves out: inserting rows (`write`) and judging (`read`).
Thread: the writer's.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from edge.central.store.arrived import MAX_NUMBER
from edge.contract.messages import EpochStart, Gap

__all__ = ["EpochKey", "Extent", "advance", "record_gap", "record_settled", "record_start", "report_incident"]

_STRIDE = 512  # rows looked at in one go: a hole that stays open costs one such look a commit

_OPEN = """
INSERT INTO epoch (device, epoch, opened_ms, upto, highest) VALUES (?, ?, ?, 0, 0) ON CONFLICT DO NOTHING
"""
_NEXT = """
SELECT count(*), min(seq), max(seq)
FROM (SELECT seq FROM row WHERE device = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?)
"""
_SEQS = "SELECT seq FROM row WHERE device = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?"
_GAP = "SELECT max(hi) FROM gap WHERE device = ? AND epoch = ? AND lo <= ? AND hi >= ?"
_HIGHEST = """
SELECT max(coalesce((SELECT max(seq) FROM row WHERE device = ? AND epoch = ?), 0),
           coalesce((SELECT max(hi) FROM gap WHERE device = ? AND epoch = ?), 0))
"""
_END = """
INSERT INTO epoch (device, epoch, opened_ms, upto, highest, ended, end_seq) VALUES (?, ?, ?, 0, 0, 1, ?)
ON CONFLICT (device, epoch) DO UPDATE SET
  ended = 1, end_seq = nullif(max(coalesce(end_seq, 0), coalesce(excluded.end_seq, 0)), 0)
"""
_INCIDENT = """
INSERT INTO incident (what, who, count, first_ms, last_ms, detail) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (what, who) DO UPDATE SET
  count = count + excluded.count, last_ms = excluded.last_ms, detail = excluded.detail
"""
_MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class EpochKey:
    """One lineage of one device, by the device's integer key."""

    device: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How far an epoch reaches here: 1 to `upto` without a hole, and `highest` at all."""

    upto: int
    highest: int


def advance(database: sqlite3.Connection, key: EpochKey, now_ms: int) -> Extent:
    """Open the epoch where it is new, and move `upto` over what the table holds."""
    where = (key.device, key.epoch)
    stored = database.execute("SELECT upto, highest FROM epoch WHERE device = ? AND epoch = ?", where).fetchone()
    if stored is None:
        database.execute(_OPEN, (*where, now_ms))
    upto = 0 if stored is None else int(stored[0])
    while True:
        reached = _over_rows(database, key, upto)
        upto = _over_gaps(database, key, reached)
        if upto == reached:
            break
    highest = max(int(database.execute(_HIGHEST, where + where).fetchone()[0]), upto)
    if stored is None or (upto, highest) != tuple(stored):
        database.execute(
            "UPDATE epoch SET upto = ?, highest = ? WHERE device = ? AND epoch = ?", (upto, highest, *where)
        )
    return Extent(upto=upto, highest=highest)


def _over_gaps(database: sqlite3.Connection, key: EpochKey, upto: int) -> int:
    after = upto + 1
    found = database.execute(_GAP, (key.device, key.epoch, after, after)).fetchone()[0]
    return upto if found is None else int(found)


def _over_rows(database: sqlite3.Connection, key: EpochKey, upto: int) -> int:
    while True:
        parameters = (key.device, key.epoch, upto, _STRIDE)
        count, lowest, highest = database.execute(_NEXT, parameters).fetchone()
        if count == 0 or lowest != upto + 1:
            return upto
        if highest - lowest + 1 != count:
            for (seq,) in database.execute(_SEQS, parameters).fetchall():
                if seq != upto + 1:
                    break
                upto = seq
            return upto
        upto = int(highest)
        if count < _STRIDE:
            return upto


def record_settled(database: sqlite3.Connection, key: EpochKey, settled: int) -> None:
    """The device holds nothing below `settled` any more. It only ever grows, whatever order states come in."""
    database.execute(
        "UPDATE epoch SET settled = ? WHERE device = ? AND epoch = ? AND settled < ?",
        (settled, key.device, key.epoch, settled),
    )


def record_gap(database: sqlite3.Connection, key: EpochKey, body: Gap) -> None:
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


def record_start(database: sqlite3.Connection, key: EpochKey, body: EpochStart, now_ms: int) -> None:
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


def report_incident(
    database: sqlite3.Connection, what: str, who: str, detail: str, now_ms: int, count: int = 1
) -> None:
    """Note what someone should look at; the newest detail of a kind and sender is kept, and how often it came."""
    database.execute(_INCIDENT, (what, who, count, now_ms, now_ms, detail[:_MAX_DETAIL]))
