"""A disk that really fills up: SQLite itself meets the limit, in the database, in its log and in the folds between."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.contract.messages import Event, Gap, Range, Receipt, RowClass, decode_body
from edge.contract.ranges import hold, merge
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.store import DATABASE_NAME, Outbox
from edge.errors import DiskFullError
from tests.simulators.clock import ManualClock

SESSION = 3


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root; tests/device/test_outbox.py simulates it")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def grow(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=100m", str(folder)], check=True)


def put_until_full(outbox: Outbox, accepted: dict[int, str], start: int) -> int:
    """Returns how many rows were refused."""
    refused = 0
    for number in range(start, start + 6000):
        name = f"n{number}"
        future = outbox.put(RowClass.RESULT, Event(name=name, state="on", made_ms=0, detail="x" * 3000))
        error = future.exception(timeout=20)
        if error is None:
            accepted[future.result()] = name
        else:
            assert isinstance(error, DiskFullError)
            refused += 1
            if refused >= 50:
                break
    return refused


def contents(outbox: Outbox) -> tuple[dict[int, str], tuple[Range, ...]]:
    names: dict[int, str] = {}
    gaps: list[Range] = []
    skip: list[Range] = []
    epoch = outbox.status().epoch
    while (batch := outbox.read(session=SESSION, skip={epoch: skip})) is not None:
        skip.append(Range(batch.rows[0].seq, batch.rows[-1].seq))
        for row in batch.rows:
            body = decode_body(row.body)
            if isinstance(body, Event):
                names[row.seq] = body.name
            elif isinstance(body, Gap):
                gaps += body.ranges
    return names, merge(gaps)


def test_a_disk_that_fills_up_costs_a_recorded_gap_and_nothing_that_was_accepted(small: Path) -> None:
    config = OutboxConfig(group_ms=0)
    clock = ManualClock()
    accepted: dict[int, str] = {}
    with Outbox(small / DATABASE_NAME, config, clock) as outbox:
        refused = put_until_full(outbox, accepted, 0)
        assert refused >= 50
        assert outbox.status().is_full
        outbox.flush()
        names, gaps = contents(outbox)
        assert names == accepted
        assert sum(each.hi - each.lo + 1 for each in gaps) >= refused, "the gap is on the full disk already"
        # Receipts make room inside the database, without a byte more of disk.
        epoch = outbox.status().epoch
        half = sorted(accepted)[: len(accepted) // 2]
        outbox.settle(
            Receipt(epoch=epoch, upto=0, highest=0, session=SESSION, ranges=(Range(half[0], half[-1]),)),
            session=SESSION,
        )
        clock.advance(5)
        later: dict[int, str] = {}
        outbox.put(RowClass.RESULT, Event(name="nudge", state="on", made_ms=0)).exception(timeout=20)
        clock.advance(5)
        future = outbox.put(RowClass.RESULT, Event(name="after", state="on", made_ms=0))
        later[future.result(timeout=20)] = "after"
        names, gaps = contents(outbox)
        assert later.items() <= names.items()
        assert {seq: name for seq, name in accepted.items() if seq > half[-1]}.items() <= names.items()
    with Outbox(small / DATABASE_NAME) as again:
        assert "after" in contents(again)[0].values()


def test_a_disk_that_gets_room_again_takes_rows_again(small: Path) -> None:
    clock = ManualClock()
    accepted: dict[int, str] = {}
    with Outbox(small / DATABASE_NAME, OutboxConfig(group_ms=0), clock) as outbox:
        refused = put_until_full(outbox, accepted, 0)
        grow(small)
        clock.advance(5)
        future = outbox.put(RowClass.RESULT, Event(name="after", state="on", made_ms=0))
        accepted[future.result(timeout=20)] = "after"
        outbox.flush()
        assert not outbox.status().is_full
        names, gaps = contents(outbox)
        assert names == accepted
        assert sum(each.hi - each.lo + 1 for each in gaps) >= refused
        missing = set(range(2, outbox.status().next_seq)) - set(names)
        gap_rows = outbox.status().rows - len(names) - 1
        assert len([seq for seq in missing if hold(gaps, seq) is None]) == gap_rows


def test_opening_on_a_full_disk_uses_the_reserve(small: Path) -> None:
    config = OutboxConfig(group_ms=0)
    accepted: dict[int, str] = {}
    with Outbox(small / DATABASE_NAME, config, ManualClock()) as outbox:
        for number in range(5):
            future = outbox.put(RowClass.RESULT, Event(name=f"n{number}", state="on", made_ms=0))
            accepted[future.result(timeout=20)] = f"n{number}"
    with (small / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(1024))
    with Outbox(small / DATABASE_NAME, config, ManualClock()) as outbox:
        future = outbox.put(RowClass.RESULT, Event(name="more", state="on", made_ms=0))
        accepted[future.result(timeout=20)] = "more"
        assert contents(outbox)[0] == accepted
