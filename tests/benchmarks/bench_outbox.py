"""The outbox against one commit per row, with the same durability, in the same run.

Peers: the same database file layout and settings (WAL, synchronous=FULL), one transaction a row, written directly with
sqlite3 and nothing around it. Target: at least 15 times its rate. The disk's mood changes from minute to minute, so the
two take turns in short rounds and the medians are compared. On a disk so fast that a flush costs less than the rows'
own processor time (0.3 ms here, at its best) no grouping can reach the target; on an SD card it costs 5 to 30 ms.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from edge.contract.messages import Event, RowClass, encode_body
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.store import Outbox

ROUNDS = 15
ROWS = 8_000
SINGLE_ROWS = 300
TARGET = 15.0
# About the size of one detection with its timing and quality.
BODY = Event(name="row", state="on", made_ms=1_700_000_000_000, detail="x" * 260)


def grouped(folder: Path) -> tuple[float, float]:
    """Rows a second through `put` until the last future resolves, and CPU microseconds a row."""
    with Outbox(folder / "outbox.db", OutboxConfig()) as outbox:
        start_s, cpu_s = time.perf_counter(), time.process_time()
        futures = [outbox.put(RowClass.RESULT, BODY) for _ in range(ROWS)]
        for future in futures:
            future.result()
        return ROWS / (time.perf_counter() - start_s), (time.process_time() - cpu_s) / ROWS * 1e6


def one_by_one(folder: Path) -> tuple[float, float]:
    """The same figures for one commit a row."""
    database = sqlite3.connect(folder / "single.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute(
        "CREATE TABLE row (epoch INTEGER, seq INTEGER, class INTEGER, body BLOB, PRIMARY KEY (epoch, seq)) WITHOUT ROWID"
    )
    start_s, cpu_s = time.perf_counter(), time.process_time()
    for seq in range(SINGLE_ROWS):
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO row VALUES (1, ?, 1, ?)", (seq, encode_body(BODY)))
        database.execute("COMMIT")
    rate = SINGLE_ROWS / (time.perf_counter() - start_s)
    cpu_us = (time.process_time() - cpu_s) / SINGLE_ROWS * 1e6
    database.close()
    return rate, cpu_us


def latency_ms(folder: Path) -> float:
    """Median time from `put` to the resolved future when the outbox is idle."""
    found = []
    with Outbox(folder / "outbox.db", OutboxConfig(group_ms=0)) as outbox:
        for _ in range(50):
            start_s = time.perf_counter()
            outbox.put(RowClass.RESULT, BODY).result()
            found.append((time.perf_counter() - start_s) * 1000)
    return statistics.median(found)


def main() -> int:
    """Print the table; 1 when the target is missed."""
    many: list[tuple[float, float]] = []
    single: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        for turn in range(ROUNDS):
            here = Path(folder) / str(turn)
            here.mkdir()
            single.append(one_by_one(here))
            many.append(grouped(here))
        idle = Path(folder) / "idle"
        idle.mkdir()
        idle_ms = latency_ms(idle)
    ratio = statistics.median(a[0] / b[0] for a, b in zip(many, single, strict=True))
    for name, figures in (("one commit a row", single), ("outbox", many)):
        rate = statistics.median(each[0] for each in figures)
        cpu_us = statistics.median(each[1] for each in figures)
        print(f"{name:<22} {rate:>10,.0f} rows/s {cpu_us:>8.1f} us CPU/row")
    print(f"ratio {ratio:.1f} (target at least {TARGET:.0f}); an idle outbox commits a row in {idle_ms:.1f} ms")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
