"""Look into an outbox from outside, also while the daemon runs.

Promises: reads only; a snapshot that no commit disturbs. Nothing is created, locked against the daemon, or repaired.
Leaves out: moving rows to the centre by other means than the session.
Thread: the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.contract.messages import RowClass
from edge.device.outbox.books import Books
from edge.device.outbox.connection import Connection, open_read_only
from edge.errors import InputError

__all__ = ["ClassCount", "Overview", "Reader", "StoredRow", "reading"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """How much of one class waits."""

    row_class: RowClass
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What `edge outbox status` shows. `epochs` is the number of lineages with rows here, the current one included."""

    epoch: int
    next_seq: int
    epochs: int
    classes: tuple[ClassCount, ...]
    evicted: int
    refused: int
    dead: int
    file_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """One row as it lies on disk; `why` is set for rows that the centre refused."""

    epoch: int
    seq: int
    row_class: RowClass
    body: bytes
    why: str | None = None


class Reader:
    """Made by `reading`."""

    def __init__(self, path: Path, connection: Connection) -> None:
        self._path = path
        self._connection = connection

    def overview(self) -> Overview:
        """The figures as of the last commit."""
        books = Books.load(self._connection)
        return Overview(
            epoch=books.epoch,
            next_seq=books.next_seq(books.epoch) if books.epoch else 0,
            epochs=len(books.epochs()),
            classes=tuple(
                ClassCount(row_class=row_class, rows=books.rows[row_class], size_bytes=books.size_bytes(row_class))
                for row_class in RowClass
            ),
            evicted=books.evicted,
            refused=books.refused,
            dead=books.dead,
            file_bytes=self._path.stat().st_size,
        )

    def rows(self) -> Iterator[StoredRow]:
        """Every row that waits, oldest first."""
        for epoch, seq, row_class, body in self._connection.stream(
            "SELECT row.epoch, row.seq, row.class, row.body FROM row JOIN epoch USING (epoch)"
            " ORDER BY epoch.ord, row.seq"
        ):
            yield StoredRow(epoch=epoch, seq=seq, row_class=RowClass(row_class), body=body)

    def guests(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """All rows of a table that is not the outbox's; none where it was never made. The names are ours, never input.

        Raises:
            StoreError: it cannot be read.
        """
        if not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)):
            return []
        return self._connection.execute(f"SELECT {', '.join(columns)} FROM {table}")  # noqa: S608 - see above

    def dead(self) -> Iterator[StoredRow]:
        """Every row that the centre refused, oldest first."""
        for epoch, seq, row_class, why, body in self._connection.stream(
            "SELECT epoch, seq, class, why, body FROM dead ORDER BY id"
        ):
            yield StoredRow(epoch=epoch, seq=seq, row_class=RowClass(row_class), body=body, why=why)


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open an outbox for reading.

    Raises:
        InputError: there is none at `path`.
        StoreError: it cannot be read; `CorruptError` when it is broken.
    """
    if not path.is_file():
        raise InputError(f"no outbox at {path}: has the daemon run with this data_dir?")
    connection = open_read_only(path)
    try:
        connection.execute("BEGIN")
        yield Reader(path, connection)
    finally:
        connection.close()
