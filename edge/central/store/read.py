"""Answers questions about what the central database holds.

Promises: changes nothing; rows come in the order of their arrival, page by page, so that a long answer never keeps the
writer from tidying its log. Whoever goes on from an arrival that was given here misses nothing, however many write.
Leaves out: judging whether anything is missing (`verdict`), printing (`commands`).
Thread: one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edge.central.store.database import Database, Transaction, open_reader
from edge.contract.messages import Item, Result, decode_body
from edge.errors import ProtocolError

__all__ = ["Query", "Reader", "Stored"]

_PAGE = 1000

_ROWS = """
SELECT r.arrival, r.device, r.epoch, r.seq, r.got_ms, r.body, d.fleet, d.name
FROM row r JOIN device d ON d.id = r.device
WHERE r.type = 'result' AND (r.arrival, r.device, r.epoch, r.seq) {beyond} (?, ?, ?, ?) AND r.arrival <= ?{filters}
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

    def __init__(self, database: Database) -> None:
        self._database = database
        self._snapshot: Transaction | None = None
        self._horizon = 0
        self.skipped = 0

    @classmethod
    def open(cls, url: str) -> Reader:
        """Open an existing database.

        Raises:
            ConfigError, StoreError: see `database.open_reader`.
        """
        return cls(open_reader(url))

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def sibling(self) -> Reader:
        """Another one on the same connections, for another thread; only the first is closed."""
        return Reader(self._database)

    def ask(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one query and return its rows.

        Raises:
            StoreError: the database failed.
        """
        if self._snapshot is not None:
            return self._snapshot.execute(statement, parameters).fetchall()
        with self._database.transaction() as transaction:
            return transaction.execute(statement, parameters).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let every question inside see the same moment. Keep it short: the writer's log grows meanwhile."""
        self._horizon = self._database.horizon()  # before the moment: what is visible later may commit out of order
        with self._database.transaction() as transaction:
            self._snapshot = transaction
            try:
                yield
            finally:
                self._snapshot = None

    def last_arrival(self) -> int:
        """The newest arrival that one may go on from, 0 for none: no earlier one is still to be committed."""
        return self._horizon if self._snapshot is not None else self._database.horizon()

    def results(self, query: Query, *, after: int = 0) -> Iterator[Stored]:
        """Matching results, oldest first, from arrivals later than `after` up to what is the last one now."""
        yield from self._walk(query, is_newest_first=False, start=after + 1, last=self.last_arrival())

    def newest(self, query: Query, limit: int) -> list[Stored]:
        """The newest `limit` matching results, oldest first."""
        found: list[Stored] = []
        if limit > 0:
            last = self.last_arrival()
            for stored in self._walk(query, is_newest_first=True, start=last + 1, last=last):
                found.append(stored)
                if len(found) == limit:
                    break
        return found[::-1]

    def _walk(self, query: Query, *, is_newest_first: bool, start: int, last: int) -> Iterator[Stored]:
        filters, values = _filters(query)
        statement = _ROWS.format(
            beyond="<" if is_newest_first else ">", order="DESC" if is_newest_first else "ASC", filters=filters
        )
        place = (start, 0, 0, 0)  # below every row of that arrival
        while True:
            page = self.ask(statement, (*place, last, *values, _PAGE))
            for arrival, device, epoch, seq, got_ms, body, fleet, name in page:
                place = (arrival, device, epoch, seq)
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
