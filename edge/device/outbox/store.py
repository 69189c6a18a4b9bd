"""Keep rows on disk until the centre holds them.

Promises: once the future of `put` resolves, the row outlives a power cut; it leaves by receipt or as a recorded gap.
A full disk, a broken database and a full queue cost rows, which are counted and covered by a gap; none of them raises
in the caller of `put`.
Leaves out: the network. `session` drains this outbox; the outbox has never heard of MQTT.
Thread: `store` owns the database; every public method may be called from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, final

from edge.clock import Clock, SystemClock
from edge.contract.messages import (
    Batch,
    Body,
    EpochStart,
    Event,
    Gap,
    Range,
    Receipt,
    Result,
    RowClass,
    Shadow,
    Update,
    encode_body,
)
from edge.device.outbox.config import OutboxConfig, OutboxStatus
from edge.device.outbox.connection import Connect, open_connection
from edge.device.outbox.inbox import Commit, Flush, Inbox, Query, Read, Settle, Waiting
from edge.device.outbox.keeper import Keeper
from edge.errors import StoreError
from edge.lock import Lock

__all__ = ["DATABASE_NAME", "Outbox"]

DATABASE_NAME = "outbox.db"

_LOCK_ADVICE = "give this one its own data_dir"
_BATCH_BYTES = 60 * 1024  # leaves room for the batch's own header below 64 KB, compressed or not


@final
class Outbox:
    """One outbox. Use as a context manager: it opens the database and runs the thread."""

    def __init__(
        self,
        path: Path,
        config: OutboxConfig | None = None,
        clock: Clock | None = None,
        *,
        connect: Connect = open_connection,
        tables: Iterable[str] = (),
    ) -> None:
        """`tables`: statements that make others' tables (`IF NOT EXISTS`), for `query` and `commit`."""
        self._path = path
        self._tables = tuple(tables)
        self._config = config or OutboxConfig()
        self._clock = clock or SystemClock()
        self._connect = connect
        self._inbox = Inbox(self._config.queue_rows, self._config.group_rows)
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._started: Future[None] = Future()
        self._turn_began_s: float | None = None
        self._failure: BaseException | None = None
        self._watchers: list[Callable[[], None]] = []
        self._status = OutboxStatus(epoch=0, next_seq=0, settled=0, rows=0, size_bytes=0)

    def __enter__(self) -> Outbox:
        """Open the database.

        Raises:
            StoreError: another process uses it, the folder cannot be written, or a newer version wrote it.
            DiskFullError: there is no room even to open it.
        """
        self._thread.start()
        self._started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Commit all that was put, then stop. A second call does nothing."""
        self._inbox.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def put(self, row_class: RowClass, body: Body) -> Future[int]:
        """Hand a row over; the future resolves with its seq when it is committed. Never raises.

        When the queue is full this waits up to `put_wait_s`. The future fails with `StoreError` when there was no room
        in time, the row is larger than `row_kb` or the outbox is closed, and with `DiskFullError` when the disk took
        no more; except after closing, the row is then covered by a gap.
        """
        future: Future[int] = Future()
        raw = encode_body(body)
        limit = self._config.row_kb * 1024
        if len(raw) > limit:
            self._inbox.refuse("too_large")
            future.set_exception(StoreError(f"row of {len(raw)} bytes: at most {limit} fit (outbox.row_kb)"))
        elif not self._inbox.offer(Waiting(row_class, raw, future), self._config.put_wait_s):
            future.set_exception(StoreError("the outbox is closed or its queue stayed full"))
        return future

    def read(
        self, *, session: int, skip: Mapping[int, Sequence[Range]] | None = None, max_bytes: int = _BATCH_BYTES
    ) -> Batch | None:
        """The oldest committed rows outside `skip` (ranges by epoch), None when there are none.

        Rows of one epoch, ascending, with at most `max_bytes` of bodies and keys; a larger row comes alone.

        Raises:
            StoreError: the outbox is closed or its database failed.
        """
        future: Future[Batch | None] = Future()
        if not self._inbox.ask(Read(session, skip or {}, max_bytes, future)):
            raise StoreError("the outbox is closed")
        return future.result()

    def settle(self, receipt: Receipt, *, session: int) -> None:
        """Take a receipt: rows it covers are not read again, and leave with the next commit.

        `session` is our own; a receipt for another one settles nothing.
        """
        self._inbox.ask(Settle(receipt, session))

    def flush(self) -> None:
        """Return when all that was asked before is committed."""
        future: Future[None] = Future()
        if self._inbox.ask(Flush(future)):
            future.result()

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one query over the tables that this outbox was given.

        Raises:
            StoreError: the outbox is closed or its database failed. One that turned out to be broken has been replaced
                by then, with these tables empty.
        """
        future: Future[list[tuple[Any, ...]]] = Future()
        if not self._inbox.ask(Query(sql, values, future)):
            raise StoreError("the outbox is closed")
        return future.result()

    def commit(self, writes: Sequence[tuple[str, Sequence[Any]]], reports: Sequence[Body] = ()) -> None:
        """Do all of `writes` (statement, values) and put all of `reports` as rows, in one transaction of their own.

        When this returns, all of it outlives a power cut.

        Raises:
            StoreError: nothing of it was done; `DiskFullError` where there is no room. After a database that turned out
                to be broken the tables are there and empty.
        """
        future: Future[None] = Future()
        rows = [(_class_of(body), encode_body(body)) for body in reports]
        if not self._inbox.ask(Commit(writes, rows, future)):
            raise StoreError("the outbox is closed")
        future.result()

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called on the store thread after each commit that left rows to read; it must not block."""
        self._watchers.append(changed)

    def busy_s(self) -> float:
        """How long the thread has been at one turn, seconds; a medium that hangs shows here and nowhere else."""
        began_s = self._turn_began_s  # one read: the thread may write in between
        return 0.0 if began_s is None else self._clock.monotonic_s() - began_s

    @property
    def failure(self) -> BaseException | None:
        """What the store thread died of: nothing is kept any more, and only a new process helps."""
        return self._failure

    def status(self) -> OutboxStatus:
        """As of the last commit."""
        return self._status

    def _run(self) -> None:
        keeper = Keeper(
            self._path, self._config, self._clock, self._connect, self._inbox, self._publish, tables=self._tables
        )
        try:
            with Lock(self._path.with_suffix(".lock"), what=f"outbox {self._path}", advice=_LOCK_ADVICE):
                self._keep(keeper)
        except BaseException as err:
            # Nobody shall wait for a thread that is gone: not the one that opens, and no watchdog.
            self._inbox.close()
            self._failure = err
            if self._started.done():
                raise
            self._started.set_exception(err)

    def _keep(self, keeper: Keeper) -> None:
        keeper.open()
        self._started.set_result(None)
        try:
            while not self._inbox.is_closed:
                keeper.wait()
                self._turn_began_s = self._clock.monotonic_s()
                keeper.turn()
                self._turn_began_s = None
            self._turn_began_s = self._clock.monotonic_s()
            keeper.finish()
        finally:
            self._inbox.close()
            keeper.close()
            self._turn_began_s = None

    def _publish(self, status: OutboxStatus, *, has_news: bool) -> None:
        self._status = status
        if has_news:
            for changed in self._watchers:
                changed()


def _class_of(body: Body) -> RowClass:
    match body:
        case Update() | Shadow():
            return RowClass.UPDATE
        case Event():
            return RowClass.ALARM
        case Gap() | EpochStart():
            return RowClass.GAP
        case Result():
            return RowClass.RESULT
