"""The store thread's work: gather rows, commit them together, and stay alive when the disk does not play along.

Promises: rows are committed when `group_rows` of them wait or the last commit was `group_ms` ago. A row that cannot be
committed is counted, and the next commit that succeeds records the gap. A broken database is replaced.
Leaves out: who asks (`store`), what a transaction does (`ledger`).
Thread: `store`, and no other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge.clock import Clock
from edge.contract.messages import Batch, Range
from edge.device.outbox import guests
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.connection import Connect, CorruptError
from edge.device.outbox.inbox import Commit, Flush, Inbox, Query, Read, Settle, Waiting
from edge.device.outbox.recovery import Opened, open_ledger, rebuild
from edge.device.outbox.reserve import Reserve
from edge.device.outbox.telling import Publish, Teller
from edge.errors import DiskFullError, StoreError

__all__ = ["Keeper"]

_log = logging.getLogger(__name__)

# A receipt needs no flush of its own: losing it costs one duplicate. It waits this long for rows to share theirs.
_SETTLE_S = 1.0
# While the disk is full each attempt costs writes; trying at every row would wear a card that is in trouble already.
_FULL_RETRY_S = 1.0
_REFILL_S = 60.0
# Rows that queued up behind a slow commit share the next: 200 instead of 50 cost a third less processor time each.
_BACKLOG_GROUPS = 4


class Keeper:
    """`open`, then `wait` and `turn` for ever, then `finish` and `close`."""

    def __init__(
        self,
        path: Path,
        config: OutboxConfig,
        clock: Clock,
        connect: Connect,
        inbox: Inbox,
        publish: Publish,
        *,
        tables: Sequence[str] = (),
    ) -> None:
        self._path = path
        self._config = config
        self._clock = clock
        self._connect = connect
        self._inbox = inbox
        self._publish = publish
        self._tables = tables
        self._teller = Teller(clock)
        self._reserve = Reserve(path.with_suffix(".reserve"), config.reserve_kb * 1024)
        self._opened: Opened | None = None
        self._group: list[Waiting] = []
        self._settles: list[Settle] = []
        self._flushes: list[Flush] = []
        self._reads: list[Read] = []
        self._steps: list[Query | Commit] = []
        self._unrecorded: Counter[str] = Counter()
        self._is_urgent = False
        self._committed_s = clock.monotonic_s() - 1e6
        self._full_until_s: float | None = None
        self._refill_at_s = 0.0

    def open(self) -> None:
        """Open the database, whatever state it is in.

        Raises:
            DiskFullError: there is no room even for that.
            StoreError: a person must look.
        """
        try:
            self._opened = self._open()
        except DiskFullError:
            self._reserve.give_back()
            self._opened = self._open()
        self._reserve.fill()
        self._tell(has_news=True)

    def close(self) -> None:
        """Close the database; whoever still waits is told that it has stopped."""
        stopped = StoreError("the outbox has stopped")
        for row in (*self._group, *self._inbox.take_rows(self._config.queue_rows)):
            if not row.future.done():
                row.future.set_exception(stopped)
        for request in (*self._flushes, *self._steps, *self._reads, *self._inbox.take_requests()):
            if not isinstance(request, Settle) and not request.future.done():
                request.future.set_exception(stopped)
        self._close_database()

    def wait(self) -> None:
        """Sleep until there is something to do."""
        due_s = self._due_s()
        if due_s is None:
            self._inbox.bell.wait()
        elif due_s > 0:
            self._clock.wait(self._inbox.bell, due_s)
        self._inbox.bell.clear()

    def turn(self) -> None:
        """Take what was asked, commit if it is time, answer."""
        for request in self._inbox.take_requests():
            match request:
                case Read():
                    self._reads.append(request)
                case Settle():
                    self._take_receipt(request)
                case Flush():
                    self._flushes.append(request)
                case Query() | Commit():
                    self._steps.append(request)
        self._unrecorded.update(self._inbox.take_refused())
        due_s = self._due_s()
        if due_s is not None and due_s <= 0:
            self._commit_due()
        while self._steps:
            self._take_step(self._steps[0])
            del self._steps[0]
        while self._reads:
            self._answer(self._reads[0])
            del self._reads[0]

    def finish(self) -> None:
        """Commit all that is left. What a full disk does not take fails; receipts it does not take come again."""
        self.turn()
        self._try_now()
        self._commit_due()
        while self._inbox.count() or self._flushes:
            self._commit_due()

    def _due_s(self) -> float | None:
        """Seconds until a commit is due, None when nothing waits for one."""
        now_s = self._clock.monotonic_s()
        waiting = self._inbox.count()
        if self._is_urgent or self._flushes:
            return 0.0
        if self._full_until_s is not None and (waiting or self._unrecorded):
            return 0.0 if waiting else self._full_until_s - now_s
        if waiting >= self._config.group_rows:
            return 0.0
        if waiting or self._unrecorded:
            return self._committed_s + self._config.group_ms / 1000 - now_s
        return self._committed_s + _SETTLE_S - now_s if self._settles else None

    def _take_receipt(self, settle: Settle) -> None:
        self._settles.append(settle)
        receipt = settle.receipt
        if self._opened is None:
            return  # broken, and not yet replaced: the next commit tries
        books = self._opened.ledger.books
        is_known_higher = receipt.epoch == books.epoch and receipt.highest >= books.next_seq(books.epoch)
        if receipt.nack or receipt.conflicts or is_known_higher:
            self._is_urgent = True

    def _commit_due(self) -> None:
        flushes = tuple(self._flushes)
        if flushes:
            self._try_now()
        left = self._inbox.count()
        while True:
            self._group = self._inbox.take_rows(min(_BACKLOG_GROUPS * self._config.group_rows, left))
            left -= len(self._group)
            self._commit_group()
            if not (left > 0 and (flushes or left >= self._config.group_rows)):
                break
        for flush in flushes:
            flush.future.set_result(None)
        del self._flushes[: len(flushes)]

    def _commit_group(self) -> None:
        rows = self._group
        self._is_urgent = False
        full = DiskFullError(f"{self._path.parent}: no room for the outbox")
        if self._full_until_s is not None and self._clock.monotonic_s() < self._full_until_s:
            self._shed(rows, full)
        else:
            try:
                if self._full_until_s is not None and not self._has_room():
                    self._record_loss(rows, full)
                else:
                    self._commit(rows)
                    self._note_room()
            except StoreError as err:
                self._make_do(rows, err)
            self._committed_s = self._clock.monotonic_s()
        self._group = []

    def _commit(self, rows: Sequence[Waiting], *, has_settles: bool = True) -> None:
        """One transaction, and a second try in a fresh database when this one turns out to be broken."""
        try:
            if not self._database.is_at(self._path):
                self._rebuild("it was deleted or replaced while in use")
            seqs = self._transact(rows, has_settles=has_settles)
        except CorruptError as err:
            self._rebuild(str(err))
            seqs = self._transact(rows, has_settles=has_settles)
        if has_settles:
            self._settles.clear()
        self._unrecorded.clear()
        self._tell(has_news=bool(rows) or has_settles)
        for row, seq in zip(rows, seqs, strict=True):
            row.future.set_result(seq)

    def _transact(self, rows: Sequence[Waiting], *, has_settles: bool) -> range:
        ledger = self._database.ledger
        with ledger.transaction():
            if has_settles:
                for settle in self._settles:
                    ledger.settle(settle.receipt, session=settle.session)
            for why, count in (+self._unrecorded).items():
                ledger.refuse(count, why)
            seqs = ledger.append_all([(row.row_class, row.body) for row in rows])
            ledger.keep_quota()
        return seqs

    def _make_do(self, rows: Sequence[Waiting], error: StoreError) -> None:
        """The disk took no more: over the folded log the rows may fit after all, and if not, their gap must."""
        self._fold_log()
        try:
            self._commit(rows)
        except StoreError as err:
            _log.debug("outbox: no room after folding the log either: %s", err)
        else:
            self._note_room()
            return
        if self._full_until_s is None:
            _log.warning("outbox %s: %s; rows become gaps until it takes them again", self._path, error)
        self._record_loss(rows, error)

    def _record_loss(self, rows: Sequence[Waiting], error: StoreError) -> None:
        """Commit that these rows will never be; only for this the reserve is given back."""
        self._full_until_s = self._clock.monotonic_s() + _FULL_RETRY_S
        self._unrecorded[_reason(error)] += len(rows)
        if not self._has_recorded_gap():
            self._reserve.give_back()
            self._fold_log()
            if not self._has_recorded_gap():
                self._tell(has_news=False)
        self._fail(rows, error)

    def _has_recorded_gap(self) -> bool:
        # The gap alone may still fit where the receipts' many pages do not.
        return self._has_recorded(has_settles=True) or self._has_recorded(has_settles=False)

    def _try_now(self) -> None:
        """Do not wait for the next attempt on a full disk: someone asked."""
        if self._full_until_s is not None:
            self._full_until_s = self._clock.monotonic_s()

    def _has_room(self) -> bool:
        """Whether rows may be tried again: the reserve is whole, or receipts have left room inside the database."""
        if self._reserve.fill():
            return True
        pages = self._database.connection.execute("PRAGMA freelist_count")[0][0]
        size = self._database.connection.execute("PRAGMA page_size")[0][0]
        return bool(pages * size >= self._config.reserve_kb * 1024)

    def _has_recorded(self, *, has_settles: bool) -> bool:
        try:
            self._commit((), has_settles=has_settles)
        except StoreError as err:
            _log.debug("outbox: no room for the gap either: %s", err)
            return False
        return True

    def _shed(self, rows: Sequence[Waiting], error: StoreError) -> None:
        self._unrecorded[_reason(error)] += len(rows)
        self._tell(has_news=False)
        self._fail(rows, error)

    @staticmethod
    def _fail(rows: Sequence[Waiting], error: StoreError) -> None:
        for row in rows:
            row.future.set_exception(error)

    def _fold_log(self) -> None:
        """Let the next transaction start at the log's beginning, over blocks that are ours already."""
        try:
            self._database.connection.execute("PRAGMA wal_checkpoint(RESTART)")
        except StoreError as err:
            _log.debug("outbox: folding the log: %s", err)

    def _note_room(self) -> None:
        if self._full_until_s is not None:
            _log.info("outbox %s: commits again", self._path)
            self._full_until_s = None
            self._tell(has_news=False)
        now_s = self._clock.monotonic_s()
        if now_s >= self._refill_at_s:
            self._reserve.fill()
            self._refill_at_s = now_s + _REFILL_S

    def _rebuild(self, problem: str) -> None:
        opened = self._opened
        if opened is not None and opened.is_at(self._path):
            self._close_database()  # and read it afresh; one whose file has no name any more can only be read as it is
        source = None if self._opened is None else self._opened.connection
        self._opened = None
        self._opened = guests.with_tables(
            rebuild(self._path, self._connect, self._config, self._clock, problem, source), self._tables
        )

    def _close_database(self) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            opened.connection.close()
        except StoreError as err:
            # Closing folds the log, which a full or broken disk refuses; the log is read at the next start.
            _log.debug("outbox: closing: %s", err)

    def _answer(self, read: Read) -> None:
        skip: dict[int, list[Range]] = {epoch: list(ranges) for epoch, ranges in read.skip.items()}
        for settle in self._settles:
            if settle.receipt.session == settle.session:
                skip.setdefault(settle.receipt.epoch, []).extend(settle.receipt.ranges)
        try:
            batch = self._read(read, skip)
        except StoreError as err:
            read.future.set_exception(err)
        else:
            read.future.set_result(batch)

    def _read(self, read: Read, skip: Mapping[int, Sequence[Range]]) -> Batch | None:
        try:
            return self._database.ledger.read(session=read.session, skip=skip, max_bytes=read.max_bytes)
        except CorruptError as err:
            self._rebuild(str(err))
            self._tell(has_news=True)
            return None

    def _take_step(self, step: Query | Commit) -> None:
        """Somebody else's. It is small, waits for no group, and a full disk is told to whoever asked."""
        try:
            if not self._database.is_at(self._path):
                raise CorruptError("it was deleted or replaced while in use")
            if isinstance(step, Query):
                step.future.set_result(self._database.connection.execute(step.sql, step.values))
                return
            try:
                guests.write(self._database, step)
            except DiskFullError:
                self._fold_log()
                guests.write(self._database, step)
        except StoreError as err:
            step.future.set_exception(self._put_right(err))
        else:
            self._tell(has_news=bool(step.rows))
            step.future.set_result(None)

    def _put_right(self, error: StoreError) -> StoreError:
        """What to tell whoever met `error`; a broken database is replaced first, so that the next step finds one."""
        if not isinstance(error, CorruptError):
            return error
        try:
            self._rebuild(str(error))
        except StoreError as err:
            return err
        self._tell(has_news=True)
        return StoreError(f"{self._path} was broken and is new now ({error}); read it again")

    @property
    def _database(self) -> Opened:
        if self._opened is None:
            # A rebuild failed earlier (no room, no permission); try again from the start.
            self._opened = self._open()
        return self._opened

    def _open(self) -> Opened:
        return guests.with_tables(open_ledger(self._path, self._connect, self._config, self._clock), self._tables)

    def _tell(self, *, has_news: bool) -> None:
        if self._opened is None:
            return  # broken, and not yet replaced: what was said last still stands
        status = self._teller.status(
            self._opened.ledger, unrecorded=self._unrecorded.total(), is_full=self._full_until_s is not None
        )
        self._publish(status, has_news=has_news)


def _reason(error: StoreError) -> str:
    return "disk_full" if isinstance(error, DiskFullError) else "store_failed"
