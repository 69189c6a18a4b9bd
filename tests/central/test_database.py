"""What holds for a central database of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.central.store.database import open_editor, open_reader, open_writer
from edge.central.store.read import Query, Reader
from edge.central.store.write import Store
from edge.errors import ConfigError, InputError, StoreError
from tests.central.conftest import MakeCentre, MakeUrl
from tests.central.ingest_bench import Centre, rows


def test_opening_again_finds_everything(centre: Centre) -> None:
    centre.send(rows(1, 5))
    centre.store.close()
    again = Centre(centre.folder, url=centre.url)
    assert again.send(rows(4, 7)).upto == 7
    assert again.store.duplicates == 2
    again.close()


def test_a_database_of_a_newer_version_is_refused_by_writer_and_reader(centre: Centre) -> None:
    with centre.store.database.transaction() as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    centre.close()
    with pytest.raises(StoreError, match="newer version"):
        Store.open(centre.url)
    with pytest.raises(StoreError, match="version 9999"):
        Reader.open(centre.url)


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgres", "mysql://x"])
def test_any_other_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ConfigError, match=r"expected sqlite:///PATH.* or postgresql://USER@HOST/NAME"):
        Store.open(url)


def test_a_url_that_cannot_be_read_is_a_mistake_of_who_wrote_it() -> None:
    with pytest.raises(ConfigError, match="expected postgresql://USER@HOST/NAME"):
        Store.open("postgresql://[::1/edge")


def test_a_reader_needs_a_database_and_changes_nothing(centre: Centre, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no central database"):
        open_reader(f"sqlite:///{tmp_path / 'nowhere.db'}")
    assert not (tmp_path / "nowhere.db").exists()
    centre.send(rows(1, 2))
    reader = centre.reader()
    with pytest.raises(StoreError, match=r"read-?only"):
        reader.ask("DELETE FROM row")
    assert reader.ask("SELECT count(*) FROM row") == [(2,)]
    reader.close()


def test_a_transaction_is_kept_whole_or_not_at_all(make_url: MakeUrl) -> None:
    database = open_writer(make_url())
    label = "INSERT INTO label (device, name, value) VALUES (?, ?, ?)"

    def slip() -> None:
        with database.transaction() as transaction:
            transaction.execute(label, (1, "site", "north"))
            raise InputError("a slip of the pen")

    with pytest.raises(InputError):
        slip()
    with database.transaction() as transaction:
        assert transaction.execute("SELECT count(*) FROM label").fetchall() == [(0,)]
        transaction.executemany(label, [(1, "site", "100 % sure?"), (2, "site", ":name ::text")])
    with database.transaction() as transaction:
        found = transaction.execute("SELECT value FROM label WHERE name = :name ORDER BY device", {"name": "site"})
        assert list(found) == [("100 % sure?",), (":name ::text",)]
        assert transaction.execute("SELECT '?%:x' WHERE 1 = ?", (1,)).fetchone() == ("?%:x",)
    database.close()


def test_one_service_holds_a_database_until_it_lets_go(centre: Centre) -> None:
    hold = centre.store.database.hold("do something else")
    hold.check()
    other = open_editor(centre.url)
    with pytest.raises(StoreError, match=r"is in use by .*: stop that one first, or do something else"):
        other.hold("do something else")
    hold.close()
    other.hold("do something else").close()
    other.close()


def test_a_walk_shows_what_was_there_when_it_began_and_the_next_goes_on_from_there(centre: Centre) -> None:
    reader = centre.reader()
    assert reader.last_arrival() == 0
    centre.send(rows(1, 2))
    last = reader.last_arrival()
    walk = reader.results(Query())
    assert next(walk).seq == 1
    centre.send(rows(3, 4))
    assert [each.seq for each in walk] == [2]
    assert [each.seq for each in reader.results(Query(), after=last)] == [3, 4]
    assert [each.seq for each in reader.newest(Query(), 3)] == [2, 3, 4]
    reader.close()


def test_all_questions_inside_a_snapshot_see_the_same_moment(centre: Centre) -> None:
    centre.send(rows(1, 2))
    reader = centre.reader()
    with reader.snapshot():
        last = reader.last_arrival()
        assert reader.ask("SELECT count(*) FROM row") == [(2,)]
        centre.send(rows(3, 4))
        assert reader.ask("SELECT count(*) FROM row") == [(2,)]
        assert reader.last_arrival() == last
    assert reader.ask("SELECT count(*) FROM row") == [(4,)]
    reader.close()


@pytest.mark.parametrize("open_one", [open_reader, open_editor])
def test_a_database_without_our_tables_is_not_read(make_empty: MakeUrl, open_one: Callable[[str], object]) -> None:
    with pytest.raises(StoreError, match="tables of version none"):
        open_one(make_empty())


def test_the_database_of_another_program_is_refused_and_left_alone(
    make_empty: MakeUrl, make_centre: MakeCentre
) -> None:
    url = make_empty()
    centre = make_centre(url=url)
    with centre.store.database.transaction() as database:
        database.execute("DROP TABLE alembic_version")
    with pytest.raises(StoreError, match=r"is the database of another program \(tables .*; name another"):
        Store.open(url)
    assert centre.send(rows(1, 2)).upto == 2
