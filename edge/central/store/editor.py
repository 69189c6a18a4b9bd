"""Short transactions beside the service that takes rows in.

Promises: all of a transaction or nothing; it waits for the writer's, which last milliseconds, and holds it up no longer
than its own statements take.
Leaves out: statements (`accounts`, `people`, `journal`).
Thread: any, several at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge.central.store.database import open_editor, path_of, translating

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["Editor"]


class Editor:
    """A central database that exists, opened for changes."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path

    @classmethod
    def open(cls, url: str) -> Editor:
        """Open it beside whoever else uses it.

        Raises:
            ConfigError, StoreError: see `database.open_editor`.
        """
        return cls(open_editor(url), path_of(url))

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One that writes.

        Raises:
            StoreError: the database failed; nothing was kept.
            ProtocolError: a value does not fit the tables; nothing was kept.
        """
        with translating(self._path), self._engine.begin() as connection:
            database: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
            yield database
