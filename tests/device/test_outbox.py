from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.contract.messages import (
    Batch,
    EpochStart,
    EpochWhy,
    Event,
    Gap,
    Nack,
    Range,
    Receipt,
    Row,
    RowClass,
    decode_body,
)
from edge.contract.ranges import merge
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.connection import Connection, open_connection
from edge.device.outbox.store import Outbox
from edge.errors import DiskFullError, StoreError
from tests.simulators.clock import ManualClock

SESSION = 7
KB = 1 / 1024


def event(number: int, size: int = 10) -> Event:
    return Event(name=f"n{number}", state="on", made_ms=number, detail="x" * size)


def name_of(row: Row) -> str:
    body = decode_body(row.body)
    return body.name if isinstance(body, Event) else type(body).__name__


def everything(outbox: Outbox) -> list[Batch]:
    batches: list[Batch] = []
    skip: dict[int, list[Range]] = {}
    while (batch := outbox.read(session=SESSION, skip=skip)) is not None:
        batches.append(batch)
        skip.setdefault(batch.epoch, []).append(Range(batch.rows[0].seq, batch.rows[-1].seq))
    return batches


def rows_of(outbox: Outbox) -> list[Row]:
    return [row for batch in everything(outbox) for row in batch.rows]


def gaps_of(outbox: Outbox, why: str) -> tuple[Range, ...]:
    bodies = [decode_body(row.body) for row in rows_of(outbox)]
    return merge(each for body in bodies if isinstance(body, Gap) and body.why == why for each in body.ranges)


def starts_of(outbox: Outbox) -> list[EpochStart]:
    return [body for row in rows_of(outbox) if isinstance(body := decode_body(row.body), EpochStart)]


def answer(outbox: Outbox, *, session: int = SESSION, **fields: Any) -> None:
    fields = {"epoch": outbox.status().epoch, "upto": 0, "highest": 0} | fields
    outbox.settle(Receipt(session=session, **fields), session=SESSION)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with Outbox(path, OutboxConfig(group_ms=0), ManualClock()) as opened:
        yield opened


def put(outbox: Outbox, *numbers: int, row_class: RowClass = RowClass.RESULT, size: int = 10) -> list[int]:
    waiting = [outbox.put(row_class, event(number, size)) for number in numbers]
    return [future.result(timeout=10) for future in waiting]


def test_the_first_row_of_a_new_outbox_says_that_it_is_new(outbox: Outbox) -> None:
    (row,) = rows_of(outbox)
    assert row.seq == 1
    assert decode_body(row.body) == EpochStart(why=EpochWhy.NEW, made_ms=ManualClock().wall_ms())


def test_numbers_are_given_in_order_and_rows_come_back_as_they_went_in(outbox: Outbox) -> None:
    assert put(outbox, 1, 2, 3) == [2, 3, 4]
    assert [name_of(row) for row in rows_of(outbox)[1:]] == ["n1", "n2", "n3"]


def test_a_row_that_resolved_is_there_after_a_restart_and_its_number_is_not_given_again(path: Path) -> None:
    with Outbox(path) as first:
        put(first, 1)
        answer(first, ranges=(Range(1, 2),))
        first.flush()
        assert rows_of(first) == []
    with Outbox(path) as second:
        assert put(second, 2) == [3]
        assert [name_of(row) for row in rows_of(second)] == ["n2"]


def test_closing_commits_what_was_put(path: Path) -> None:
    with Outbox(path) as outbox:
        futures = [outbox.put(RowClass.RESULT, event(number)) for number in range(170)]
    assert [future.result(timeout=0) for future in futures] == list(range(2, 172))


def test_after_closing_a_put_fails_in_its_future_and_not_in_the_caller(path: Path) -> None:
    with Outbox(path) as outbox:
        pass
    with pytest.raises(StoreError, match="closed"):
        outbox.put(RowClass.RESULT, event(1)).result(timeout=0)
    outbox.close()


def test_a_receipt_removes_exactly_its_ranges(outbox: Outbox) -> None:
    put(outbox, *range(1, 10))
    answer(outbox, ranges=(Range(2, 3), Range(6, 6)), highest=6)
    assert [row.seq for row in rows_of(outbox)] == [1, 4, 5, 7, 8, 9, 10]
    outbox.flush()
    assert outbox.status().rows == 7


def test_upto_alone_removes_nothing(outbox: Outbox) -> None:
    put(outbox, *range(1, 10))
    answer(outbox, upto=10, highest=10)
    assert len(rows_of(outbox)) == 10


@pytest.mark.parametrize("fields", [{"session": 99}, {"epoch": 12345}, {"session": 0}])
def test_a_receipt_for_someone_else_removes_nothing(outbox: Outbox, fields: dict[str, int]) -> None:
    put(outbox, 1)
    answer(outbox, ranges=(Range(1, 2),), highest=2, **fields)
    outbox.flush()
    assert [row.seq for row in rows_of(outbox)] == [1, 2]


def test_batches_are_bounded_and_a_larger_row_comes_alone(outbox: Outbox) -> None:
    put(outbox, *range(200), size=1000)
    put(outbox, 200, size=100_000)
    batches = everything(outbox)
    sizes = [sum(len(row.body) for row in batch.rows) for batch in batches]
    assert all(size <= 60 * 1024 for size in sizes[:-1])
    assert len(batches[-1].rows) == 1
    assert sizes[-1] > 100_000
    assert sum(len(batch.rows) for batch in batches) == 202


def test_rows_in_flight_are_not_read_again(outbox: Outbox) -> None:
    put(outbox, *range(1, 10))
    epoch = outbox.status().epoch
    batch = outbox.read(session=SESSION, skip={epoch: [Range(4, 6), Range(1, 2)]})
    assert batch is not None
    assert [row.seq for row in batch.rows] == [3]
    batch = outbox.read(session=SESSION, skip={epoch: [Range(1, 6)]})
    assert batch is not None
    assert [row.seq for row in batch.rows] == [7, 8, 9, 10]


def test_watchers_hear_of_new_rows(outbox: Outbox) -> None:
    heard = threading.Event()
    outbox.watch(heard.set)
    put(outbox, 1)
    assert heard.wait(timeout=10)


# Quota


def test_over_its_quota_the_oldest_rows_become_one_gap(path: Path) -> None:
    with Outbox(path, OutboxConfig(quota_mb=64 * KB, group_ms=0), ManualClock()) as outbox:
        seqs = put(outbox, *range(300), size=1000)
        kept = [row.seq for row in rows_of(outbox) if name_of(row).startswith("n")]
        gap_rows = [row for row in rows_of(outbox) if name_of(row) == "Gap"]
        assert outbox.status().size_bytes <= 64 * 1024
        assert len(gap_rows) == 1
        lost = {seq for each in gaps_of(outbox, "quota") for seq in range(each.lo, each.hi + 1)}
        assert set(seqs) - set(kept) <= lost
        assert kept == seqs[-len(kept) :] or kept[-1] == seqs[-1]
        assert outbox.status().evicted == len(set(seqs) - set(kept))
        assert rows_of(outbox)[0].seq == 1, "the epoch's start is never evicted"
        everything_named = lost | {row.seq for row in rows_of(outbox)}
        assert everything_named == set(range(1, outbox.status().next_seq))


def test_the_lowest_class_goes_first(path: Path) -> None:
    with Outbox(path, OutboxConfig(quota_mb=64 * KB, debug_mb=None, group_ms=0), ManualClock()) as outbox:
        put(outbox, *range(20), row_class=RowClass.ALARM, size=1000)
        put(outbox, *range(100, 120), row_class=RowClass.DEBUG, size=1000)
        put(outbox, *range(200, 400), row_class=RowClass.RESULT, size=1000)
        kept = {row.row_class for row in rows_of(outbox)}
        assert kept == {RowClass.ALARM, RowClass.RESULT, RowClass.GAP}
        assert sum(row.row_class is RowClass.ALARM for row in rows_of(outbox)) == 20


def test_a_class_may_have_its_own_quota(path: Path) -> None:
    with Outbox(path, OutboxConfig(quota_mb=10, debug_mb=8 * KB, group_ms=0), ManualClock()) as outbox:
        put(outbox, *range(10), size=1000)
        put(outbox, *range(100, 140), row_class=RowClass.DEBUG, size=1000)
        kept = [row.row_class for row in rows_of(outbox)]
        assert kept.count(RowClass.RESULT) == 10
        assert 1 <= kept.count(RowClass.DEBUG) <= 8


def test_interleaved_classes_make_gap_rows_that_still_fit_a_batch(path: Path) -> None:
    with Outbox(path, OutboxConfig(quota_mb=10, debug_mb=KB, group_ms=0, group_rows=1000), ManualClock()) as outbox:
        for number in range(2500):
            outbox.put(RowClass.RESULT, event(number, 0))
            outbox.put(RowClass.DEBUG, event(number, 0))
        outbox.flush()
        gap_rows = [row for row in rows_of(outbox) if name_of(row) == "Gap"]
        assert all(len(row.body) < 20_000 for row in gap_rows)
        named = {seq for each in gaps_of(outbox, "quota") for seq in range(each.lo, each.hi + 1)}
        assert named | {row.seq for row in rows_of(outbox)} == set(range(1, outbox.status().next_seq))


# What the centre refuses, and lineages


def test_a_refused_row_is_kept_for_people_reported_and_covered_by_a_gap(outbox: Outbox, path: Path) -> None:
    put(outbox, 1, 2, 3)
    answer(outbox, nack=(Nack(3, 3, "no such pipeline"),), highest=4)
    outbox.flush()
    assert gaps_of(outbox, "refused") == (Range(3, 3),)
    assert "row_refused" in [name_of(row) for row in rows_of(outbox)]
    assert "n2" not in [name_of(row) for row in rows_of(outbox)]
    assert outbox.status().dead == 1
    (dead,) = sqlite3.connect(path).execute("SELECT seq, why, body FROM dead").fetchall()
    assert dead[:2] == (3, "no such pipeline")
    assert decode_body(dead[2]) == event(2)


def test_a_centre_that_refuses_everything_comes_to_an_end(outbox: Outbox) -> None:
    put(outbox, 1, 2, 3)
    for _ in range(10):
        rows = rows_of(outbox)
        if not rows:
            break
        answer(outbox, nack=(Nack(rows[0].seq, rows[-1].seq, "never"),), highest=rows[-1].seq)
        outbox.flush()
    assert rows_of(outbox) == []
    assert outbox.status().dead <= 12


def test_dead_rows_are_bounded(path: Path) -> None:
    with Outbox(path, OutboxConfig(dead_rows=3, group_ms=0), ManualClock()) as outbox:
        seqs = put(outbox, *range(10))
        answer(outbox, nack=(Nack(seqs[0], seqs[-1], "no"),), highest=seqs[-1])
        outbox.flush()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM dead").fetchone() == (3,)


def test_a_restored_card_begins_a_new_epoch_and_loses_no_row(outbox: Outbox) -> None:
    put(outbox, 1, 2)
    old = outbox.status().epoch
    answer(outbox, highest=500, upto=500, ranges=(Range(1, 1),), conflicts=(Range(2, 3),))
    outbox.flush()
    status = outbox.status()
    assert status.epoch != old
    (start,) = starts_of(outbox)
    assert (start.why, start.prev, start.prev_end) == (EpochWhy.RESTORED, old, 501)
    assert [name_of(row) for row in rows_of(outbox)] == ["EpochStart", "n1", "n2"]
    assert {batch.epoch for batch in everything(outbox)} == {status.epoch}


def test_a_receipt_for_the_other_twin_reveals_a_restored_card_too(outbox: Outbox) -> None:
    put(outbox, 1)
    old = outbox.status().epoch
    answer(outbox, session=99, highest=500, ranges=(Range(1, 500),))
    outbox.flush()
    assert outbox.status().epoch != old
    assert sorted(name_of(row) for row in rows_of(outbox)) == ["EpochStart", "EpochStart", "n1"]


def test_a_cloned_device_numbers_its_own_rows_anew(outbox: Outbox) -> None:
    put(outbox, 1, 2, 3)
    old = outbox.status().epoch
    answer(outbox, highest=4, ranges=(Range(1, 2), Range(4, 4)), conflicts=(Range(3, 3),))
    outbox.flush()
    (start,) = starts_of(outbox)
    assert (start.why, start.prev, start.prev_end) == (EpochWhy.CLONED, old, None)
    assert [name_of(row) for row in rows_of(outbox)] == ["EpochStart", "n2"]


def test_a_gap_in_conflict_stays_in_its_epoch_above_all_known_numbers(path: Path) -> None:
    with Outbox(path, OutboxConfig(quota_mb=16 * KB, group_ms=0), ManualClock()) as outbox:
        put(outbox, *range(40), size=1000)
        (gap_row,) = [row for row in rows_of(outbox) if name_of(row) == "Gap"]
        old = outbox.status().epoch
        answer(outbox, highest=900, conflicts=(Range(gap_row.seq, gap_row.seq),))
        outbox.flush()
        (moved,) = [(batch.epoch, row) for batch in everything(outbox) for row in batch.rows if name_of(row) == "Gap"]
        assert moved[0] == old
        assert moved[1].seq == 901
        assert moved[1].body == gap_row.body


# The disk


class BadDisk:
    """A connection whose writes fail while `error` is set; counts the attempts."""

    def __init__(self) -> None:
        self.error: type[StoreError] | None = None
        self.blocks: Callable[[str], bool] = lambda sql: sql.startswith("INSERT INTO row")
        self.attempts = 0

    def __call__(self, path: Path) -> Connection:
        return _BadConnection(self, open_connection(path))


class _BadConnection:
    def __init__(self, disk: BadDisk, inner: Connection) -> None:
        self._disk = disk
        self._inner = inner

    def _check(self, sql: str) -> None:
        if self._disk.error is not None and self._disk.blocks(sql):
            self._disk.attempts += 1
            raise self._disk.error("database or disk is full")

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self._check(sql)
        return self._inner.execute(sql, values)

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        return self._inner.stream(sql, values)

    def execute_each(self, sql: str, values: Any) -> None:
        self._check(sql)
        self._inner.execute_each(sql, values)

    def close(self) -> None:
        self._inner.close()


def test_a_full_disk_is_a_gap_and_not_a_crash(path: Path) -> None:
    disk, clock = BadDisk(), ManualClock()
    with Outbox(path, OutboxConfig(group_ms=0), clock, connect=disk) as outbox:
        put(outbox, 1)
        disk.error = DiskFullError
        failed = [outbox.put(RowClass.RESULT, event(number)) for number in range(2, 7)]
        for future in failed:
            with pytest.raises(DiskFullError):
                future.result(timeout=10)
        assert outbox.status().is_full
        disk.error = None
        clock.advance(5)
        assert put(outbox, 7)
        assert not outbox.status().is_full
        lost = gaps_of(outbox, "disk_full")
        assert sum(each.hi - each.lo + 1 for each in lost) == 5
        assert [name_of(row) for row in rows_of(outbox)] == ["EpochStart", "n1", "Gap", "n7"]
        assert outbox.status().refused == 5


def test_a_full_disk_is_not_hammered(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = BadDisk()
    with Outbox(path, OutboxConfig(group_ms=0), connect=disk) as outbox:
        disk.error = DiskFullError
        for number in range(200):
            with pytest.raises(DiskFullError):
                outbox.put(RowClass.RESULT, event(number)).result(timeout=10)
        # At most one attempt a second, each with and without the reserve and the receipts.
        assert disk.attempts < 40
        assert len(caplog.records) == 1
        disk.error = None


def test_a_full_disk_still_takes_the_gap_from_the_reserve(path: Path) -> None:
    """SQLite itself says that it is full: the page limit stands for the disk, and the reserve for its last blocks."""
    limited: list[Connection] = []

    def connect(where: Path) -> Connection:
        connection = open_connection(where)
        limited.append(connection)
        return connection

    with Outbox(path, OutboxConfig(group_ms=0), ManualClock(), connect=connect) as outbox:
        put(outbox, 1)
        outbox.put(RowClass.RESULT, event(2)).result(timeout=10)
        limited_pages = limited[0]
        # Only the store thread may touch the connection: the limit is set from a watcher.
        done = threading.Event()

        def limit() -> None:
            pages = limited_pages.execute("PRAGMA page_count")[0][0]
            limited_pages.execute(f"PRAGMA max_page_count={pages + 2}")
            done.set()

        outbox._watchers.append(limit)
        put(outbox, 3)
        assert done.is_set()
        outbox._watchers.clear()
        futures = [outbox.put(RowClass.RESULT, event(number, 3000)) for number in range(10, 40)]
        failures = [future for future in futures if future.exception(timeout=10) is not None]
        assert failures
        assert all(isinstance(future.exception(), DiskFullError) for future in failures)
        lost = gaps_of(outbox, "disk_full")
        assert sum(each.hi - each.lo + 1 for each in lost) == len(failures)


def test_the_reserve_lies_beside_the_database_and_is_given_back_when_needed(path: Path) -> None:
    disk = BadDisk()
    reserve = path.with_suffix(".reserve")
    with Outbox(path, OutboxConfig(group_ms=0, reserve_kb=128), ManualClock(), connect=disk) as outbox:
        assert reserve.stat().st_size == 128 * 1024
        found: list[bool] = []  # at each attempt: afterwards it is filled again, for this disk has room in truth
        usual = disk.blocks
        disk.blocks = lambda sql: not found.append(reserve.exists()) and usual(sql)
        disk.error = DiskFullError
        assert isinstance(outbox.put(RowClass.RESULT, event(1)).exception(timeout=10), DiskFullError)
        assert found[0]
        assert not all(found)
        disk.error = None


def test_a_failed_transaction_changes_nothing(path: Path) -> None:
    disk, clock = BadDisk(), ManualClock()
    disk.blocks = lambda sql: sql == "COMMIT"
    with Outbox(path, OutboxConfig(group_ms=0), clock, connect=disk) as outbox:
        before = outbox.status()
        disk.error = DiskFullError
        assert isinstance(outbox.put(RowClass.RESULT, event(1)).exception(timeout=10), DiskFullError)
        assert outbox.status().next_seq == before.next_seq
        assert outbox.status().rows == before.rows
        disk.error = None
        clock.advance(5)
        put(outbox, 2)
        assert gaps_of(outbox, "disk_full") == (Range(2, 2),)


def test_an_outbox_that_was_closed_while_full_still_records_its_gap_when_it_can(path: Path) -> None:
    disk = BadDisk()
    with Outbox(path, OutboxConfig(group_ms=0), ManualClock(), connect=disk) as outbox:
        disk.error = DiskFullError
        assert outbox.put(RowClass.RESULT, event(1)).exception(timeout=10)
        disk.error = None
    with Outbox(path) as outbox:
        assert gaps_of(outbox, "disk_full") == (Range(2, 2),)


def test_closing_on_a_full_disk_comes_to_an_end(path: Path) -> None:
    disk = BadDisk()
    with Outbox(path, OutboxConfig(group_ms=0), ManualClock(), connect=disk) as outbox:
        put(outbox, 1)
        disk.error, disk.blocks = DiskFullError, lambda sql: sql == "COMMIT"
        answer(outbox, ranges=(Range(1, 2),), highest=2)
        futures = [outbox.put(RowClass.RESULT, event(number)) for number in range(120)]
    assert all(isinstance(future.exception(timeout=0), DiskFullError) for future in futures)


def test_a_file_that_is_no_database_is_kept_aside_and_a_new_epoch_says_so(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)
    with Outbox(path) as outbox:
        (start,) = starts_of(outbox)
        assert (start.why, start.prev, start.prev_end) == (EpochWhy.BROKEN, None, None)
        alarms = [decode_body(row.body) for row in rows_of(outbox) if row.row_class is RowClass.ALARM]
        assert [(alarm.name, alarm.state) for alarm in alarms if isinstance(alarm, Event)] == [("outbox", "broken")]
        put(outbox, 1)
    assert path.with_name("outbox.db.broken").read_bytes().startswith(b"this is no database")


def _spoil(path: Path, keep_bytes: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:keep_bytes] + b"\xa5" * (len(whole) - keep_bytes))


def test_a_broken_database_names_the_epoch_it_was_where_that_can_be_read(path: Path) -> None:
    with Outbox(path) as outbox:
        put(outbox, *range(500), size=100)
        old = outbox.status()
    _spoil(path, 4096 * 2)  # the schema and the first table survive
    with Outbox(path) as outbox:
        rows_of(outbox)  # a page deep inside shows the damage
        starts = [start for start in starts_of(outbox) if start.why is EpochWhy.BROKEN]
        assert [(start.prev, start.prev_end) for start in starts] == [(old.epoch, old.next_seq)]
        assert put(outbox, 1)


def test_damage_that_shows_only_while_running_costs_no_row_in_hand(path: Path) -> None:
    disk = BadDisk()
    disk.blocks = lambda sql: sql.startswith("INSERT INTO row")
    with Outbox(path, OutboxConfig(group_ms=0), ManualClock(), connect=disk) as outbox:
        put(outbox, 1)
        old = outbox.status()
        from edge.device.outbox.connection import CorruptError

        failing = _OnceCorrupt(CorruptError)
        disk.blocks = failing
        disk.error = CorruptError
        assert put(outbox, 2)
        names = [name_of(row) for row in rows_of(outbox)]
        assert names == ["EpochStart", "n1", "EpochStart", "outbox", "n2"]
        _, start = starts_of(outbox)
        assert (start.prev, start.prev_end) == (old.epoch, old.next_seq)
    assert path.with_name("outbox.db.broken").exists()


class _OnceCorrupt:
    def __init__(self, error: type[StoreError]) -> None:
        self.error = error
        self.count = 0

    def __call__(self, sql: str) -> bool:
        if not sql.startswith("INSERT INTO row"):
            return False
        self.count += 1
        return self.count == 1


def test_a_log_left_without_its_database_is_not_taken_for_a_new_outbox(path: Path) -> None:
    path.with_name("outbox.db-wal").write_bytes(b"left behind")
    with Outbox(path) as outbox:
        (start,) = starts_of(outbox)
        assert start.why is EpochWhy.BROKEN
    assert path.with_name("outbox.db-wal.broken").exists()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    with Outbox(path):
        pass
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="newer version"), Outbox(path):
        pass
    assert not path.with_name("outbox.db.broken").exists()


def test_a_folder_that_does_not_exist_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="data_dir"), Outbox(tmp_path / "missing" / "outbox.db"):
        pass


def test_the_second_process_is_refused_with_one_clear_error(outbox: Outbox, path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edge.device.outbox.store import Outbox\n"
        "with Outbox(Path(sys.argv[1])): pass"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is in use by process" in done.stderr.splitlines()[-1]
    put(outbox, 1)


def test_a_clock_that_jumps_by_years_changes_nothing(path: Path) -> None:
    clock = ManualClock(wall_ms=0)
    with Outbox(path, OutboxConfig(group_ms=0), clock) as outbox:
        first = put(outbox, 1, 2)
        clock.set_wall_ms(4_000_000_000_000)
        second = put(outbox, 3)
        clock.set_wall_ms(1)
        third = put(outbox, 4)
        assert first + second + third == [2, 3, 4, 5]
        assert [row.seq for row in rows_of(outbox)] == [1, 2, 3, 4, 5]


# The queue


def test_a_row_that_is_too_large_is_refused_in_its_future_and_becomes_a_gap(path: Path) -> None:
    with Outbox(path, OutboxConfig(row_kb=1, group_ms=0), ManualClock()) as outbox:
        with pytest.raises(StoreError, match="row_kb"):
            outbox.put(RowClass.RESULT, event(1, 2000)).result(timeout=10)
        put(outbox, 2)
        outbox.flush()
        assert sum(each.hi - each.lo + 1 for each in gaps_of(outbox, "too_large")) == 1


def test_a_full_queue_refuses_in_the_future_and_becomes_a_gap(path: Path) -> None:
    disk = BadDisk()
    holding, release = threading.Event(), threading.Event()

    def hold(sql: str) -> bool:
        if sql.startswith("INSERT INTO row") and not holding.is_set():
            holding.set()
            release.wait(timeout=30)
        return False

    config = OutboxConfig(queue_rows=3, put_wait_s=0, group_ms=0)
    with Outbox(path, config, ManualClock(), connect=disk) as outbox:
        disk.error, disk.blocks = DiskFullError, hold
        first = outbox.put(RowClass.RESULT, event(0))
        assert holding.wait(timeout=10)
        waiting = [outbox.put(RowClass.RESULT, event(number)) for number in range(1, 6)]
        refused = [future for future in waiting if future.done() and future.exception() is not None]
        assert len(refused) == 2
        release.set()
        assert first.result(timeout=10) == 2
        outbox.flush()
        assert sum(each.hi - each.lo + 1 for each in gaps_of(outbox, "overrun")) == 2


def test_rows_that_arrive_together_share_a_commit(path: Path) -> None:
    commits: list[str] = []
    disk = BadDisk()
    disk.blocks = lambda sql: bool(sql == "COMMIT" and commits.append(sql))
    disk.error = DiskFullError
    with Outbox(path, OutboxConfig(), connect=disk) as outbox:
        put(outbox, 1)
        commits.clear()
        put(outbox, *range(2, 22))
        assert len(commits) <= 2


def test_the_status_tells_below_which_number_nothing_waits(path: Path) -> None:
    clock = ManualClock()
    with Outbox(path, OutboxConfig(group_ms=0, debug_mb=2 * KB), clock) as outbox:
        put(outbox, 1, 2)
        clock.advance(60)
        answer(outbox, ranges=(Range(1, 2),))
        outbox.flush()
        assert outbox.status().settled == 3
        put(outbox, *range(40), row_class=RowClass.DEBUG, size=100)
        answer(outbox, ranges=(Range(3, 3), Range(30, 43)))
        clock.advance(60)
        outbox.flush()
        (lost,) = gaps_of(outbox, "quota")
        assert outbox.status().settled == lost.lo, "a gap that waits tells of numbers from there on"
