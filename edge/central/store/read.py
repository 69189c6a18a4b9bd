"""Answers questions about what the central database holds.

Promises: changes nothing; rows come in the order in which they were committed here, page by page, so that a long answer
never keeps the writer from tidying its log.
Leaves out: judging whether anything is missing (`verdict`), printing (`commands`).
Thread: one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.central.store.database import open_reader, path_of, translating
from edge.contract.messages import Item, Result, decode_body
from edge.errors import ProtocolError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["Query", "Reader", "Stored"]

_PAGE = 1000
_START = (0, 0, 0, 0)

_ROWS = """
SELECT r.arrival, r.device, r.epoch, r.seq, r.got_ms, r.body, d.fleet, d.name
FROM row r JOIN device d ON d.id = r.device
WHERE r.type = 'result' AND (r.arrival, r.device, r.epoch, r.seq) {beyond} (?, ?, ?, ?){filters}
ORDER BY r.arrival {order}, r.device {order}, r.epoch {order}, r.seq {order} LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which results. `device` is a name or `fleet/name`; times are the device's own stamps, wall milliseconds.

    `label` and `min_score` ask for at least one item with that label and at least that score.
    """

    device: str | None = None
    pipeline: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    label: str | None = None
    min_score: float | None = None

    def wants(self, items: tuple[Item, ...]) -> bool:
        """Whether one of the items is what is looked for."""
        if self.label is None and self.min_score is None:
            return True
        return any(
            (self.label is None or item.label == self.label)
            and (self.min_score is None or item.score >= self.min_score)
            for item in items
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A result and where it lies. `arrival` numbers the transaction that brought it."""

    fleet: str
    device: str
    epoch: int
    seq: int
    arrival: int
    got_ms: int
    result: Result


class Reader:
    """The central database, opened for questions. `skipped` counts results of a newer version that we cannot read."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._snapshot: Connection | None = None
        self.skipped = 0

    @classmethod
    def open(cls, url: str) -> Reader:
        """Open an existing `sqlite:///PATH`.

        Raises:
            ConfigError, StoreError: see `database.open_reader`.
        """
        return cls(open_reader(url), path_of(url))

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def sibling(self) -> Reader:
        """Another one on the same connections, for another thread; only the first is closed."""
        return Reader(self._engine, self._path)

    def ask(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one query and return its rows.

        Raises:
            StoreError: the database failed.
        """
        with translating(self._path):
            if self._snapshot is not None:
                return [tuple(each) for each in self._snapshot.exec_driver_sql(statement, parameters)]
            with self._engine.connect() as connection:
                return [tuple(each) for each in connection.exec_driver_sql(statement, parameters)]

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let every question inside see the same moment. Keep it short: the writer's log grows meanwhile."""
        with translating(self._path), self._engine.connect() as connection:
            self._snapshot = connection
            try:
                yield
            finally:
                self._snapshot = None

    def last_arrival(self) -> int:
        """Number of the newest transaction, 0 for none."""
        return int(self.ask("SELECT coalesce(max(arrival), 0) FROM row")[0][0])

    def results(self, query: Query, *, after: int = 0) -> Iterator[Stored]:
        """Matching results, oldest first, from transactions later than number `after`."""
        yield from self._walk(query, is_newest_first=False, start=(after + 1, 0, 0, 0) if after else _START)

    def newest(self, query: Query, limit: int) -> list[Stored]:
        """The newest `limit` matching results, oldest first."""
        found: list[Stored] = []
        if limit > 0:
            for stored in self._walk(query, is_newest_first=True, start=(1 << 62, 0, 0, 0)):
                found.append(stored)
                if len(found) == limit:
                    break
        return found[::-1]

    def _walk(self, query: Query, *, is_newest_first: bool, start: tuple[int, int, int, int]) -> Iterator[Stored]:
        filters, values = _filters(query)
        statement = _ROWS.format(
            beyond="<" if is_newest_first else ">", order="DESC" if is_newest_first else "ASC", filters=filters
        )
        while True:
            page = self.ask(statement, (*start, *values, _PAGE))
            for arrival, device, epoch, seq, got_ms, body, fleet, name in page:
                start = (arrival, device, epoch, seq)
                result = self._decode(body)
                if result is not None and query.wants(result.items):
                    yield Stored(
                        fleet=fleet, device=name, epoch=epoch, seq=seq, arrival=arrival, got_ms=got_ms, result=result
                    )
            if len(page) < _PAGE:
                return

    def _decode(self, body: bytes) -> Result | None:
        try:
            decoded = decode_body(body)
        except ProtocolError:
            self.skipped += 1
            return None
        return decoded if isinstance(decoded, Result) else None


def _filters(query: Query) -> tuple[str, tuple[Any, ...]]:
    filters: list[str] = []
    values: list[Any] = []
    if query.device is not None:
        fleet, _, name = query.device.rpartition("/")
        filters.append(" AND d.name = ?" + (" AND d.fleet = ?" if fleet else ""))
        values.extend([name, fleet] if fleet else [name])
    for clause, value in (
        (" AND r.pipeline = ?", query.pipeline),
        (" AND r.made_ms >= ?", query.since_ms),
        (" AND r.made_ms < ?", query.until_ms),
    ):
        if value is not None:
            filters.append(clause)
            values.append(value)
    return "".join(filters), tuple(values)
