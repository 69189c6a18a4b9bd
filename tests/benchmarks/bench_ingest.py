"""Rows a second into the central database: the whole ingest against bare inserts of the same rows.

Both write the same bytes into the same tables (same indexes, every commit on disk) with the same number of rows in a
transaction; the bare one gets its values ready-made, while the ingest unpacks zstd, decodes, hashes, indexes, audits,
acknowledges and answers. They take turns, so that the disk's mood strikes both. Bare on SQLite is `executemany`, wanted
is at least 0.5 by either clock; on PostgreSQL, a server of its own with fsync on, it is `INSERT ... SELECT unnest(...)`,
wanted is at least 0.6 by the wall clock (most of the work is the server's).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edge.central.config import IngestConfig
from edge.central.ingest import Ingest
from edge.central.store.database import ROW_COLUMNS, is_postgres, open_writer
from edge.central.store.partitions import month_of
from edge.central.store.write import Store
from edge.clock import SystemClock
from edge.contract.messages import (
    Batch,
    Box,
    InputKind,
    Item,
    ModelRef,
    Result,
    Row,
    RowClass,
    Timing,
    encode_body,
)
from edge.contract.topics import CentralTopics, DeviceTopics
from edge.wire.api import Arrived, Handler
from edge.wire.packing import pack_batch
from tests.simulators.postgres import Postgres, find_postgres

_INSERT = "INSERT INTO row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_DEVICES = 8
_GOT_MS = 1_700_000_000_000
_WANTED = {"sqlite": 0.5, "postgresql": 0.6}
_TYPES = ("int", "bigint", "bigint", "int", "text", "text", "bigint", "bigint", "bigint", "bigint", "bytea")
_UNNEST = (
    f"INSERT INTO row ({', '.join(ROW_COLUMNS)}) "  # noqa: S608 - constants
    f"SELECT * FROM unnest({', '.join(f'%b::{each}[]' for each in _TYPES)}) ON CONFLICT DO NOTHING"
).encode()


class _Wire:
    """A wire without a network: handlers are called by hand, receipts are counted."""

    is_connected = True
    failure = None

    def __init__(self) -> None:
        self.handlers: list[Handler] = []
        self.receipts = 0

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        self.handlers.append(handler)

    def start(self, events: object) -> None: ...

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        self.receipts += 1
        return self.receipts

    def stop(self) -> None: ...


def _body(seq: int) -> bytes:
    model = ModelRef(name="coco_ssd_mobilenet_v1", version="1", digest="5a" * 32, engine="ai-edge-litert 2.3.0")
    items = tuple(
        Item(label=label, score=0.5 + seq % 50 / 100, box=Box(0.1, 0.2, 0.3, 0.4), box_px=(seq % 640, 96, 192, 192))
        for label in ("person", "dog")
    )
    return encode_body(
        Result(
            pipeline="porch",
            kind=InputKind.IMAGE,
            made_ms=1_700_000_000_000 + 200 * seq,
            model=model,
            items=items,
            timing_ms=Timing(prepare=1.5, run=22.0 + seq % 7, decode=0.1, gate=0.4),
            input=str(seq),
            frame_age_ms=35.5,
        )
    )


def batches_of(rows: int, per_batch: int, devices: int) -> list[tuple[str, bytes, Batch]]:
    """Topic, payload and content of what so many devices send in turn."""
    found = []
    for start in range(1, rows // devices + 1, per_batch):
        for device in range(devices):
            last = min(start + per_batch, rows // devices + 1)
            batch = Batch(
                epoch=7 + device,
                session=1,
                rows=tuple(Row(seq, RowClass.RESULT, _body(seq)) for seq in range(start, last)),
            )
            topic = DeviceTopics(fleet="home", device=f"device-{device}").data
            found.append((topic, pack_batch(batch), batch))
    return found


def _time(work: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _ingest(url: str, batches: list[tuple[str, bytes, Batch]], per_commit: int) -> tuple[float, float]:
    store = Store.open(url)
    wire = _Wire()
    config = IngestConfig(max_messages=per_commit, queue=len(batches))
    ingest = Ingest(wire, store, CentralTopics(), config, SystemClock())
    acked = []
    messages = [
        Arrived(topic=topic, payload=payload, retained=False, ack=lambda: acked.append(1))
        for topic, payload, _ in batches
    ]

    def work() -> None:
        for message in messages:
            wire.handlers[0](message)
        while ingest.step():
            pass

    spent = _time(work)
    assert len(acked) == len(batches)
    assert store.inserted == sum(len(batch.rows) for _, _, batch in batches)
    store.close()
    return spent


def _bare(url: str, batches: list[tuple[str, bytes, Batch]], per_commit: int) -> tuple[float, float]:
    database = open_writer(url)
    transactions = []
    for start in range(0, len(batches), per_commit):
        transactions.append(
            [
                (
                    *(batch.epoch - 6, batch.epoch, row.seq, 1, "result", "porch"),
                    *(msgspec.msgpack.decode(row.body)["made_ms"], start, _GOT_MS),
                    *(zlib.crc32(row.body), row.body),
                )
                for _, _, batch in batches[start : start + per_commit]
                for row in batch.rows
            ]
        )
    if is_postgres(url):
        with database.transaction() as transaction:
            for statement in month_of(_GOT_MS).statements:
                transaction.execute(statement)
    pooled = database._engine.raw_connection()
    connection: Any = pooled.driver_connection
    columns = [[list(column) for column in zip(*values, strict=True)] for values in transactions]

    def work_sqlite() -> None:
        for values in transactions:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_INSERT, values)
            connection.execute("COMMIT")

    def work_postgres() -> None:
        for values in columns:
            connection.execute(_UNNEST, values)
            connection.commit()

    spent = _time(work_postgres if is_postgres(url) else work_sqlite)
    pooled.close()
    database.close()
    return spent


@contextmanager
def _fresh(kind: str, server: Postgres | None) -> Iterator[str]:
    """The URL of an empty database, for one run."""
    if server is None:
        with tempfile.TemporaryDirectory() as folder:
            yield f"{kind}:///{Path(folder) / 'central.db'}"
        return
    url = server.create()
    yield url
    server.drop(url)


def _compare(kind: str, server: Postgres | None, options: argparse.Namespace) -> bool:
    batches = batches_of(options.rows, options.rows_per_batch, _DEVICES)
    rows = sum(len(batch.rows) for _, _, batch in batches)
    size = sum(len(row.body) for _, _, batch in batches for row in batch.rows) / rows
    print(
        f"{kind}: {rows} rows of {size:.0f} bytes, {options.rows_per_batch} a batch, "
        f"{options.batches_per_commit} batches a commit"
    )
    print(f"{'':12} {'rows/s':>9} {'cpu us/row':>11}")
    runs: dict[str, list[tuple[float, float]]] = {"bare": [], "ingest": []}
    for _ in range(options.rounds):
        for name, run in (("bare", _bare), ("ingest", _ingest)):
            with _fresh(kind, server) as url:
                runs[name].append(run(url, batches, options.batches_per_commit))
    for name, spent in runs.items():
        wall = statistics.median(wall for wall, _ in spent)
        cpu = statistics.median(cpu for _, cpu in spent)
        print(f"{name:12} {rows / wall:9.0f} {cpu / rows * 1e6:11.2f}")
    pairs = list(zip(runs["bare"], runs["ingest"], strict=True))
    walls = statistics.median(bare[0] / ours[0] for bare, ours in pairs)
    cpus = statistics.median(bare[1] / ours[1] for bare, ours in pairs)
    wanted = _WANTED[kind]
    print(f"ratio ingest / bare: {walls:.2f} by the clock, {cpus:.2f} by processor time (wanted: at least {wanted})")
    return (walls if server is not None else max(walls, cpus)) >= wanted


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows-per-batch", type=int, default=50)
    parser.add_argument("--batches-per-commit", type=int, default=16)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], help="Only this kind.")
    options = parser.parse_args(arguments)
    is_good = True
    if options.database != "postgresql":
        is_good = _compare("sqlite", None, options)
    programs = find_postgres()
    if programs is None:
        print("postgresql: not installed, not measured")
    elif options.database != "sqlite":
        with Postgres(programs, is_durable=True) as server:
            is_good &= _compare("postgresql", server, options)
    if not is_good:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
