"""Results as they come, as server-sent events.

Promises: each event has the number of its arrival, from which a client that lost its connection goes on (Last-Event-ID)
without missing or repeating one; what is told has been committed. Somebody whose access ends hears no more within a
minute. Any copy of the service can tell it, as it is read from the database.
Leaves out: results in the order of the devices' clocks (`results`).
Thread: `http`; the database is asked on the pool of threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from edge.central.access.roles import Scope
from edge.central.api.context import Backend, BackendOf, ReaderOf, needs
from edge.central.api.routes.results import WantedOf, told
from edge.central.store.read import Query as ArrivalQuery
from edge.central.store.read import Reader, Stored
from edge.central.store.results import Wanted
from edge.contract.ids import MAX_NUMBER

__all__ = ["router"]

router = APIRouter(tags=["live"])

_POLL_S = 0.5
_POLLS = 120  # a minute: whoever comes back is looked at anew
_MOST = 1000  # results of one poll; a client that asks for all of a busy fleet falls behind, and can see by how much


@router.get("/live", dependencies=[needs(Scope.RESULTS_READ)], response_class=StreamingResponse)
async def follow(
    wanted: WantedOf,
    backend: BackendOf,
    reader: ReaderOf,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
    polls: Annotated[int, Query(ge=1, le=_POLLS, description="Looks, half a second apart.")] = _POLLS,
) -> StreamingResponse:
    """Follow new results; `data` is as in /results, `id` the number of its arrival.

    It ends after a minute; clients come back by themselves, with the last number they heard.
    """
    after = int(last_event_id) if last_event_id is not None and last_event_id.isdecimal() else None
    events = _events(backend, reader, wanted, min(after, MAX_NUMBER) if after is not None else None, polls)
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _events(
    backend: Backend, reader: Reader, wanted: Wanted, after: int | None, polls: int
) -> AsyncIterator[bytes]:
    if not backend.live.acquire(blocking=False):
        yield b"retry: 30000\n: too many follow already\n\n"
        return
    try:
        last = await run_in_threadpool(reader.last_arrival) if after is None else after
        yield b"id: %d\nretry: 200\n\n" % last
        for _ in range(polls):
            if backend.stopping.is_set():
                return
            found, last = await run_in_threadpool(_next, reader, wanted, last)
            for stored in found:
                yield b"id: %d\nevent: result\ndata: %s\n\n" % (stored.arrival, msgspec.json.encode(told(stored)))
            await asyncio.sleep(_POLL_S)
    finally:
        backend.live.release()


def _next(reader: Reader, wanted: Wanted, last: int) -> tuple[list[Stored], int]:
    """Whole transactions after number `last`, until there are enough, and the number of the last one looked at."""
    newest = reader.last_arrival()
    if newest <= last:
        return [], last
    query = ArrivalQuery(
        device=wanted.device, pipeline=wanted.pipeline, since_ms=wanted.since_ms, until_ms=wanted.until_ms
    )
    found: list[Stored] = []
    for stored in reader.results(query, after=last):
        if stored.arrival > newest:
            break
        if len(found) >= _MOST and stored.arrival > found[-1].arrival:
            return found, found[-1].arrival
        if wanted.is_met(stored.fleet, stored.device, stored.result):
            found.append(stored)
    return found, newest
