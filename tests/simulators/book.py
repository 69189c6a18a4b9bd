"""The device's database as updates see it, without an outbox: reports are kept in a list."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.device.updates.api import Report, Write
from edge.device.updates.schema import TABLES


class SqliteBook:
    """Implements `edge.device.updates.api.Book`. Opening it again is a restart."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self.reports: list[Report] = []
        self.commits = 0
        for table in TABLES:
            self._database.execute(table)

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._database.execute(sql, values).fetchall()

    def commit(self, writes: Sequence[Write], reports: Sequence[Report] = ()) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        for sql, values in writes:
            self._database.execute(sql, values)
        self._database.execute("COMMIT")
        self.reports.extend(reports)
        self.commits += 1

    def close(self) -> None:
        self._database.close()
