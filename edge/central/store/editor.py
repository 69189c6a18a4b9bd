"""Short transactions beside the service that takes rows in.

Promises: all of a transaction or nothing; it waits for the writer's, which last milliseconds, and holds it up no longer
than its own statements take.
Leaves out: statements (`accounts`, `people`, `journal`).
Thread: any, several at once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from edge.central.store.database import Database, Transaction, open_editor

__all__ = ["Editor"]


class Editor:
    """A central database that exists, opened for changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str) -> Editor:
        """Open it beside whoever else uses it.

        Raises:
            ConfigError, StoreError: see `database.open_editor`.
        """
        return cls(open_editor(url))

    def close(self) -> None:
        """Let go of it."""
        self._database.close()

    def transaction(self) -> AbstractContextManager[Transaction]:
        """One that writes.

        Raises:
            StoreError: the database failed; nothing was kept.
            ProtocolError: a value does not fit the tables; nothing was kept.
        """
        return self._database.transaction()
