"""Results: pages, one of them, what they can be found by, and exports of any length.

Promises: a page looks at a bounded number of results, so that it may be short, or empty, while `next` says where to go
on. Exports are streamed: nothing is gathered in memory, and a client that goes away ends them.
Leaves out: searching (`central.store.results`), formats (`central.export`).
Thread: any of the pool's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from edge.central.access.roles import Scope
from edge.central.api.context import ReaderOf, needs
from edge.central.api.cursors import decode_cursor, encode_cursor
from edge.central.api.shapes import Cursor, DeviceName, DeviceQuery, Fleet, FleetQuery, Limit, Moment, Told, Word, raw
from edge.central.export import csv_lines, json_lines
from edge.central.parquet import parquet_parts
from edge.central.store.read import Stored
from edge.central.store.results import NEWEST, Place, Wanted, page, result_at, tags, walk
from edge.contract.ids import MAX_NUMBER

__all__ = ["ResultTold", "WantedOf", "router", "told"]

router = APIRouter(tags=["results"], dependencies=[needs(Scope.RESULTS_READ)])

_Score = Annotated[float | None, Query(allow_inf_nan=False)]
_Number = Annotated[int, Path(ge=1, le=MAX_NUMBER)]


class ItemTold(BaseModel):
    """One thing that a model said. `box` is in shares of the picture, `box_px` in its pixels: x1, y1, x2, y2."""

    label: str
    score: float | None
    index: int | None = None
    box: list[float | None] | None = None
    box_px: list[int] | None = None
    value: float | None = None
    pixels: int | None = None
    vector: list[float | None] | None = None


class ModelTold(BaseModel):
    """Exactly what answered."""

    name: str
    version: str
    digest: str
    engine: str
    precision: str
    threads: int
    target: str


class ResultTold(BaseModel):
    """One inference, as its device made it; what it did not say is absent."""

    type: Literal["result"] = "result"
    pipeline: str
    kind: str
    made_ms: int
    model: ModelTold
    items: list[ItemTold]
    timing_ms: dict[str, float | None]
    input: str = ""
    text: str | None = None
    frame_age_ms: float | None = None
    quality: dict[str, Any] | None = None
    gate: dict[str, Any] | None = None


class StoredTold(BaseModel):
    """A result and where it lies. `got_ms` is our clock, `made_ms` in the result the device's."""

    fleet: str
    device: str
    epoch: int
    seq: int
    arrival: int
    got_ms: int
    result: ResultTold


class ResultPage(BaseModel):
    """Results, newest first by their devices' clocks."""

    items: list[StoredTold]
    next: str | None


class TagTold(Told):
    """What results can be found by, and how many that finds."""

    name: str
    count: int


def _wanted(
    fleet: FleetQuery = None,
    device: DeviceQuery = None,
    pipeline: Word = None,
    model: Annotated[Word, Query(description="Name and version: belt 1.2.0.")] = None,
    label: Annotated[Word, Query(description="At least one item has this label.")] = None,
    min_score: _Score = None,
    since_ms: Moment = None,
    until_ms: Moment = None,
) -> Wanted:
    return Wanted(
        fleet=fleet,
        device=device,
        pipeline=pipeline,
        model=model,
        label=label,
        min_score=min_score,
        since_ms=since_ms,
        until_ms=until_ms,
    )


WantedOf = Annotated[Wanted, Depends(_wanted)]


@router.get("/results", response_model=ResultPage)
def list_results(wanted: WantedOf, reader: ReaderOf, cursor: Cursor = None, limit: Limit = 100) -> Response:
    """Results, newest first; a page may be short, and even empty, while `next` is not null."""
    found = page(reader, wanted, before=_place(cursor), limit=limit)
    following = None if found.next is None else encode_cursor(found.next)
    return raw({"items": [told(each) for each in found.results], "next": following})


@router.get("/results/export")
def export_results(
    wanted: WantedOf,
    reader: ReaderOf,
    format: Literal["csv", "jsonl", "parquet"] = "jsonl",  # noqa: A002 - the name in the URL
) -> StreamingResponse:
    """Every result that fits, newest first, as one file: CSV with a line an item, JSON lines or Parquet."""
    found = (stored for _, stored in walk(reader, wanted) if stored is not None)
    media_type, write = _FORMATS[format]
    headers = {"Content-Disposition": f'attachment; filename="results.{format}"'}
    return StreamingResponse(write(found), media_type=media_type, headers=headers)


@router.get("/results/tags/{kind}")
def list_tags(
    kind: Literal["pipeline", "model", "label"],
    reader: ReaderOf,
    limit: Annotated[int, Query(ge=1, le=5000)] = 200,
) -> list[TagTold]:
    """What results can be found by, the most frequent first."""
    return [TagTold(name=name, count=count) for name, count in tags(reader, kind, limit)]


@router.get("/results/{fleet}/{device}/{epoch}/{seq}", response_model=StoredTold)
def show_result(fleet: Fleet, device: DeviceName, epoch: _Number, seq: _Number, reader: ReaderOf) -> Response:
    """One result."""
    return raw(told(result_at(reader, f"{fleet}/{device}", epoch, seq)))


def told(stored: Stored) -> dict[str, Any]:
    """A result as JSON tells it."""
    return {
        "fleet": stored.fleet,
        "device": stored.device,
        "epoch": stored.epoch,
        "seq": stored.seq,
        "arrival": stored.arrival,
        "got_ms": stored.got_ms,
        "result": stored.result,
    }


def _place(cursor: str | None) -> Place:
    if cursor is None:
        return NEWEST
    made_ms, device, epoch, seq = decode_cursor(cursor, int, int, int, int)
    return int(made_ms), int(device), int(epoch), int(seq)


def _csv(found: Iterable[Stored]) -> Iterator[bytes]:
    return (line.encode() for line in csv_lines(found))


_FORMATS: dict[str, tuple[str, Callable[[Iterable[Stored]], Iterator[bytes]]]] = {
    "csv": ("text/csv; charset=utf-8", _csv),
    "jsonl": ("application/jsonl", json_lines),
    "parquet": ("application/vnd.apache.parquet", parquet_parts),
}
