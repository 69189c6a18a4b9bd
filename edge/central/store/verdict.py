"""Says of each device whether everything it made is here.

Promises: "complete" means that every number the device gave is a row here or a loss that it told of; otherwise it says
how many are missing, and whether they can still come.
Leaves out: why rows were lost (`gap.why`).
Thread: one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.central.store.presence import is_there
from edge.central.store.read import Reader

__all__ = ["DeviceStatus", "EpochStatus", "devices"]


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
        return _devices(reader, now_ms, fleet)


def _devices(reader: Reader, now_ms: int, fleet: str | None) -> tuple[DeviceStatus, ...]:
    found = reader.ask(
        "SELECT id, fleet, name, is_online, last_ms, version, epoch, next_seq, coalesce(backlog_rows, 0), every_ms "
        "FROM device WHERE fleet = coalesce(?, fleet) ORDER BY fleet, name",
        (fleet,),
    )
    incidents = {(what, who): count for what, who, count in reader.ask("SELECT what, who, count FROM incident")}
    statuses = []
    for key, fleet_name, name, is_online, last_ms, version, current, next_seq, backlog_rows, every_ms in found:
        who = f"{fleet_name}/{name}"
        epochs = _epochs(reader, key, current, next_seq)
        short = sum(each.gone for each in epochs)
        pending = sum(each.missing - each.gone for each in epochs)
        statuses.append(
            DeviceStatus(
                fleet=fleet_name,
                device=name,
                is_online=is_there(is_online=bool(is_online), last_ms=last_ms, every_ms=every_ms, now_ms=now_ms),
                last_ms=last_ms,
                version=version,
                rows=sum(each.rows for each in epochs),
                lost=sum(each.lost for each in epochs),
                pending=pending,
                backlog_rows=backlog_rows,
                conflicts=_count(reader, "SELECT count(*) FROM conflict WHERE device = ?", key),
                is_cloned=("cloned", who) in incidents,
                refused=int(incidents.get(("refused", who), 0)),
                epochs=epochs,
                verdict=f"short by {_rows(short)}" if short else f"{_rows(pending)} pending" if pending else "complete",
            )
        )
    return tuple(statuses)


def _epochs(reader: Reader, device: int, current: int | None, next_seq: int | None) -> tuple[EpochStatus, ...]:
    found = reader.ask(
        "SELECT epoch, opened_ms, why, upto, highest, ended, end_seq, settled FROM epoch WHERE device = ? "
        "ORDER BY opened_ms, epoch",
        (device,),
    )
    statuses = []
    for epoch, opened_ms, why, upto, highest, ended, end_seq, settled in found:
        rows, lost = _held(reader, device, epoch, upto)
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


def _held(reader: Reader, device: int, epoch: int, upto: int) -> tuple[int, int]:
    """Rows here, and numbers told as lost that are not here after all.

    The rows up to `upto` are not counted one by one: what is neither told as lost nor absent is there by definition.
    """
    gaps = _merged(reader.ask("SELECT lo, hi FROM gap WHERE device = ? AND epoch = ? ORDER BY lo, hi", (device, epoch)))
    in_gaps = "SELECT count(*) FROM row WHERE device = ? AND epoch = ? AND seq BETWEEN ? AND ?"
    lost = lost_below = 0
    for lo, hi in gaps:
        absent = hi - lo + 1 - _count(reader, in_gaps, device, epoch, lo, hi)
        lost += absent
        lost_below += absent if hi <= upto else 0
    beyond = _count(reader, "SELECT count(*) FROM row WHERE device = ? AND epoch = ? AND seq > ?", device, epoch, upto)
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
