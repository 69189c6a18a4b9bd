"""Events, gaps and incidents.

Promises: pages in the order of a key, newest first where there is a time.
Leaves out: what they mean for completeness (`devices`).
Thread: any of the pool's.
"""

from __future__ import annotations

from fastapi import APIRouter

from edge.central.access.roles import Scope
from edge.central.api.context import ReaderOf, needs
from edge.central.api.cursors import decode_cursor, encode_cursor
from edge.central.api.shapes import Cursor, DeviceQuery, Limit, Moment, Told, Word
from edge.central.store.events import events, gaps, incidents
from edge.central.store.results import NEWEST, Place

__all__ = ["router"]

router = APIRouter(tags=["events"], dependencies=[needs(Scope.DEVICES_READ)])


class EventTold(Told):
    """Something changed at a device. `made_ms` by its clock, `got_ms` by ours."""

    fleet: str
    device: str
    epoch: int
    seq: int
    name: str
    state: str
    pipeline: str
    detail: str
    made_ms: int
    got_ms: int


class EventPage(Told):
    """Events, newest first."""

    items: list[EventTold]
    next: str | None


class GapTold(Told):
    """Rows `lo` to `hi` of an epoch that will never come, and why."""

    fleet: str
    device: str
    epoch: int
    lo: int
    hi: int
    why: str


class GapPage(Told):
    """Gaps, device by device."""

    items: list[GapTold]
    next: str | None


class IncidentTold(Told):
    """One kind of trouble with one sender, and how often it came."""

    what: str
    who: str
    count: int
    first_ms: int
    last_ms: int
    detail: str


@router.get("/events")
def list_events(
    reader: ReaderOf,
    device: DeviceQuery = None,
    name: Word = None,
    since_ms: Moment = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> EventPage:
    """What devices reported: a camera that went blind, a source that came back."""
    before = NEWEST if cursor is None else _place(cursor)
    found = events(reader, before=before, limit=limit, device=device, name=name, since_ms=since_ms)
    items = [
        EventTold(
            fleet=each.fleet,
            device=each.device,
            epoch=each.place[2],
            seq=each.place[3],
            name=each.name,
            state=each.state,
            pipeline=each.pipeline,
            detail=each.detail,
            made_ms=each.place[0],
            got_ms=each.got_ms,
        )
        for each in found
    ]
    return EventPage(items=items, next=encode_cursor(found[-1].place) if len(found) == limit else None)


@router.get("/gaps")
def list_gaps(reader: ReaderOf, device: DeviceQuery = None, cursor: Cursor = None, limit: Limit = 100) -> GapPage:
    """What devices said they lost."""
    after = (0, 0, 0, 0) if cursor is None else _place(cursor)
    found = gaps(reader, after=after, limit=limit, device=device)
    items = [
        GapTold(
            fleet=each.fleet,
            device=each.device,
            epoch=each.place[1],
            lo=each.place[2],
            hi=each.place[3],
            why=each.why,
        )
        for each in found
    ]
    return GapPage(items=items, next=encode_cursor(found[-1].place) if len(found) == limit else None)


@router.get("/incidents")
def list_incidents(reader: ReaderOf, limit: Limit = 100) -> list[IncidentTold]:
    """What someone should look at: messages nobody could read, names that two devices use, numbers used twice."""
    return [IncidentTold.model_validate(each) for each in incidents(reader, limit)]


def _place(cursor: str) -> Place:
    first, second, third, fourth = decode_cursor(cursor, int, int, int, int)
    return int(first), int(second), int(third), int(fourth)
