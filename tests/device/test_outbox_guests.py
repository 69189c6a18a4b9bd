"""Tables of others in the outbox's database: steps and their reports are one commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from edge.contract.messages import Event, Range, RowClass, Update, UpdateState, decode_body
from edge.device.outbox.connection import Connection, open_connection
from edge.device.outbox.store import Outbox
from edge.device.updates.api import Book
from edge.errors import DiskFullError, StoreError
from tests.simulators.clock import ManualClock

TABLES = ("CREATE TABLE IF NOT EXISTS guest (name TEXT PRIMARY KEY, value INTEGER) STRICT",)
PUT = "INSERT OR REPLACE INTO guest (name, value) VALUES (?, ?)"


def report(slot: str) -> Update:
    return Update(slot=slot, state=UpdateState.OFFERED, made_ms=1)


def values(book: Book) -> list[tuple[object, ...]]:
    return book.query("SELECT name, value FROM guest ORDER BY name")


def reported(outbox: Outbox) -> list[str]:
    batch = outbox.read(session=1)
    bodies = [] if batch is None else [decode_body(row.body) for row in batch.rows]
    return [body.slot for body in bodies if isinstance(body, Update)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with Outbox(path, clock=ManualClock(), tables=TABLES) as opened:
        yield opened


def test_a_step_and_its_report_are_there_together_and_after_a_restart(path: Path) -> None:
    with Outbox(path, clock=ManualClock(), tables=TABLES) as outbox:
        outbox.commit([(PUT, ("porch", 1))], [report("porch")])
        assert values(outbox) == [("porch", 1)]
        assert reported(outbox) == ["porch"]
    with Outbox(path, clock=ManualClock(), tables=TABLES) as outbox:
        assert values(outbox) == [("porch", 1)]
        assert reported(outbox) == ["porch"]


def test_a_step_that_fails_leaves_neither_a_write_nor_a_report_nor_a_number(outbox: Outbox) -> None:
    before = outbox.status().next_seq
    with pytest.raises(StoreError, match="no such table"):
        outbox.commit([(PUT, ("porch", 1)), ("INSERT INTO nowhere VALUES (1)", ())], [report("porch")])
    assert values(outbox) == []
    assert reported(outbox) == []
    outbox.commit([], [report("next")])
    assert outbox.status().next_seq == before + 1


def test_reports_share_the_numbers_of_the_rows(outbox: Outbox) -> None:
    first = outbox.put(RowClass.RESULT, Event(name="a", state="on", made_ms=0)).result(timeout=20)
    outbox.commit([], [report("porch")])
    last = outbox.put(RowClass.RESULT, Event(name="b", state="on", made_ms=0)).result(timeout=20)
    batch = outbox.read(session=1)
    assert batch is not None
    assert [row.seq for row in batch.rows] == [first - 1, first, first + 1, last]
    assert batch.rows[2].row_class is RowClass.UPDATE


def test_a_table_that_was_added_later_is_made_in_an_old_database(path: Path) -> None:
    with Outbox(path, clock=ManualClock()):
        pass
    with Outbox(path, clock=ManualClock(), tables=TABLES) as outbox:
        assert values(outbox) == []


def test_a_closed_outbox_says_so(path: Path) -> None:
    with Outbox(path, clock=ManualClock(), tables=TABLES) as outbox:
        pass
    with pytest.raises(StoreError, match="closed"):
        outbox.commit([], [])
    with pytest.raises(StoreError, match="closed"):
        outbox.query("SELECT 1")


class _Full:
    """A disk that takes nothing while `is_full`."""

    def __init__(self) -> None:
        self.is_full = False

    def __call__(self, path: Path) -> Connection:
        self._inner = open_connection(path)
        self.stream = self._inner.stream
        self.close = self._inner.close
        return self

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        if self.is_full and sql == "COMMIT":
            raise DiskFullError("database or disk is full")
        return self._inner.execute(sql, values)

    def execute_each(self, sql: str, values: Sequence[Sequence[object]]) -> None:
        self._inner.execute_each(sql, values)


def test_a_full_disk_refuses_the_step_and_takes_it_again_when_there_is_room(path: Path) -> None:
    disk = _Full()
    with Outbox(path, clock=ManualClock(), connect=disk, tables=TABLES) as outbox:
        outbox.commit([(PUT, ("porch", 1))])
        disk.is_full = True
        with pytest.raises(DiskFullError):
            outbox.commit([(PUT, ("porch", 2))], [report("porch")])
        assert values(outbox) == [("porch", 1)]
        disk.is_full = False
        outbox.commit([(PUT, ("porch", 3))], [report("porch")])
        assert values(outbox) == [("porch", 3)]
        assert reported(outbox) == ["porch"]


@pytest.mark.parametrize("how", ["deleted", "spoilt"])
def test_a_database_that_is_gone_loses_the_tables_and_says_so_once(path: Path, how: str) -> None:
    clock = ManualClock()
    with Outbox(path, clock=clock, tables=TABLES) as outbox:
        outbox.commit([(PUT, ("porch", 1))])
    if how == "spoilt":
        with closing(sqlite3.connect(path)) as raw:
            (page,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'guest'").fetchone()
            (size,) = raw.execute("PRAGMA page_size").fetchone()
        content = bytearray(path.read_bytes())
        content[(page - 1) * size : page * size] = b"\xff" * size
        path.write_bytes(content)
    with Outbox(path, clock=clock, tables=TABLES) as outbox:
        if how == "deleted":
            path.unlink()
        with pytest.raises(StoreError, match="is new now"):
            outbox.commit([(PUT, ("porch", 2))], [report("porch")])
        assert values(outbox) == []
        outbox.commit([(PUT, ("porch", 3))], [report("again")])
        assert values(outbox) == [("porch", 3)]
        names = []
        skip: dict[int, list[Range]] = {}
        while batch := outbox.read(session=1, skip=skip):
            names += [type(decode_body(row.body)).__name__ for row in batch.rows]
            skip[batch.epoch] = [Range(1, batch.rows[-1].seq)]
        assert names.count("Update") == 1
        assert names.count("EpochStart") == 2
