"""Pages of results, newest first, by what people look for.

Promises: the rarest thing asked for decides what is walked; the rest is looked up beside it, and bodies are read of
what fits alone. A page costs a bounded time whatever is asked, as no more than `EXAMINED` entries are looked at for one
(`READ`, where bodies must be read to know): it may come with fewer results than were asked for, even none, and a place
to go on from.
Leaves out: results in the order of arrival (`read`), which `--follow` and the live stream go by.
Thread: one at a time; a reader's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from edge.central.store.catalogue import model_name
from edge.central.store.read import Reader, Stored
from edge.contract.messages import Result, decode_body
from edge.errors import NotFoundError, ProtocolError

__all__ = ["EXAMINED", "NEWEST", "READ", "Page", "Place", "Wanted", "page", "result_at", "tags", "walk"]

EXAMINED = 5000
READ = 1000
_CHUNK = 500

Place: TypeAlias = tuple[int, int, int, int]  # made_ms, device, epoch, seq of a result
NEWEST: Place = ((1 << 62), 0, 0, 0)
_LEAST_MS = -(1 << 62)

_ORDER = "ORDER BY {t}.made_ms DESC, {t}.device DESC, {t}.epoch DESC, {t}.seq DESC LIMIT ?"
_BEFORE = "({t}.made_ms, {t}.device, {t}.epoch, {t}.seq) < (?, ?, ?, ?) AND {t}.made_ms >= ?"
_BY_TAG = f"""
SELECT t.made_ms, t.device, t.epoch, t.seq, CASE WHEN {{also}} THEN 1 ELSE 0 END
FROM tagged t WHERE t.tag = ? AND {_BEFORE.format(t="t")} {_ORDER.format(t="t")}
"""  # noqa: S608 - columns
_ALSO = """EXISTS (SELECT 1 FROM tagged x WHERE x.tag = ? AND x.made_ms = t.made_ms AND x.device = t.device
  AND x.epoch = t.epoch AND x.seq = t.seq{score})"""
_COLUMNS = "r.made_ms, r.device, r.epoch, r.seq, r.arrival, r.got_ms, r.body, d.fleet, d.name"
_BY_TIME = f"""
SELECT {_COLUMNS} FROM row r JOIN device d ON d.id = r.device WHERE {_BEFORE.format(t="r")} {_ORDER.format(t="r")}
"""  # noqa: S608 - columns
_BODIES = f"""
SELECT {_COLUMNS} FROM (VALUES {{places}}) AS k
JOIN row r ON r.device = k.column1 AND r.epoch = k.column2 AND r.seq = k.column3 JOIN device d ON d.id = r.device
"""  # noqa: S608 - columns


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
    is_by_tag = bool(_kinds(wanted)) or wanted.device is not None
    most = EXAMINED if is_by_tag else READ
    walked = walk(reader, wanted, before=before, most=limit)
    for examined, (place, stored) in enumerate(walked, start=1):
        if stored is not None:
            results.append(stored)
        if len(results) == limit or examined == most:
            return Page(results=tuple(results), next=place)
    return Page(results=tuple(results), next=None)


def walk(
    reader: Reader, wanted: Wanted, *, before: Place = NEWEST, most: int = _CHUNK
) -> Iterator[tuple[Place, Stored | None]]:
    """Everything that is looked at, newest first, with the result where it is one that is wanted.

    No more than `most` bodies are read ahead.

    Raises:
        StoreError: the database failed.
    """
    if wanted.until_ms is not None:
        before = min(before, (wanted.until_ms, 0, 0, 0))
    since_ms = _LEAST_MS if wanted.since_ms is None else wanted.since_ms
    found_tags = _tags_of(reader, wanted)
    if found_tags is None:
        return
    look = _by_tag if found_tags else _by_time
    seen = look(reader, wanted, found_tags, (*before, since_ms), most)
    while seen:
        yield from seen
        seen = look(reader, wanted, found_tags, (*seen[-1][0], since_ms), most)


def result_at(reader: Reader, device: str, epoch: int, seq: int) -> Stored:
    """One of them. NotFoundError where there is no such result."""
    fleet, _, name = device.partition("/")
    key = reader.ask("SELECT id FROM device WHERE fleet = ? AND name = ?", (fleet, name))
    found = _bodies(reader, [(0, key[0][0], epoch, seq)]) if key else []
    stored = _stored(reader, Wanted(), found[0]) if found else None
    if stored is None:
        raise NotFoundError(f"there is no result {epoch}/{seq} of {device}")
    return stored


def tags(reader: Reader, kind: str, limit: int) -> list[tuple[str, int]]:
    """What results can be found by ("pipeline", "model", "label"), the most frequent first, and how many each finds."""
    found = reader.ask("SELECT name, count FROM tag WHERE kind = ? ORDER BY count DESC, name LIMIT ?", (kind, limit))
    return [(str(name), int(count)) for name, count in found]


@dataclass(frozen=True, slots=True)
class _Tag:
    """Something asked for: its number, how many results it finds, and the score that it must have at least."""

    count: int
    number: int
    min_score: float | None


def _kinds(wanted: Wanted) -> list[tuple[str, str]]:
    asked = (("pipeline", wanted.pipeline), ("model", wanted.model), ("label", wanted.label))
    return [(kind, name) for kind, name in asked if name is not None]


def _tags_of(reader: Reader, wanted: Wanted) -> list[_Tag] | None:
    """What is asked for, the rarest first; None: there is no such thing, so nothing is found."""
    given = _kinds(wanted)
    if wanted.device is not None:
        fleet, _, name = wanted.device.partition("/")
        key = reader.ask("SELECT id FROM device WHERE fleet = ? AND name = ?", (fleet, name))
        if not key:
            return None
        given.append(("device", str(key[0][0])))
    found_tags = []
    for kind, name in given:
        found = reader.ask("SELECT count, id FROM tag WHERE kind = ? AND name = ?", (kind, name))
        if not found:
            return None
        # The score that a label's entry holds is that of its own items; every other entry holds the best of all.
        is_about = kind == "label" or wanted.label is None
        found_tags.append(_Tag(found[0][0], found[0][1], wanted.min_score if is_about else None))
    return sorted(found_tags, key=lambda each: (each.count, each.number))


def _by_tag(
    reader: Reader, wanted: Wanted, found_tags: Sequence[_Tag], values: tuple[Any, ...], most: int
) -> list[tuple[Place, Stored | None]]:
    rarest, *others = found_tags
    also = ["1 = 1"]
    asked: list[Any] = []
    if rarest.min_score is not None:
        also.append("t.score >= ?")
        asked.append(rarest.min_score)
    for each in others:
        also.append(_ALSO.format(score="" if each.min_score is None else " AND x.score >= ?"))
        asked += [each.number] if each.min_score is None else [each.number, each.min_score]
    if wanted.fleet is not None:
        also.append("EXISTS (SELECT 1 FROM device d WHERE d.id = t.device AND d.fleet = ?)")
        asked.append(wanted.fleet)
    found = reader.ask(_BY_TAG.format(also=" AND ".join(also)), (*asked, rarest.number, *values, _CHUNK))
    fitting = [each[:4] for each in found if each[4]]
    if len(fitting) > most:
        fitting = fitting[:most]
        found = [each for each in found if each[:4] >= fitting[-1]]
    stored = {each[:4]: _stored(reader, wanted, each) for each in _bodies(reader, fitting)}
    return [(each[:4], stored.get(each[:4])) for each in found]


def _by_time(
    reader: Reader, wanted: Wanted, _: Sequence[_Tag], values: tuple[Any, ...], most: int
) -> list[tuple[Place, Stored | None]]:
    return [(each[:4], _stored(reader, wanted, each)) for each in reader.ask(_BY_TIME, (*values, most))]


def _bodies(reader: Reader, places: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    if not places:
        return []
    statement = _BODIES.format(places=", ".join(["(?, ?, ?)"] * len(places)))
    return reader.ask(statement, tuple(part for place in places for part in place[1:]))


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
