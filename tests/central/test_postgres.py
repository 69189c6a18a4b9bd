"""What is particular to a central database on a PostgreSQL server: several writers, months, a server that goes away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.central.store.arrived import Delivery, Sender
from edge.central.store.catalogue_schema import METADATA
from edge.central.store.database import Database, open_reader, open_writer
from edge.central.store.partitions import month_of
from edge.central.store.placeholders import to_format
from edge.central.store.read import Query, Reader
from edge.central.store.write import Store
from edge.contract.messages import Batch, Event, Range, Row, RowClass, encode_body
from edge.errors import DiskFullError, StoreError
from tests.central.conftest import MakeUrl
from tests.central.ingest_bench import Centre, row, rows
from tests.simulators.clock import ManualClock
from tests.simulators.postgres import Postgres, find_postgres

MONTH_MS = 31 * 86_400_000


@pytest.fixture
def centre(postgres_url: MakeUrl, tmp_path: Path) -> Iterator[Centre]:
    centre = Centre(tmp_path, url=postgres_url())
    yield centre
    centre.close()


def terminate(database: Database) -> None:
    """Let the server end everyone's connections to this database but the caller's own."""
    with database.transaction() as transaction:
        transaction.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()"
        )


def test_the_migrations_lead_to_the_tables_that_the_program_expects(centre: Centre) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    centre.send(rows(1, 1))
    with centre.store.database._engine.connect() as connection:
        options = {"include_name": lambda name, kind, _: kind != "table" or not name.startswith("row_y")}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []


def test_two_that_open_an_empty_database_at_once_take_turns(postgres: Postgres) -> None:
    url = postgres.create()
    opened: list[Store] = []
    threads = [threading.Thread(target=lambda: opened.append(Store.open(url))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(opened) == 4
    for store in opened:
        store.close()
    postgres.drop(url)


def test_a_commit_is_on_disk_also_where_the_server_would_answer_before(centre: Centre) -> None:
    with centre.store.database.transaction() as transaction:
        assert transaction.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_a_server_or_a_database_that_is_not_there_is_told_without_the_password(postgres: Postgres) -> None:
    with pytest.raises(StoreError, match=r'"nowhere" does not exist.*createdb') as caught:
        Store.open(postgres.url("nowhere").replace("edge@", "edge:secret@"))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="refused"):
        Store.open("postgresql://edge@127.0.0.1:1/edge")


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: Postgres) -> None:
    url = postgres.create("template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(StoreError, match=r"holds texts as SQL_ASCII.*UTF8"):
        Store.open(url)
    postgres.drop(url)


def test_after_the_server_ended_the_connection_nothing_is_lost_and_the_same_commit_succeeds(centre: Centre) -> None:
    centre.send(rows(1, 2))
    other = open_writer(centre.url)
    terminate(other)
    other.close()
    centre.data(rows(3, 4))
    with pytest.raises(StoreError, match="terminat"):
        centre.ingest.step()
    (receipt,) = centre.step()
    assert receipt.upto == 4


def test_a_server_that_was_away_is_used_again_by_writer_reader_and_holder(tmp_path: Path) -> None:
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with Postgres(programs) as server:
        centre = Centre(tmp_path, url=server.create())
        hold = centre.store.database.hold("wait")
        reader = centre.reader()
        centre.send(rows(1, 2))
        assert reader.last_arrival()
        server.kill()
        centre.data(rows(3, 4))
        for _ in range(2):
            with pytest.raises(StoreError):
                centre.ingest.step()
            hold.check()
        with pytest.raises(StoreError, match="refused"):
            reader.last_arrival()
        server.start()
        hold.check()
        (receipt,) = centre.step()
        assert receipt.upto == 4
        assert [each.seq for each in reader.results(Query())] == [1, 2, 3, 4]
        with pytest.raises(StoreError, match="in use"):
            centre.store.database.hold("wait")
        hold.close()
        reader.close()
        centre.close()


def test_who_lost_the_hold_to_another_while_the_connection_was_gone_is_told(centre: Centre) -> None:
    hold = centre.store.database.hold("wait")
    other = open_writer(centre.url)
    terminate(other)
    taken = other.hold("wait")
    with pytest.raises(StoreError, match="in use by edge"):
        hold.check()
    taken.close()
    other.close()


def test_a_full_disk_of_the_server_is_told_as_such_and_the_same_commit_succeeds_later(centre: Centre) -> None:
    centre.send(rows(1, 2))
    table = month_of(centre.clock.wall_ms()).table
    with centre.store.database.transaction() as transaction:
        transaction.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
        )
        transaction.execute(f"CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail()")
    centre.data(rows(3, 900))
    with pytest.raises(DiskFullError, match="server's disk is full"):
        centre.ingest.step()
    with centre.store.database.transaction() as transaction:
        transaction.execute(f"DROP TRIGGER fail ON {table}")
    (receipt,) = centre.step()
    assert receipt.upto == 900


def test_a_nul_in_a_text_is_kept_as_a_replacement_and_the_body_as_it_is(centre: Centre) -> None:
    body = encode_body(Event(name="a\0b", state="on", made_ms=1)).replace(b"event", b"ev\0nt")
    assert centre.send((Row(1, RowClass.RESULT, body),)).ranges == (Range(1, 1),)
    assert centre.ask("SELECT type, body FROM row") == [("ev\ufffdnt", body)]


def test_rows_lie_in_the_month_in_which_they_came_and_a_number_is_used_once_over_all(centre: Centre) -> None:
    centre.send(rows(1, 3))
    centre.clock.advance(MONTH_MS / 1000)
    centre.send(rows(2, 5))
    centre.clock.advance(-MONTH_MS / 1000)
    receipt = centre.send((*rows(4, 6), row(2, Event(name="x", state="on", made_ms=1))))
    assert receipt.ranges == (Range(4, 6),)
    assert receipt.conflicts == (Range(2, 2),)
    assert centre.ask("SELECT tableoid::regclass::text, count(*) FROM row GROUP BY 1 ORDER BY 1") == [
        ("row_y2023m11", 4),
        ("row_y2023m12", 2),
    ]
    assert centre.status().rows == 6


def test_a_month_that_was_taken_away_is_made_again(centre: Centre) -> None:
    centre.send(rows(1, 2))
    centre.send(rows(3, 4))
    with centre.store.database.transaction() as transaction:
        transaction.execute(f"DROP TABLE {month_of(centre.clock.wall_ms()).table}")
    centre.data(rows(5, 6))
    with pytest.raises(StoreError, match="no partition"):
        centre.ingest.step()
    (receipt,) = centre.step()
    assert receipt.ranges == (Range(5, 6),)


@pytest.mark.parametrize(
    ("got_ms", "table", "days"),
    [
        (0, "row_y1970m01", 31),
        (1_709_164_800_000, "row_y2024m02", 29),
        (1_735_689_599_999, "row_y2024m12", 31),
        (1_735_689_600_000, "row_y2025m01", 31),
    ],
)
def test_a_month_goes_from_its_first_to_its_last_millisecond(got_ms: int, table: str, days: int) -> None:
    month = month_of(got_ms)
    assert month.table == table
    assert month.from_ms <= got_ms < month.to_ms
    assert month.to_ms - month.from_ms == days * 86_400_000
    assert month_of(month.to_ms - 1) == month
    assert month_of(month.to_ms) != month


def test_a_reader_never_goes_on_from_an_arrival_while_an_earlier_one_is_still_to_be_committed(centre: Centre) -> None:
    first, second = open_writer(centre.url), open_writer(centre.url)
    reader = centre.reader()
    centre.send(rows(1, 1))
    known = reader.last_arrival()
    template = centre.ask("SELECT * FROM row")[0]

    def insert(transaction, seq: int) -> int:
        arrival = transaction.next_arrival()
        transaction.insert_rows([(*template[:2], seq, *template[3:7], arrival, *template[8:])], {})
        return int(arrival)

    with first.transaction() as slow:
        insert(slow, 2)
        with second.transaction() as fast:
            latest = insert(fast, 3)
        assert reader.ask("SELECT max(arrival) FROM row") == [(latest,)]
        assert reader.last_arrival() == known
        assert list(reader.results(Query(), after=known)) == []
        with reader.snapshot():
            assert reader.last_arrival() == known
    assert reader.last_arrival() == latest
    assert [each.seq for each in reader.results(Query(), after=known)] == [2, 3]
    for each in (first, second, reader):
        each.close()


def deliver(device: str, first: int, last: int) -> Delivery:
    return Delivery(sender=Sender(fleet="home", device=device), batch=Batch(epoch=7, session=3, rows=rows(first, last)))


def race(*works: Callable[[], None]) -> None:
    """Run all at once; raise what one of them raised."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as err:
            failures.append(err)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if failures:
        raise failures[0]


def test_several_writers_that_are_sent_the_same_take_each_row_once_and_never_block_one_another(centre: Centre) -> None:
    stores = [Store.open(centre.url) for _ in range(4)]
    devices = [f"pi-{number}" for number in range(6)]

    def work(place: int) -> None:
        order = devices if place % 2 else devices[::-1]  # without an order of locks they would wait for each other
        for first in range(1, 200, 20):
            messages = [deliver(device, first, first + 24) for device in order]
            answers = stores[place].commit(messages, 1_700_000_000_000)
            assert all(answer.receipt.upto >= first + 24 for answer in answers)

    race(*(lambda place=place: work(place) for place in range(4)))
    assert sum(each.inserted for each in stores) == 6 * 205
    assert centre.ask("SELECT count(*), count(DISTINCT (device, epoch, seq)) FROM row") == [(6 * 205, 6 * 205)]
    assert centre.ask("SELECT DISTINCT upto, highest FROM epoch") == [(205, 205)]
    for store in stores:
        store.close()


def test_a_follower_sees_each_row_once_while_several_write(centre: Centre) -> None:
    stores = [Store.open(centre.url) for _ in range(3)]
    done = threading.Event()
    seen: list[tuple[str, int]] = []

    def work(place: int) -> None:
        for first in range(1, 150, 3):
            stores[place].commit([deliver(f"pi-{place}", first, first + 2)], 1_700_000_000_000)

    def follow() -> None:
        reader = Reader.open(centre.url)
        last = 0
        while True:
            is_over = done.is_set()
            newest = reader.last_arrival()
            seen.extend(
                (each.device, each.seq) for each in reader.results(Query(), after=last) if each.arrival <= newest
            )
            last = newest
            if is_over:
                break
        reader.close()

    follower = threading.Thread(target=follow)
    follower.start()
    race(*(lambda place=place: work(place) for place in range(3)))
    done.set()
    follower.join()
    assert len(seen) == len(set(seen)) == 3 * 150
    for store in stores:
        store.close()


def test_devices_of_a_database_that_was_restored_meanwhile_are_known_anew(centre: Centre) -> None:
    centre.send(rows(1, 2))
    with centre.store.database.transaction() as transaction:
        for table in ("row", "epoch", "device"):
            transaction.execute(f"DELETE FROM {table}")  # noqa: S608 - three words
    centre.data(rows(3, 4))
    with pytest.raises(StoreError, match="was it restored"):
        centre.ingest.step()
    (receipt,) = centre.step()
    assert receipt.ranges == (Range(3, 4),)


def test_a_reader_on_a_database_whose_clock_went_on_reads_its_months(centre: Centre) -> None:
    clock = centre.clock
    assert isinstance(clock, ManualClock)
    for month in range(4):
        centre.send(rows(month + 1, month + 1))
        clock.advance(MONTH_MS / 1000)
    reader = Reader.open(centre.url)
    assert [each.seq for each in reader.newest(Query(), 10)] == [1, 2, 3, 4]
    reader.close()


@pytest.mark.parametrize(
    ("statement", "written"),
    [
        ("SELECT ?", b"SELECT %s"),
        ("a = :slot AND b = :slot", b"a = %(slot)s AND b = %(slot)s"),
        ("'? :x 5 %' || \"?\" || ?", b"'? :x 5 %%' || \"?\" || %s"),
        ("x::text % 2", b"x::text %% 2"),
    ],
)
def test_places_for_values_are_written_as_the_driver_wants_them(statement: str, written: bytes) -> None:
    assert to_format(statement) == written


def test_a_database_is_named_without_its_password_and_options(centre: Centre) -> None:
    url = centre.url.replace("edge@", "edge:secret@") + "?application_name=x&connect_timeout=3"
    database = open_reader(url)
    assert database.name == centre.url
    database.close()
