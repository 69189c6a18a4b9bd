"""What is particular to a central database that is one SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge.central.store.catalogue_schema import METADATA
from edge.central.store.database import GoneError, open_writer
from edge.central.store.read import Reader
from edge.central.store.write import Store
from edge.errors import DiskFullError, StoreError
from tests.central.ingest_bench import Centre, rows


def test_the_migrations_lead_to_the_tables_that_the_program_expects(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    database = open_writer(f"sqlite:///{tmp_path / 'central.db'}")
    with database._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        keyed = [
            name
            for name, sql in connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
            if "WITHOUT ROWID" in sql
        ]
    database.close()
    assert sorted(keyed) == sorted(
        [
            "assignment",
            "comparison",
            "conflict",
            "epoch",
            "event",
            "gap",
            "incident",
            "label",
            "link",
            "login",
            "pin",
            "progress",
            "rollout",
            "rollout_log",
            "rollout_member",
            "row",
            "slot",
            "tagged",
            "update_step",
            "usage",
            "wanted",
        ]
    )


def test_the_writer_syncs_every_commit(tmp_path: Path) -> None:
    database = open_writer(f"sqlite:///{tmp_path / 'central.db'}")
    with database._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


@pytest.mark.parametrize("damage", ["garbage", "header", "middle", "cut"])
def test_a_damaged_database_is_one_clear_error_and_is_left_as_it_was(sqlite_centre: Centre, damage: str) -> None:
    for first in range(1, 2000, 100):
        sqlite_centre.send(rows(first, first + 99))
    sqlite_centre.close()
    path = sqlite_centre.folder / "central.db"
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content = bytearray(b"this is no database " * 500)
    elif damage == "header":
        content[:100] = bytes(100)
    elif damage == "middle":
        content[8192 : len(content) // 2] = b"\xff" * (len(content) // 2 - 8192)
    else:
        content = content[: len(content) // 2]
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged") as caught:
        Store.open(sqlite_centre.url)
    assert "restore a backup" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "central.db").touch()
    Store.open(f"sqlite:///{tmp_path / 'central.db'}").close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="folder cannot be made"):
        Store.open(f"sqlite:///{tmp_path / 'file' / 'central.db'}")


def test_a_path_that_is_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        Store.open(f"sqlite:///{tmp_path}")


def test_a_file_that_is_some_other_database_is_no_central_one(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as database, database:
        database.execute("CREATE TABLE x (y)")
    database.close()
    with pytest.raises(StoreError, match="tables of version none"):
        Reader.open(f"sqlite:///{tmp_path / 'other.db'}")


def test_a_full_disk_is_told_as_such_and_the_same_commit_succeeds_later(sqlite_centre: Centre) -> None:
    sqlite_centre.send(rows(1, 2))
    pages = sqlite_centre.ask("PRAGMA page_count")[0][0]
    with sqlite_centre.store.database._engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    sqlite_centre.data(rows(3, 900))
    with pytest.raises(DiskFullError):
        sqlite_centre.ingest.step()
    assert sqlite_centre.ask("SELECT count(*) FROM row") == [(2,)]
    with sqlite_centre.store.database._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    (receipt,) = sqlite_centre.step()
    assert receipt.upto == 900


@pytest.mark.parametrize("is_replaced", [False, True])
def test_no_receipt_is_given_for_a_database_that_was_taken_away(sqlite_centre: Centre, *, is_replaced: bool) -> None:
    """The kernel keeps a deleted file for whoever has it open: what it takes is gone with the process."""
    sqlite_centre.send(rows(1, 2))
    path = sqlite_centre.folder / "central.db"
    path.rename(sqlite_centre.folder / "elsewhere.db")
    if is_replaced:
        path.touch()
    sqlite_centre.data(rows(3, 4))
    with pytest.raises(GoneError, match="deleted or replaced"):
        sqlite_centre.ingest.step()
    sqlite_centre.ingest.start()
    with pytest.raises(GoneError):
        sqlite_centre.ingest.stop()
    assert len(sqlite_centre.wire.receipts) == 1


def test_tables_of_the_first_version_are_brought_up_to_date_with_all_rows(sqlite_centre: Centre) -> None:
    sqlite_centre.send(rows(1, 3))
    sqlite_centre.close()
    with closing(sqlite3.connect(sqlite_centre.folder / "central.db")) as database, database:
        for name in set(METADATA.tables) - {"conflict", "device", "epoch", "gap", "incident", "row"}:
            database.execute(f"DROP TABLE {name}")
        for table, column in (("epoch", "settled"), ("device", "board"), ("device", "rev"), ("device", "every_ms")):
            database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    Store.open(sqlite_centre.url).close()
    assert sqlite_centre.ask("SELECT upto, settled FROM epoch") == [(3, 0)]
