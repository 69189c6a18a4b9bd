"""Moving a central database to another one, of either kind, and going on there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.central.store.catalogue_schema import METADATA
from edge.central.store.copying import copy_to
from edge.central.store.database import open_writer
from edge.central.store.people import Person, set_label
from edge.central.store.read import Query
from edge.contract.messages import Event, Gap, Range, Row, RowClass, Update, UpdateState, encode_body
from edge.errors import InputError, ProtocolError, StoreError
from tests.central.conftest import MakeUrl
from tests.central.ingest_bench import Centre, row, rows
from tests.central.rollout.crowd import plan
from tests.central.rollout.depot import Depot

MONTH_S = 31 * 86_400
MakeTarget = Callable[[], str]


@pytest.fixture(params=["sqlite", "postgresql"])
def make_target(request: pytest.FixtureRequest) -> MakeTarget:
    """Makes the other database: of the same kind as the first, or of the other."""
    made: MakeTarget = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return made


@pytest.fixture
def filled(make_url: MakeUrl, tmp_path: Path) -> Iterator[Centre]:
    """Something in every table, and rows of two months."""
    centre = Centre(tmp_path, url=make_url())
    depot = Depot(centre)
    depot.beat("pi")
    update = Update(slot="porch", state=UpdateState.REJECTED, target="t", sha256="x", rev=1, attempt=1, made_ms=1)
    depot.say("pi", update)
    centre.send(rows(1, 1500))
    centre.clock.advance(MONTH_S)
    centre.send((*rows(1502, 1504), row(3, Event(name="x", state="on", made_ms=1))))
    centre.send((row(1505, Gap(ranges=(Range(1501, 1501),), why="quota", made_ms=1), RowClass.GAP),))
    centre.send((Row(1506, RowClass.RESULT, encode_body(Event(name="a\0b", state="on", made_ms=1))),))
    centre.give("e1/home/porch-pi/state", b"{")
    centre.step()
    depot.rollouts.create(plan(), centre.clock.wall_ms())
    with depot.rollouts.transaction() as database:
        set_label(database, Person(who="ann", now_ms=1, fleet="farm", device="pi"), "site", "nörth")
    depot.beat("pi")
    depot.turn()
    depot.close()
    yield centre
    centre.close()


def test_all_tables_are_copied_that_there_are(filled: Centre) -> None:
    from sqlalchemy import inspect

    names = set(inspect(filled.store.database._engine).get_table_names())
    assert {each for each in names if not each.startswith("row_y")} == {*METADATA.tables, "alembic_version"}


def held(centre: Centre) -> dict[str, int]:
    return {name: int(centre.ask(f"SELECT count(*) FROM {name}")[0][0]) for name in METADATA.tables}  # noqa: S608


def test_everything_is_there_and_the_service_goes_on_as_if_nothing_had_been(
    filled: Centre, make_target: MakeTarget
) -> None:
    said: list[str] = []
    target = make_target()
    count = copy_to(filled.url, target, said.append)
    other = Centre(filled.folder, url=target, clock=filled.clock)
    assert held(other) == held(filled)
    assert count == sum(held(filled).values())
    assert "row: 1506 rows, read back and the same" in said
    assert other.status() == filled.status()
    ours, theirs = (centre.reader() for centre in (filled, other))
    assert list(ours.results(Query())) == list(theirs.results(Query()))
    last = theirs.last_arrival()
    receipt = other.send(rows(1500, 1500))
    assert (receipt.upto, receipt.conflicts) == (1506, ())
    other.send(rows(1507, 1508))
    assert [each.seq for each in theirs.results(Query(), after=last)] == [1507, 1508]
    other.state(device="new-pi")
    other.step()
    assert len({key for (key,) in other.ask("SELECT id FROM device")}) == 3
    depot = Depot(other)
    assert set(depot.rollouts.load("autumn").members) == {"pi"}
    for each in (ours, theirs, depot, other):
        each.close()


def test_an_empty_database_becomes_an_empty_one_and_numbers_begin_at_one(
    make_url: MakeUrl, make_target: MakeTarget, tmp_path: Path
) -> None:
    source, target = make_url(), make_target()
    open_writer(source).close()
    assert copy_to(source, target, print) == 1
    centre = Centre(tmp_path, url=target)
    assert centre.send(rows(1, 1)).upto == 1
    assert centre.ask("SELECT arrival FROM row") == [(1,)]
    centre.close()


def test_a_database_that_holds_anything_is_not_copied_into(
    filled: Centre, make_target: MakeTarget, tmp_path: Path
) -> None:
    other = Centre(tmp_path, url=make_target())
    other.send(rows(1, 2))
    with pytest.raises(InputError, match=r"is in use .*; copy into one that is empty or new"):
        copy_to(filled.url, other.url, print)
    assert held(other)["row"] == 2
    other.close()


def test_while_a_service_runs_on_either_nothing_is_copied(filled: Centre, make_target: MakeTarget) -> None:
    target = make_target()
    hold = filled.store.database.hold("")
    with pytest.raises(StoreError, match=r"in use by .*: stop that one first, or copy a backup of it"):
        copy_to(filled.url, target, print)
    hold.close()
    database = open_writer(target)
    hold = database.hold("")
    with pytest.raises(StoreError, match=r"in use by .*: stop that one first, or name another one"):
        copy_to(filled.url, target, print)
    hold.close()
    database.close()
    with pytest.raises(StoreError, match="in use by"):
        copy_to(filled.url, filled.url, print)


def test_what_fails_on_the_way_leaves_an_empty_database(
    sqlite_centre: Centre, postgres_url: MakeUrl, tmp_path: Path
) -> None:
    sqlite_centre.send(rows(1, 1200))
    with sqlite_centre.store.database.transaction() as database:
        database.execute("UPDATE row SET class = 1 << 40 WHERE seq = 1100")
    target = postgres_url()
    with pytest.raises(ProtocolError, match="does not fit"):
        copy_to(sqlite_centre.url, target, print)
    other = Centre(tmp_path, url=target)
    assert sum(held(other).values()) == 1
    other.close()


def test_a_copy_that_is_not_the_same_is_told_and_not_kept(
    sqlite_centre: Centre, postgres_url: MakeUrl, tmp_path: Path
) -> None:
    sqlite_centre.send(rows(1, 3))
    other = Centre(tmp_path, url=postgres_url())
    with other.store.database.transaction() as database:
        database.execute(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.why = 'x'; RETURN NEW; END $$"
        )
        database.execute("CREATE TRIGGER spoil BEFORE INSERT ON epoch FOR EACH ROW EXECUTE FUNCTION spoil()")
    with pytest.raises(StoreError, match=r"epoch: 1 rows were read from .* not the same .* nothing was copied"):
        copy_to(sqlite_centre.url, other.url, print)
    assert sum(held(other).values()) == 1
    other.close()
