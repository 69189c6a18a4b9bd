"""Cut the power at every write of the real outbox; after recovery every row that was accepted must be accounted for."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge.contract.messages import Event, Gap, Range, Receipt, RowClass, decode_body
from edge.contract.ranges import gather, hold, merge
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.connection import Connection, open_connection
from edge.device.outbox.recovery import open_ledger
from edge.device.outbox.store import DATABASE_NAME, Outbox
from tests.faults.powercut import ApswConnection, Recorder, Survival, crash
from tests.simulators.clock import ManualClock

CONFIG = OutboxConfig(group_ms=0, quota_mb=0.12, debug_mb=0.03, reserve_kb=64)
SESSION = 3


@dataclass
class History:
    """What happened, each with the number of disk operations done by then."""

    epoch: int = 0
    accepted: list[tuple[int, int, bytes]] = field(default_factory=list)  # operations, seq, body
    settled: list[tuple[int, Range]] = field(default_factory=list)


def live(folder: Path, recorder: Recorder, connect: Callable[[Path], Connection]) -> History:
    """A short life: groups of rows of two classes, receipts, evictions, and folding of the log."""
    history = History()
    dice = random.Random(1)
    with Outbox(folder / DATABASE_NAME, CONFIG, ManualClock(), connect=connect) as outbox:
        history.epoch = outbox.status().epoch
        for turn in range(40):
            waiting = []
            for number in range(dice.randrange(1, 8)):
                row_class = dice.choice([RowClass.RESULT, RowClass.DEBUG, RowClass.RESULT])
                body = Event(name=f"{turn}.{number}", state="on", made_ms=0, detail="x" * dice.randrange(3000))
                waiting.append((body.name, outbox.put(row_class, body)))
            for name, future in waiting:
                seq = future.result(timeout=20)
                history.accepted.append((len(recorder.log), seq, name.encode()))
            if turn % 4 == 3:
                # Rows only: a gap row that the centre holds would have to be remembered for it.
                ranges = gather(sorted(seq for _, seq, _ in history.accepted[-3:]))
                history.settled += [(len(recorder.log), each) for each in ranges]
                receipt = Receipt(epoch=history.epoch, upto=0, highest=0, session=SESSION, ranges=ranges)
                outbox.settle(receipt, session=SESSION)
    return history


def wrong_after(folder: Path, cut: int, history: History) -> str:
    """What is wrong with the outbox that the real code finds in `folder`; empty when nothing is."""
    opened = open_ledger(folder / DATABASE_NAME, open_connection, CONFIG, ManualClock())
    try:
        verdict = opened.connection.execute("PRAGMA integrity_check")[0][0]
        if verdict != "ok" or (folder / f"{DATABASE_NAME}.broken").exists():
            return f"corrupt: {verdict}"
        rows = {
            seq: bytes(body)
            for seq, body in opened.connection.execute("SELECT seq, body FROM row WHERE epoch = ?", (history.epoch,))
        }
        books = opened.ledger.books
        sizes = opened.connection.execute("SELECT count(*) FROM row")[0][0]
    finally:
        opened.connection.close()
    if sizes != books.total_rows():
        return f"the tallies say {books.total_rows()} rows, there are {sizes}"
    gaps = merge(each for body in rows.values() if isinstance(gap := decode_body(body), Gap) for each in gap.ranges)
    settled = merge(each for operations, each in history.settled if operations <= cut)
    for operations, seq, name in history.accepted:
        if operations > cut:
            break
        if seq in rows:
            if name not in rows[seq]:
                return f"seq {seq} holds another row"
        elif hold(gaps, seq) is None and hold(settled, seq) is None:
            return f"seq {seq} was accepted and is gone"
        if not books.knows(history.epoch) or books.next_seq(history.epoch) <= seq:
            return f"seq {seq} would be given out again"
    return ""


def count_wrong(
    recorder: Recorder, history: History, *, every: int, survivals: tuple[Survival, ...]
) -> tuple[int, list[str]]:
    dice = random.Random(2)
    states, wrong = 0, []
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    for cut in range(0, len(recorder.log) + 1, every):
        for survival in survivals:
            folder = Path(tempfile.mkdtemp(dir=where, prefix="powercut-"))
            try:
                crash(recorder.log, cut, folder, survival=survival, dice=dice)
                problem = wrong_after(folder, cut, history)
            finally:
                shutil.rmtree(folder)
            states += 1
            if problem:
                wrong.append(f"cut {cut} of {len(recorder.log)}, {survival}: {problem}")
    return states, wrong


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("checkpoint_pages", [200, 20])
def test_a_power_cut_at_any_write_loses_no_accepted_row(tmp_path: Path, checkpoint_pages: int) -> None:
    recorder = Recorder(f"recorder-{checkpoint_pages}")

    def connect(path: Path) -> ApswConnection:
        connection = recorder.connect(path)
        connection.replace = lambda sql: sql.replace("autocheckpoint=200", f"autocheckpoint={checkpoint_pages}")
        return connection

    history = live(tmp_path, recorder, connect)
    states, wrong = count_wrong(recorder, history, every=1, survivals=("none", "some", "some", "all"))
    assert wrong == []
    assert states > 1000
    print(f"{states} crash states, 0 wrong")


@pytest.mark.timeout(120)
def test_synchronous_normal_would_lose_accepted_rows(tmp_path: Path) -> None:
    """The simulation can fail: the same outbox without its flushes."""
    recorder = Recorder("recorder-normal")

    def connect(path: Path) -> ApswConnection:
        connection = recorder.connect(path)
        connection.replace = lambda sql: sql.replace("synchronous=FULL", "synchronous=NORMAL")
        return connection

    history = live(tmp_path, recorder, connect)
    states, wrong = count_wrong(recorder, history, every=5, survivals=("none", "some"))
    assert len(wrong) > states / 2
    assert all("is gone" in problem or "would be given out again" in problem for problem in wrong)
