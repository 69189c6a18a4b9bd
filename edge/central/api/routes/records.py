"""What was used, and who did what.

Promises: sums are of all results that came, thinned out or not; the audit log is read only.
Leaves out: counting (`central.store.catalogue`), writing the log (`central.store.journal`, `log`).
Thread: any of the pool's.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from edge.central.access.roles import Scope
from edge.central.api.context import BackendOf, ReaderOf, needs
from edge.central.api.cursors import decode_cursor, encode_cursor
from edge.central.api.shapes import Cursor, FleetQuery, Limit, Told, Word
from edge.central.store.catalogue import DAY_MS
from edge.central.store.journal import lines
from edge.central.store.usage import usage
from edge.errors import InputError

__all__ = ["router"]

router = APIRouter()

_EPOCH = date(1970, 1, 1)
_DEFAULT_DAYS = 30
_LATEST = (1 << 62, "", 0)
_Group = Literal["day", "fleet", "device", "pipeline", "model"]


class UsedTold(Told):
    """One line; what was summed over is empty. Days are UTC, by the devices' clocks."""

    day: date | None
    fleet: str
    device: str
    pipeline: str
    model: str
    results: int
    skipped: int


class DeedTold(Told):
    """Who did what to what; no address where it was a command line on the service's own machine."""

    at_ms: int
    who: str
    address: str
    what: str
    about: str
    detail: str


class DeedPage(Told):
    """Deeds, newest first."""

    items: list[DeedTold]
    next: str | None


@router.get("/usage", tags=["usage"], dependencies=[needs(Scope.RESULTS_READ)])
def show_usage(
    backend: BackendOf,
    reader: ReaderOf,
    by: Annotated[list[_Group], Query(description="What to keep apart.")] = ["day", "fleet", "device"],  # noqa: B006 - FastAPI copies it
    since: Annotated[date | None, Query(description="First day, thirty days ago by default.")] = None,
    until: Annotated[date | None, Query(description="Last day, today by default.")] = None,
    fleet: FleetQuery = None,
    device: Word = None,
) -> list[UsedTold]:
    """Inferences, and frames that the gate kept from the model: what one bills by. At most 10,000 lines."""
    last = backend.clock.wall_ms() // DAY_MS if until is None else (until - _EPOCH).days
    first = last - _DEFAULT_DAYS if since is None else (since - _EPOCH).days
    if first > last:
        raise InputError(f"since {since} is after until {until or 'today'}")
    found = usage(
        reader,
        by=tuple(by),
        from_day=first,
        to_day=last,
        fleet=fleet,
        device=device,
    )
    return [
        UsedTold(
            day=_date(each.day),
            fleet=each.fleet,
            device=each.device,
            pipeline=each.pipeline,
            model=each.model,
            results=each.results,
            skipped=each.skipped,
        )
        for each in found
    ]


@router.get("/audit", tags=["audit"], dependencies=[needs(Scope.AUDIT_READ)])
def show_audit(
    reader: ReaderOf, who: Word = None, about: Word = None, cursor: Cursor = None, limit: Limit = 100
) -> DeedPage:
    """Who did what: people, tokens, labels, pins, rollouts."""
    at_ms, source, number = _LATEST if cursor is None else decode_cursor(cursor, int, str, int)
    found = lines(reader, before=(int(at_ms), str(source), int(number)), limit=limit, who=who, about=about)
    last = found[-1] if len(found) == limit else None
    return DeedPage(
        items=[DeedTold.model_validate(each) for each in found],
        next=None if last is None else encode_cursor((last.at_ms, last.source, last.number)),
    )


def _date(day: int | None) -> date | None:
    return None if day is None else _EPOCH + timedelta(days=day)
