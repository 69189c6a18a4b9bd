"""Fills the tables by which results are found and counted, behind the ingest.

Promises: each row is counted once: what it adds and how far it came are one transaction. Rows are read and understood
before that begins, so that the ingest waits only for the writing. It follows the ingest within a second or so; until
then a result is found by time, and not yet by its tags.
Leaves out: taking rows in (`write`), asking (`results`, `events`, `usage`).
Thread: one, the owner's (`central.cataloguer`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Struct

from edge.central.store.database import Transaction
from edge.central.store.editor import Editor
from edge.central.store.read import Reader
from edge.contract.bodies import UNREADABLE
from edge.contract.ids import MAX_NUMBER

__all__ = ["DAY_MS", "Catalogue", "model_name"]

DAY_MS = 86_400_000

_BATCH = 1000  # rows at a time: the ingest cannot write while they are added
_MAX_TAGS = 64  # of one result; a page of text has more words than anybody looks for
_MAX_NAME = 200  # characters of a tag
_KNOWN = 100_000  # names of tags held in memory

_ROWS = """
SELECT arrival, device, epoch, seq, got_ms, body FROM row
WHERE (arrival, device, epoch, seq) > (?, ?, ?, ?) AND arrival <= ? ORDER BY arrival, device, epoch, seq LIMIT ?
"""
_BEGIN = """
INSERT INTO progress (name, arrival, device, epoch, seq) VALUES ('catalogue', 0, 0, 0, 0) ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE progress SET arrival = ?, device = ?, epoch = ?, seq = ?
WHERE name = 'catalogue' AND arrival = ? AND device = ? AND epoch = ? AND seq = ?
"""
_TAGGED = """
INSERT INTO tagged (tag, made_ms, device, epoch, seq, score) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_EVENT = """
INSERT INTO event (made_ms, device, epoch, seq, name, state, pipeline, detail, got_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_USAGE = """
INSERT INTO usage (day, device, pipeline, model, results, skipped) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (day, device, pipeline, model) DO UPDATE SET
  results = usage.results + excluded.results, skipped = usage.skipped + excluded.skipped
"""

_Key: TypeAlias = tuple[str, str]  # kind and name


class _Item(Struct, frozen=True):
    label: str = ""
    score: float = 0.0


class _Model(Struct, frozen=True):
    name: str = ""
    version: str = ""


class _Gate(Struct, frozen=True):
    skipped: int = 0


class _Seen(Struct, frozen=True):
    """As much of a body as it takes."""

    type: str = ""
    pipeline: str | None = None
    made_ms: Annotated[int, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)] = 0
    model: _Model = _Model()
    items: list[_Item] = []
    gate: _Gate | None = None
    name: str = ""
    state: str = ""
    detail: str = ""


_see = msgspec.msgpack.Decoder(_Seen).decode


class _Found:
    """What a batch of rows adds."""

    def __init__(self) -> None:
        self.tagged: list[tuple[_Key, tuple[Any, ...]]] = []
        self.events: list[tuple[Any, ...]] = []
        self.results: Counter[tuple[int, int, _Key, _Key]] = Counter()
        self.skipped: Counter[tuple[int, int, _Key, _Key]] = Counter()

    def add(self, place: tuple[int, int, int], got_ms: int, seen: _Seen) -> None:
        if seen.type == "event":
            words = tuple(each.replace("\0", "") for each in (seen.name, seen.state, seen.pipeline or "", seen.detail))
            self.events.append((seen.made_ms, *place, *words, got_ms))
        elif seen.type == "result":
            pipeline, model = ("pipeline", _cut(seen.pipeline or "")), ("model", model_name(seen.model))
            scores = _scores(seen.items)
            best = max(scores.values(), default=None)
            where = (seen.made_ms, *place)
            for key in (("device", str(place[0])), pipeline, model):
                self.tagged.append((key, (*where, best)))
            for label, score in list(scores.items())[:_MAX_TAGS]:
                if label:
                    self.tagged.append((("label", label), (*where, score)))
            used = (seen.made_ms // DAY_MS, place[0], pipeline, model)
            self.results[used] += 1
            self.skipped[used] += max(0, seen.gate.skipped) if seen.gate is not None else 0

    def keys(self) -> set[_Key]:
        return {key for key, _ in self.tagged}


class Catalogue:
    """`step` takes the next rows in; call it until it returns 0, and again when there may be more."""

    def __init__(self, reader: Reader, editor: Editor) -> None:
        self._reader = reader
        self._editor = editor
        self._tags: dict[_Key, int] = {}
        self.unreadable = 0  # rows of a newer version, or that no program wrote

    def step(self) -> int:
        """How many rows that were.

        Raises:
            StoreError: the database failed; the next step does the same.
        """
        begun = self._reader.ask("SELECT arrival, device, epoch, seq FROM progress WHERE name = 'catalogue'")
        place: tuple[Any, ...] = begun[0] if begun else (0, 0, 0, 0)
        rows = self._reader.ask(_ROWS, (*place, self._reader.last_arrival(), _BATCH))
        if not rows:
            return 0
        found = _Found()
        for _, device, epoch, seq, got_ms, body in rows:
            seen = self._understood(body)
            if seen is not None:
                found.add((device, epoch, seq), got_ms, seen)
        tags: dict[_Key, int] = {}
        with self._editor.transaction() as database:
            database.execute(_BEGIN)
            if database.execute(_MOVE, (*rows[-1][:4], *place)).rowcount:
                tags = self._keep(database, found)
        self._tags.update(tags)  # not before the commit: a rollback takes them back
        return len(rows)

    def _understood(self, body: bytes) -> _Seen | None:
        try:
            return _see(body)
        except UNREADABLE:
            self.unreadable += 1
            return None

    def _keep(self, database: Transaction, found: _Found) -> dict[_Key, int]:
        tags = self._tags_of(database, found.keys())
        database.executemany(_TAGGED, sorted((tags[key], *values) for key, values in found.tagged))
        counts = Counter(key for key, _ in found.tagged)
        database.executemany(
            "UPDATE tag SET count = count + ? WHERE id = ?", [(number, tags[key]) for key, number in counts.items()]
        )
        database.executemany(_EVENT, found.events)
        used = [
            (day, device, tags[pipeline], tags[model], number, found.skipped[day, device, pipeline, model])
            for (day, device, pipeline, model), number in found.results.items()
        ]
        database.executemany(_USAGE, used)
        return tags

    def _tags_of(self, database: Transaction, keys: Iterable[_Key]) -> dict[_Key, int]:
        """Numbers of tags, new ones too. Tags are never removed."""
        if len(self._tags) > _KNOWN:
            self._tags.clear()
        tags = {}
        for key in keys:
            if key in self._tags:
                tags[key] = self._tags[key]
                continue
            database.execute("INSERT INTO tag (kind, name) VALUES (?, ?) ON CONFLICT DO NOTHING", key)
            number = database.execute("SELECT id FROM tag WHERE kind = ? AND name = ?", key).fetchone()[0]
            tags[key] = int(number)
        return tags


def model_name(model: Any) -> str:
    """How a model is called in a tag: its name and version."""
    return _cut(f"{model.name} {model.version}".strip())


def _scores(items: Iterable[_Item]) -> dict[str, float]:
    """The best score of each label, the best label first."""
    best: dict[str, float] = {}
    for item in items:
        label = _cut(item.label)
        if item.score == item.score and item.score > best.get(label, float("-inf")):
            best[label] = item.score
    return dict(sorted(best.items(), key=lambda each: -each[1]))


def _cut(name: str) -> str:
    return name[:_MAX_NAME].replace("\0", "")  # which PostgreSQL takes in no text
