"""An outbox whose file is hurt, moved or taken away: what can be read goes on, and the rest is countable."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge.contract.messages import EpochStart, EpochWhy, Event, Range, Receipt, Row, RowClass, decode_body
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.connection import Connection, open_connection
from edge.device.outbox.store import Outbox
from edge.errors import DiskFullError, StoreError
from tests.simulators.clock import ManualClock

SESSION = 7
CONFIG = OutboxConfig(group_ms=0)


def put(outbox: Outbox, *names: str) -> list[int]:
    futures = [outbox.put(RowClass.RESULT, Event(name=n, state="on", made_ms=0, detail="x" * 300)) for n in names]
    return [future.result(timeout=20) for future in futures]


def contents(outbox: Outbox) -> dict[int, list[Row]]:
    """Rows by epoch."""
    found: dict[int, list[Row]] = {}
    skip: dict[int, list[Range]] = {}
    while (batch := outbox.read(session=SESSION, skip=skip)) is not None:
        found.setdefault(batch.epoch, []).extend(batch.rows)
        skip.setdefault(batch.epoch, []).append(Range(batch.rows[0].seq, batch.rows[-1].seq))
    return found


def names_in(rows: list[Row]) -> dict[int, str]:
    bodies = {row.seq: decode_body(row.body) for row in rows}
    return {seq: body.name for seq, body in bodies.items() if isinstance(body, Event) and body.name != "outbox"}


def start_of(rows: list[Row]) -> EpochStart:
    (found,) = [body for row in rows if isinstance(body := decode_body(row.body), EpochStart)]
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def change(path: Path, statement: str, *values: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA ignore_check_constraints=1")
        raw.execute(statement, values)
        raw.commit()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE row SET class = 35 WHERE seq = 5",
        "UPDATE row SET body = x'ffff', class = 99 WHERE seq = 5",
    ],
)
def test_a_row_that_sqlite_takes_for_sound_and_is_not_costs_only_itself(path: Path, damage: str) -> None:
    with Outbox(path, CONFIG) as outbox:
        put(outbox, *"abcdefgh")
        old = outbox.status()
    change(path, damage)
    with Outbox(path, CONFIG) as outbox:
        contents(outbox)  # comes upon it
        found = contents(outbox)
        assert list(names_in(found[old.epoch]).values()) == ["a", "b", "c", "e", "f", "g", "h"]
        start = start_of(found[outbox.status().epoch])
        assert (start.why, start.prev, start.prev_end) == (EpochWhy.BROKEN, old.epoch, old.next_seq)
        assert put(outbox, "later")
    assert path.with_name("outbox.db.broken").exists()


@pytest.mark.parametrize("next_seq", [-1, 0, 1 << 60])
def test_a_next_number_that_none_can_have_makes_a_new_epoch(path: Path, next_seq: int) -> None:
    with Outbox(path, CONFIG) as outbox:
        put(outbox, "a", "b")
        old = outbox.status()
    change(path, "UPDATE epoch SET next_seq = ?", next_seq)
    with Outbox(path, CONFIG) as outbox:
        assert outbox.status().epoch != old.epoch
        found = contents(outbox)
        assert list(names_in(found[old.epoch]).values()) == ["a", "b"]
        start = start_of(found[outbox.status().epoch])
        assert (start.why, start.prev, start.prev_end) == (EpochWhy.BROKEN, old.epoch, None)


def test_a_torn_page_costs_the_rows_on_it_and_no_other(path: Path) -> None:
    with Outbox(path, CONFIG) as outbox:
        numbers = put(outbox, *(f"n{count}" for count in range(400)))
        old = outbox.status()
    whole = bytearray(path.read_bytes())
    at = whole.index(b"n203") // 4096 * 4096  # a leaf; above it, a page holds the way to a hundred rows
    whole[at : at + 4096] = b"\xa5" * 4096
    path.write_bytes(whole)
    with Outbox(path, CONFIG) as outbox:
        contents(outbox)
        found = contents(outbox)
        saved = names_in(found[old.epoch])
        assert len(saved) > len(numbers) - 20
        assert saved[numbers[0]] == "n0"
        assert saved[numbers[-1]] == "n399"
        start = start_of(found[outbox.status().epoch])
        assert (start.prev, start.prev_end) == (old.epoch, old.next_seq), "so that the centre counts what is missing"


def test_what_was_saved_is_settled_by_receipts_like_any_row(path: Path) -> None:
    with Outbox(path, CONFIG) as outbox:
        put(outbox, "a", "b")
        old = outbox.status()
    change(path, "UPDATE row SET class = 35 WHERE seq = 2")
    with Outbox(path, CONFIG) as outbox:
        contents(outbox)
        receipt = Receipt(epoch=old.epoch, upto=0, highest=3, session=SESSION, ranges=(Range(1, 3),))
        outbox.settle(receipt, session=SESSION)
        outbox.flush()
        assert old.epoch not in contents(outbox)
        assert outbox.status().rows == sum(len(rows) for rows in contents(outbox).values())


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_database_taken_away_under_the_daemon_loses_no_accepted_row(path: Path, *, is_replaced: bool) -> None:
    """The kernel keeps a deleted file for whoever has it open: commits go on, and are gone with the process."""
    with Outbox(path, CONFIG) as outbox:
        put(outbox, "a", "b")
        old = outbox.status()
        for part in path.parent.glob("outbox.db*"):
            copy = part.with_name(f"copy-{part.name}")
            shutil.copy(part, copy)
            part.unlink()
            if is_replaced:
                copy.rename(part)
        put(outbox, "c")
    with Outbox(path, CONFIG) as outbox:
        found = contents(outbox)
        assert list(names_in(found[old.epoch]).values()) == ["a", "b"]
        assert list(names_in(found[outbox.status().epoch]).values()) == ["c"]
        start = start_of(found[outbox.status().epoch])
        assert (start.why, start.prev, start.prev_end) == (EpochWhy.BROKEN, old.epoch, old.next_seq)


def test_a_replacement_that_a_power_cut_left_without_its_name_is_taken_up(path: Path) -> None:
    with Outbox(path, CONFIG) as outbox:
        put(outbox, "a")
        old = outbox.status()
    path.rename(path.with_name("outbox.db.new"))
    path.with_name("outbox.db-wal").write_bytes(b"of the broken one")
    with Outbox(path, CONFIG) as outbox:
        assert outbox.status().epoch == old.epoch
        assert list(names_in(contents(outbox)[old.epoch]).values()) == ["a"]


def test_a_replacement_that_was_not_finished_is_begun_again(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)
    path.with_name("outbox.db.new").write_bytes(b"half of one")
    with Outbox(path, CONFIG) as outbox:
        assert put(outbox, "a")
    assert not path.with_name("outbox.db.new").exists()


def test_a_name_in_the_schema_that_is_no_text_is_damage_like_any_other(path: Path) -> None:
    with Outbox(path, CONFIG):
        pass
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"CREATE TABLE row", b"CREATE TABLX r\xd2w"))
    with Outbox(path, CONFIG) as outbox:
        assert put(outbox, "a")


def test_a_reserve_that_can_be_neither_made_nor_removed_stops_nothing(path: Path) -> None:
    """As on a disk that the kernel has made read-only."""
    path.with_name("outbox.reserve").mkdir()
    clock = ManualClock()
    disk = _Disk()
    with Outbox(path, CONFIG, clock, connect=disk) as outbox:
        put(outbox, "a")
        disk.is_full = True
        future = outbox.put(RowClass.RESULT, Event(name="b", state="on", made_ms=0))
        assert isinstance(future.exception(timeout=20), DiskFullError)
        disk.is_full = False
        clock.advance(5)
        outbox.flush()
        assert outbox.failure is None


def test_a_broken_database_that_cannot_be_replaced_yet_costs_rows_and_not_the_thread(path: Path) -> None:
    clock = ManualClock()
    disk = _Disk()
    with Outbox(path, CONFIG, clock, connect=disk) as outbox:
        put(outbox, "a")
        old = outbox.status()
        path.unlink()
        disk.is_full = True
        future = outbox.put(RowClass.RESULT, Event(name="b", state="on", made_ms=0))
        assert isinstance(future.exception(timeout=20), StoreError)
        outbox.settle(Receipt(epoch=old.epoch, upto=0, highest=0), session=SESSION)
        disk.is_full = False
        clock.advance(5)
        outbox.flush()
        assert outbox.failure is None
        assert put(outbox, "c")


def test_a_store_that_dies_while_opening_is_an_error_and_no_endless_wait(path: Path) -> None:
    def fail(_path: Path) -> Connection:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"), Outbox(path, CONFIG, connect=fail):
        pass


class _Disk:
    def __init__(self) -> None:
        self.is_full = False
        self.hangs = threading.Event()  # set: it does not
        self.hangs.set()
        self.is_hanging = threading.Event()

    def __call__(self, path: Path) -> Connection:
        return _OnDisk(self, open_connection(path))


class _OnDisk:
    def __init__(self, disk: _Disk, inner: Connection) -> None:
        self._disk = disk
        self._inner = inner
        self.stream = inner.stream
        self.close = inner.close

    def execute(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        if not self._disk.hangs.is_set():
            self._disk.is_hanging.set()
            assert self._disk.hangs.wait(60)
        if self._disk.is_full and sql.startswith(("BEGIN", "COMMIT", "CREATE", "INSERT")):
            raise DiskFullError("database or disk is full")
        return self._inner.execute(sql, values)

    def execute_each(self, sql: str, values: list[tuple[object, ...]]) -> None:
        self.execute("INSERT") if self._disk.is_full else self._inner.execute_each(sql, values)


def test_a_medium_that_hangs_shows_as_a_turn_that_lasts(path: Path) -> None:
    clock = ManualClock()
    disk = _Disk()
    with Outbox(path, CONFIG, clock, connect=disk) as outbox:
        put(outbox, "a")
        disk.hangs.clear()
        future = outbox.put(RowClass.RESULT, Event(name="b", state="on", made_ms=0))
        assert disk.is_hanging.wait(20)
        clock.advance(130)
        assert outbox.busy_s() >= 130
        disk.hangs.set()
        assert future.result(timeout=20)
        outbox.flush()
    assert outbox.busy_s() == 0


@pytest.mark.parametrize("highest", [(1 << 53) - 1, 1 << 60])
def test_a_receipt_of_an_impossible_number_leaves_an_outbox_that_opens_again(path: Path, highest: int) -> None:
    with Outbox(path, CONFIG) as outbox:
        put(outbox, "a")
        receipt = Receipt(epoch=outbox.status().epoch, upto=0, highest=highest, session=SESSION)
        outbox.settle(receipt, session=SESSION)
        outbox.flush()
        put(outbox, "b")
        epoch = outbox.status().epoch
    with Outbox(path, CONFIG) as outbox:
        assert outbox.status().epoch == epoch
        assert [list(names_in(rows).values()) for rows in contents(outbox).values()] == [["a"], ["b"]]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_process_killed_at_any_moment_of_a_rebuild_loses_no_readable_row(tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    sound.mkdir()
    with Outbox(sound / "outbox.db", CONFIG) as outbox:
        put(outbox, *(f"n{count}" for count in range(1500)))
        old = outbox.status()
    change(sound / "outbox.db", "UPDATE row SET class = 35 WHERE seq = 5")
    code = (
        "import sys; from pathlib import Path; from edge.device.outbox.store import Outbox\n"
        "with Outbox(Path(sys.argv[1])) as outbox:\n"
        "    print('open', flush=True); outbox.read(session=7); print('done', flush=True); sys.stdin.read()\n"
    )
    dice = random.Random(4)
    finished = 0
    for turn in range(20):
        folder = tmp_path / str(turn)
        shutil.copytree(sound, folder)
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder / "outbox.db")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        timer = threading.Timer(dice.uniform(0, 0.06), child.kill)
        timer.start()
        finished += child.stdout.readline() == b"done\n"
        timer.join()
        child.wait()
        child.stdin.close()
        child.stdout.close()
        with Outbox(folder / "outbox.db", CONFIG) as outbox:
            contents(outbox)  # comes upon the damage, where it is still there
            found = contents(outbox)
            assert len(names_in(found[old.epoch])) == 1499
            start = start_of(found[outbox.status().epoch])
            assert (start.why, start.prev, start.prev_end) == (EpochWhy.BROKEN, old.epoch, old.next_seq)
        shutil.rmtree(folder)
    assert finished < 20, "not once was it cut short"


def test_saving_rows_ends_in_time_and_what_is_left_is_countable(path: Path) -> None:
    class Slow(ManualClock):
        """Each look at it takes half a minute."""

        def monotonic_s(self) -> float:
            self.advance(30)
            return super().monotonic_s()

    with Outbox(path, CONFIG) as outbox:
        put(outbox, *(f"n{count}" for count in range(400)))
        old = outbox.status()
    change(path, "UPDATE row SET class = 35 WHERE seq = 5")
    with Outbox(path, CONFIG, Slow()) as outbox:
        contents(outbox)
        found = contents(outbox)
        assert 0 < len(names_in(found[old.epoch])) < 399
        start = start_of(found[outbox.status().epoch])
        assert (start.prev, start.prev_end) == (old.epoch, old.next_seq)
