"""Says of each device whether everything it made is here.

Promises: "complete" means that every number the device gave is a row here or a loss that it told of; otherwise it says
how many are missing, and whether they can still come.
Leaves out: why rows were lost (`gap.why`).
Thread: one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge.central.store.presence import is_there
from edge.central.store.read import Reader

__all__ = ["DeviceStatus", "EpochStatus", "devices", "judged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStatus:
    """One lineage. `lost` numbers were told as gaps; `missing` are neither here nor told.

    `gone` of the missing can come no more: their epoch is over, or the device holds them no longer.
    `end` is the last number that the device gave, as far as known; `is_ended` when a later epoch followed.
    """

    epoch: int
    opened_ms: int
    why: str | None
    rows: int
    lost: int
    upto: int
    highest: int
    end: int | None
    is_ended: bool
    missing: int
    gone: int
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """One device. `pending` numbers were given in the epoch that goes on and may still come."""

    fleet: str
    device: str
    is_online: bool
    last_ms: int | None
    version: str | None
    rows: int
    lost: int
    pending: int
    backlog_rows: int
    conflicts: int
    is_cloned: bool
    refused: int
    epochs: tuple[EpochStatus, ...]
    verdict: str


def devices(reader: Reader, now_ms: int, *, fleet: str | None = None) -> tuple[DeviceStatus, ...]:
    """How every device is, by fleet and name. `now_ms` decides whose silence is an absence."""
    with reader.snapshot():
        incidents = reader.ask("SELECT what, who, count FROM incident")
        clause = "fleet = coalesce(?, fleet)"
        return tuple(status for _, status in _devices(reader, now_ms, clause, (fleet,), incidents))


def judged(reader: Reader, now_ms: int, keys: Sequence[int]) -> list[tuple[int, DeviceStatus]]:
    """How these devices are, by key, in the order of fleet and name. At most some hundreds: a page of them.

    Call it inside a snapshot.
    """
    clause = f"id IN ({', '.join('?' * len(keys))})"
    incidents = reader.ask(
        "SELECT i.what, i.who, i.count FROM device d JOIN incident i ON i.who = d.fleet || '/' || d.name "  # noqa: S608
        f"AND i.what IN ('cloned', 'refused') WHERE d.{clause}",
        tuple(keys),
    )
    return _devices(reader, now_ms, clause, tuple(keys), incidents)


def _devices(
    reader: Reader, now_ms: int, clause: str, values: tuple[Any, ...], told: list[tuple[Any, ...]]
) -> list[tuple[int, DeviceStatus]]:
    found = reader.ask(
        "SELECT id, fleet, name, is_online, last_ms, version, epoch, next_seq, "  # noqa: S608 - clauses of ours
        f"coalesce(backlog_rows, 0), every_ms FROM device WHERE {clause} ORDER BY fleet, name",
        values,
    )
    incidents = {(what, who): count for what, who, count in told}
    books = _books(reader, clause, values)
    statuses = []
    for key, fleet_name, name, is_online, last_ms, version, current, next_seq, backlog_rows, every_ms in found:
        who = f"{fleet_name}/{name}"
        epochs = _epochs(reader, books, key, current, next_seq)
        short = sum(each.gone for each in epochs)
        pending = sum(each.missing - each.gone for each in epochs)
        status = DeviceStatus(
            fleet=fleet_name,
            device=name,
            is_online=is_there(is_online=bool(is_online), last_ms=last_ms, every_ms=every_ms, now_ms=now_ms),
            last_ms=last_ms,
            version=version,
            rows=sum(each.rows for each in epochs),
            lost=sum(each.lost for each in epochs),
            pending=pending,
            backlog_rows=backlog_rows,
            conflicts=books.conflicts.get(key, 0),
            is_cloned=("cloned", who) in incidents,
            refused=int(incidents.get(("refused", who), 0)),
            epochs=epochs,
            verdict=f"short by {_rows(short)}" if short else f"{_rows(pending)} pending" if pending else "complete",
        )
        statuses.append((key, status))
    return statuses


@dataclass(frozen=True, slots=True)
class _Books:
    """What is written down of some devices, read at once: a question for each would cost more than its answer."""

    epochs: Mapping[int, list[tuple[Any, ...]]]
    gaps: Mapping[tuple[int, int], list[tuple[int, int]]]
    conflicts: Mapping[int, int]


def _books(reader: Reader, clause: str, values: tuple[Any, ...]) -> _Books:
    among = f"WHERE device IN (SELECT id FROM device WHERE {clause})"  # noqa: S608 - clauses of ours
    epochs: dict[int, list[tuple[Any, ...]]] = {}
    for key, *fields in reader.ask(
        "SELECT device, epoch, opened_ms, why, upto, highest, ended, end_seq, settled FROM epoch "  # noqa: S608
        f"{among} ORDER BY device, opened_ms, epoch",
        values,
    ):
        epochs.setdefault(key, []).append(tuple(fields))
    gaps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for key, epoch, lo, hi in reader.ask(
        f"SELECT device, epoch, lo, hi FROM gap {among} ORDER BY device, epoch, lo, hi",  # noqa: S608
        values,
    ):
        gaps.setdefault((key, epoch), []).append((lo, hi))
    conflicts = reader.ask(f"SELECT device, count(*) FROM conflict {among} GROUP BY device", values)  # noqa: S608
    return _Books(epochs, gaps, {int(key): int(count) for key, count in conflicts})


def _epochs(
    reader: Reader, books: _Books, device: int, current: int | None, next_seq: int | None
) -> tuple[EpochStatus, ...]:
    statuses = []
    for epoch, opened_ms, why, upto, highest, ended, end_seq, settled in books.epochs.get(device, ()):
        rows, lost = _held(reader, books, (device, epoch), upto, highest)
        claim = end_seq if ended else next_seq if epoch == current else None
        end = claim - 1 if claim else None
        missing = max(end or 0, highest) - rows - lost
        is_over = bool(ended) or epoch != current
        gone = missing if is_over else min(missing, _gone(reader, device, epoch, upto, settled))
        statuses.append(
            EpochStatus(
                epoch=epoch,
                opened_ms=opened_ms,
                why=why,
                rows=rows,
                lost=lost,
                upto=upto,
                highest=highest,
                end=end,
                is_ended=bool(ended),
                missing=missing,
                gone=gone,
                verdict=_verdict(missing, gone, is_ended=bool(ended), is_end_known=bool(claim)),
            )
        )
    return tuple(statuses)


def _verdict(missing: int, gone: int, *, is_ended: bool, is_end_known: bool) -> str:
    if missing:
        return f"short by {_rows(gone)}" if gone else f"{_rows(missing)} pending"
    if is_ended and not is_end_known:
        return "complete as far as known: its device lost count"
    return "complete"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _held(reader: Reader, books: _Books, key: tuple[int, int], upto: int, highest: int) -> tuple[int, int]:
    """Rows here, and numbers told as lost that are not here after all.

    The rows up to `upto` are not counted one by one: what is neither told as lost nor absent is there by definition.
    """
    gaps = _merged(books.gaps.get(key, []))
    in_gaps = "SELECT count(*) FROM row WHERE device = ? AND epoch = ? AND seq BETWEEN ? AND ?"
    lost = lost_below = 0
    for lo, hi in gaps:
        absent = hi - lo + 1 - _count(reader, in_gaps, *key, lo, hi)
        lost += absent
        lost_below += absent if hi <= upto else 0
    beyond = 0
    if highest > upto:
        beyond = _count(reader, "SELECT count(*) FROM row WHERE device = ? AND epoch = ? AND seq > ?", *key, upto)
    return upto - lost_below + beyond, lost


def _gone(reader: Reader, device: int, epoch: int, upto: int, settled: int) -> int:
    """Numbers below `settled` that are neither here nor told as lost."""
    if settled - 1 <= upto:
        return 0
    here = "SELECT count(*) FROM row WHERE device = ? AND epoch = ? AND seq BETWEEN ? AND ?"
    lo, hi = upto + 1, settled - 1
    explained = _count(reader, here, device, epoch, lo, hi)
    told = reader.ask(
        "SELECT lo, hi FROM gap WHERE device = ? AND epoch = ? AND hi >= ? AND lo <= ? ORDER BY lo, hi",
        (device, epoch, lo, hi),
    )
    for from_seq, to_seq in _merged(told):
        first, last = max(from_seq, lo), min(to_seq, hi)
        explained += last - first + 1 - _count(reader, here, device, epoch, first, last)
    return hi - lo + 1 - explained


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order of `lo`, with overlaps joined. `upto` never stands inside one: it walks over a gap whole."""
    merged: list[tuple[int, int]] = []
    for lo, hi in ranges:
        if merged and lo <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(hi, merged[-1][1]))
        else:
            merged.append((lo, hi))
    return merged


def _count(reader: Reader, statement: str, *parameters: int) -> int:
    return int(reader.ask(statement, parameters)[0][0])
