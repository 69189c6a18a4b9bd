"""One SQLite connection, and what its complaints mean.

Promises: a failure arrives as `DiskFullError` (no byte can be written now: full, over quota, read-only, I/O error),
`CorruptError` (the file is no sound database) or plain `StoreError`. A commit that returned has reached the medium.
Leaves out: the tables (`schema`) and every decision (`ledger`, `store`).
Thread: `store`, and no other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from edge.errors import DiskFullError, StoreError

__all__ = ["Connect", "Connection", "CorruptError", "open_connection", "open_read_only"]

# Primary result codes, sqlite.org/rescode.html. Python before 3.11 does not pass them on, so the texts stand beside.
_UNWRITABLE = {
    8: "attempt to write a readonly database",
    10: "disk I/O error",  # EDQUOT arrives as this one
    13: "database or disk is full",
    14: "unable to open database file",
}
_CORRUPT = {11: "database disk image is malformed", 26: "file is not a database"}
# Beginnings: Python's own, about a column whose bytes are no text; and SQLite's, where Python 3.10 tells no code.
_CORRUPT_BEGINNINGS = ("Could not decode to UTF-8", "malformed database schema")


class CorruptError(StoreError):
    """The file is not a database, or not a sound one."""


class Connection(Protocol):
    """What the outbox asks of SQLite. Transactions are begun and ended by statements, never implicitly."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows.

        Raises:
            StoreError: by kind, see the module.
        """
        ...

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Run one query and yield its rows as they are asked for. Raises as `execute`."""
        ...

    def execute_each(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of `values`. Raises as `execute`."""
        ...

    def close(self) -> None:
        """Close; the last one to do so folds the log into the file."""
        ...


Connect = Callable[[Path], Connection]


def open_connection(path: Path) -> Connection:
    """Open or create the database at `path` for writing.

    Raises:
        StoreError: by kind, see the module.
    """
    with _translating(path):
        return _Sqlite(path, sqlite3.connect(path, isolation_level=None, timeout=5.0))


def open_read_only(path: Path) -> Connection:
    """Open an existing database for reading, beside a daemon that writes.

    Raises:
        StoreError: by kind, see the module.
    """
    with _translating(path):
        return _Sqlite(path, sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None))


class _Sqlite:
    def __init__(self, path: Path, raw: sqlite3.Connection) -> None:
        self._path = path
        self._raw = raw

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with _translating(self._path):
            return self._raw.execute(sql, values).fetchall()

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with _translating(self._path):
            yield from self._raw.execute(sql, values)

    def execute_each(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        with _translating(self._path):
            self._raw.executemany(sql, values)

    def close(self) -> None:
        with _translating(self._path):
            self._raw.close()


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as err:
        raise CorruptError(f"{path}: holds text that is none ({err.reason})") from err
    except sqlite3.Error as err:
        code = getattr(err, "sqlite_errorcode", 0) & 0xFF
        text = str(err)
        if code in _CORRUPT or text in _CORRUPT.values() or text.startswith(_CORRUPT_BEGINNINGS):
            raise CorruptError(f"{path}: {text}") from err
        if code in _UNWRITABLE or text in _UNWRITABLE.values():
            raise DiskFullError(f"{path}: {text}") from err
        raise StoreError(f"{path}: {text}") from err
