"""Pages of results, newest first, by what people look for.

Promises: the rarest thing asked for decides what is walked, and the rest is looked at in each result; a page costs a
bounded time whatever is asked, because no more than `EXAMINED` results are looked at for one: it may come with fewer
than were asked for, even none, and a place to go on from.
Leaves out: results in the order of arrival (`read`), which `--follow` and the live stream go by.
Thread: one at a time; a reader's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from edge.central.store.catalogue import model_name
from edge.central.store.read import Reader, Stored
from edge.contract.messages import Result, decode_body
from edge.errors import NotFoundError, ProtocolError

__all__ = ["EXAMINED", "NEWEST", "Page", "Place", "Wanted", "page", "result_at", "tags", "walk"]

EXAMINED = 4000
_CHUNK = 500

Place: TypeAlias = tuple[int, int, int, int]  # made_ms, device, epoch, seq of a result
NEWEST: Place = ((1 << 62), 0, 0, 0)

_COLUMNS = "{t}.made_ms, {t}.device, {t}.epoch, {t}.seq, r.arrival, r.got_ms, r.body, d.fleet, d.name"
_ORDER = "ORDER BY {t}.made_ms DESC, {t}.device DESC, {t}.epoch DESC, {t}.seq DESC LIMIT ?"
_BEFORE = "({t}.made_ms, {t}.device, {t}.epoch, {t}.seq) < (?, ?, ?, ?) AND {t}.made_ms >= ?"
_BY_TAG = f"""
SELECT {_COLUMNS} FROM tagged t
JOIN row r ON r.device = t.device AND r.epoch = t.epoch AND r.seq = t.seq JOIN device d ON d.id = t.device
WHERE t.tag = ? AND {_BEFORE} {_ORDER}
""".format(t="t")  # noqa: S608 - columns
_BY_TIME = f"""
SELECT {_COLUMNS} FROM row r JOIN device d ON d.id = r.device WHERE {_BEFORE} {_ORDER}
""".format(t="r")  # noqa: S608 - columns
_LEAST_MS = -(1 << 62)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for. `device` is FLEET/NAME, `model` a name and a version; times are the devices' own stamps.

    `label` and `min_score` ask for at least one item with that label and at least that score.
    """

    fleet: str | None = None
    device: str | None = None
    pipeline: str | None = None
    model: str | None = None
    label: str | None = None
    min_score: float | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def is_met(self, fleet: str, device: str, result: Result) -> bool:
        """Whether it is one of these; times aside."""
        return (
            (self.fleet is None or fleet == self.fleet)
            and (self.device is None or self.device == f"{fleet}/{device}")
            and (self.pipeline is None or result.pipeline == self.pipeline)
            and (self.model is None or model_name(result.model) == self.model)
            and self._has_item(result)
        )

    def _has_item(self, result: Result) -> bool:
        if self.label is None and self.min_score is None:
            return True
        return any(
            (self.label is None or item.label == self.label)
            and (self.min_score is None or item.score >= self.min_score)
            for item in result.items
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Results, newest first, and where the next page begins; None where there is no more."""

    results: tuple[Stored, ...]
    next: Place | None


def page(reader: Reader, wanted: Wanted, *, before: Place = NEWEST, limit: int = 100) -> Page:
    """The next `limit` results older than `before`, or fewer.

    Raises:
        StoreError: the database failed.
    """
    results: list[Stored] = []
    walked = walk(reader, wanted, before=before, chunk=min(_CHUNK, max(limit, 50)))
    for examined, (place, stored) in enumerate(walked, start=1):
        if stored is not None:
            results.append(stored)
        if len(results) == limit or examined == EXAMINED:
            return Page(results=tuple(results), next=place)
    return Page(results=tuple(results), next=None)


def walk(
    reader: Reader, wanted: Wanted, *, before: Place = NEWEST, chunk: int = _CHUNK
) -> Iterator[tuple[Place, Stored | None]]:
    """Everything that is looked at, newest first, with the result where it is one that is wanted.

    Raises:
        StoreError: the database failed.
    """
    tag = _rarest(reader, wanted)
    if tag == 0:
        return
    if wanted.until_ms is not None:
        before = min(before, (wanted.until_ms, 0, 0, 0))
    since_ms = _LEAST_MS if wanted.since_ms is None else wanted.since_ms
    while True:
        found = (
            reader.ask(_BY_TIME, (*before, since_ms, chunk))
            if tag is None
            else reader.ask(_BY_TAG, (tag, *before, since_ms, chunk))
        )
        for each in found:
            before = each[:4]
            yield before, _stored(reader, wanted, each)
        if len(found) < chunk:
            return


def result_at(reader: Reader, device: str, epoch: int, seq: int) -> Stored:
    """One of them. NotFoundError where there is no such result."""
    fleet, _, name = device.partition("/")
    found = reader.ask(
        "SELECT r.made_ms, r.device, r.epoch, r.seq, r.arrival, r.got_ms, r.body, d.fleet, d.name FROM device d "
        "JOIN row r ON r.device = d.id WHERE d.fleet = ? AND d.name = ? AND r.epoch = ? AND r.seq = ?",
        (fleet, name, epoch, seq),
    )
    stored = _stored(reader, Wanted(), found[0]) if found else None
    if stored is None:
        raise NotFoundError(f"there is no result {epoch}/{seq} of {device}")
    return stored


def tags(reader: Reader, kind: str, limit: int) -> list[tuple[str, int]]:
    """What results can be found by ("pipeline", "model", "label"), the most frequent first, and how many each finds."""
    found = reader.ask("SELECT name, count FROM tag WHERE kind = ? ORDER BY count DESC, name LIMIT ?", (kind, limit))
    return [(str(name), int(count)) for name, count in found]


def _rarest(reader: Reader, wanted: Wanted) -> int | None:
    """Number of the tag to walk: None walks by time, 0 there is nothing to find."""
    given = [
        (kind, name)
        for kind, name in (("pipeline", wanted.pipeline), ("model", wanted.model), ("label", wanted.label))
        if name
    ]
    if wanted.device is not None:
        fleet, _, name = wanted.device.partition("/")
        key = reader.ask("SELECT id FROM device WHERE fleet = ? AND name = ?", (fleet, name))
        if not key:
            return 0
        given.append(("device", str(key[0][0])))
    rarest: tuple[int, int] | None = None
    for kind, name in given:
        found = reader.ask("SELECT count, id FROM tag WHERE kind = ? AND name = ?", (kind, name))
        if not found:
            return 0
        rarest = min(found[0], rarest or found[0])
    return None if rarest is None else rarest[1]


def _stored(reader: Reader, wanted: Wanted, found: tuple[Any, ...]) -> Stored | None:
    _, _, epoch, seq, arrival, got_ms, body, fleet, name = found
    try:
        result = decode_body(body)
    except ProtocolError:
        reader.skipped += 1
        return None
    if not isinstance(result, Result) or not wanted.is_met(fleet, name, result):
        return None
    return Stored(fleet=fleet, device=name, epoch=epoch, seq=seq, arrival=arrival, got_ms=got_ms, result=result)
