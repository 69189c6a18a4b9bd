"""Pages of events and gaps, and what someone should look at.

Promises: newest first, in the order of a key, so that a page can begin where another ended.
Leaves out: results (`results`), the judgement whether anything is missing (`verdict`).
Thread: one at a time; a reader's.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.central.store.read import Reader
from edge.central.store.results import NEWEST, Place

__all__ = ["Happened", "Incident", "Lost", "events", "gaps", "incidents"]

_EVENTS = """
SELECT e.made_ms, e.device, e.epoch, e.seq, d.fleet, d.name, e.name, e.state, e.pipeline, e.detail, e.got_ms
FROM event e JOIN device d ON d.id = e.device
WHERE (e.made_ms, e.device, e.epoch, e.seq) < (?, ?, ?, ?){filters}
ORDER BY e.made_ms DESC, e.device DESC, e.epoch DESC, e.seq DESC LIMIT ?
"""
_GAPS = """
SELECT g.device, g.epoch, g.lo, g.hi, d.fleet, d.name, g.why FROM gap g JOIN device d ON d.id = g.device
WHERE (g.device, g.epoch, g.lo, g.hi) > (?, ?, ?, ?){filters}
ORDER BY g.device, g.epoch, g.lo, g.hi LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event of a device. `made_ms` by its clock, `got_ms` by ours."""

    place: Place
    fleet: str
    device: str
    name: str
    state: str
    pipeline: str
    detail: str
    got_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Rows `lo` to `hi` of an epoch that will never come, as the device said."""

    place: Place
    fleet: str
    device: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One kind of trouble with one sender, and how often it came."""

    what: str
    who: str
    count: int
    first_ms: int
    last_ms: int
    detail: str


def events(
    reader: Reader,
    *,
    before: Place = NEWEST,
    limit: int = 100,
    device: str | None = None,
    name: str | None = None,
    since_ms: int | None = None,
) -> list[Happened]:
    """The newest events older than `before`. `device` is FLEET/NAME."""
    filters, values = _of_device(device)
    for clause, value in ((" AND e.name = ?", name), (" AND e.made_ms >= ?", since_ms)):
        if value is not None:
            filters += clause
            values.append(value)
    found = reader.ask(_EVENTS.format(filters=filters), (*before, *values, limit))
    return [
        Happened(
            place=(made_ms, key, epoch, seq),
            fleet=fleet,
            device=at,
            name=what,
            state=state,
            pipeline=pipeline,
            detail=detail,
            got_ms=got_ms,
        )
        for made_ms, key, epoch, seq, fleet, at, what, state, pipeline, detail, got_ms in found
    ]


def gaps(reader: Reader, *, after: Place = (0, 0, 0, 0), limit: int = 100, device: str | None = None) -> list[Lost]:
    """What devices said is lost, device by device."""
    filters, values = _of_device(device)
    found = reader.ask(_GAPS.format(filters=filters), (*after, *values, limit))
    return [
        Lost(place=(key, epoch, lo, hi), fleet=fleet, device=name, why=why)
        for key, epoch, lo, hi, fleet, name, why in found
    ]


def incidents(reader: Reader, limit: int) -> list[Incident]:
    """What came last first; one line for each kind and sender."""
    found = reader.ask(
        "SELECT what, who, count, first_ms, last_ms, detail FROM incident ORDER BY last_ms DESC, what, who LIMIT ?",
        (limit,),
    )
    return [
        Incident(what=what, who=who, count=count, first_ms=first_ms, last_ms=last_ms, detail=detail)
        for what, who, count, first_ms, last_ms, detail in found
    ]


def _of_device(device: str | None) -> tuple[str, list[object]]:
    if device is None:
        return "", []
    fleet, _, name = device.partition("/")
    return " AND d.fleet = ? AND d.name = ?", [fleet, name]
