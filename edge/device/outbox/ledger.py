"""What an outbox holds, and everything that may happen to it, each as one transaction.

Promises: a number is given once in its epoch; a row leaves by receipt or as part of a recorded gap, in the transaction
that removes it; a failed transaction changes nothing, here or on disk.
Leaves out: when to commit (`store`), which file (`recovery`), the network.
Thread: `store`, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from edge.clock import Clock
from edge.contract.ids import new_epoch
from edge.contract.messages import (
    Batch,
    Body,
    EpochStart,
    EpochWhy,
    Event,
    Gap,
    Range,
    Receipt,
    Row,
    RowClass,
    decode_body,
    encode_body,
)
from edge.contract.ranges import gather, hold, merge, subtract, touches
from edge.device.outbox.books import ROW_OVERHEAD_BYTES, Books
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.connection import Connection, CorruptError
from edge.errors import ProtocolError, StoreError

__all__ = ["Ledger"]

# A gap row must fit a batch; interleaved classes make one range a row.
_RANGES_PER_GAP = 1000
# Evicting a little more than needed lets one gap stand for many rows instead of one each.
_EVICT_SHARE = 64

_OLDEST = "SELECT seq, ifnull(length(body), 0) FROM row WHERE epoch = ? AND class = ? ORDER BY seq"
# With the very term of the index `row_rare`, or SQLite does not use it.
_OLDEST_RARE = "SELECT seq, ifnull(length(body), 0) FROM row WHERE epoch = ? AND class = ? AND class <> 1 ORDER BY seq"


class Ledger:
    """The tables of one open outbox. Only `transaction` writes; the other methods must be called inside one."""

    def __init__(self, connection: Connection, config: OutboxConfig, clock: Clock) -> None:
        self._connection = connection
        self._config = config
        self._clock = clock
        self.books = Books.load(connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block did, durably, or none of it.

        Raises:
            StoreError: by kind; nothing changed.
        """
        before = self.books.copy()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.books.save(self._connection, before)
            self._connection.execute("COMMIT")
        except BaseException:
            self.books = before
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except StoreError:
            # SQLite rolls back by itself on a full disk or an I/O error; then there is nothing left to roll back.
            return

    def open_epoch(self, why: EpochWhy, *, prev: int | None = None, prev_end: int | None = None) -> None:
        """Begin a new lineage; its first row names the one before."""
        self.books.begin(new_epoch())
        start = EpochStart(why=why, made_ms=self._clock.wall_ms(), prev=prev, prev_end=prev_end)
        self.append(RowClass.GAP, encode_body(start))

    def alarm(self, name: str, state: str, detail: str) -> None:
        """Report something about the outbox itself."""
        event = Event(name=name, state=state, made_ms=self._clock.wall_ms(), detail=detail)
        self.append(RowClass.ALARM, encode_body(event))

    def append(self, row_class: RowClass, body: bytes, *, epoch: int | None = None) -> int:
        """Give a row the next number of `epoch` (default: the current one) and return it."""
        return self.append_all(((row_class, body),), epoch=epoch)[0]

    def append_all(self, rows: Sequence[tuple[RowClass, bytes]], *, epoch: int | None = None) -> range:
        """Give rows the next numbers, in order."""
        epoch = self.books.epoch if epoch is None else epoch
        seqs = self.books.take_seqs(epoch, len(rows))
        self._connection.execute_each(
            "INSERT INTO row (epoch, seq, class, body) VALUES (?, ?, ?, ?)",
            ((epoch, seq, int(row_class), body) for seq, (row_class, body) in zip(seqs, rows, strict=True)),
        )
        sizes: dict[RowClass, list[int]] = {}
        for row_class, body in rows:
            sizes.setdefault(row_class, []).append(len(body))
        for row_class, lengths in sizes.items():
            self.books.add(row_class, len(lengths), sum(lengths))
        return seqs

    def restore(self, epoch: int, row: Row) -> None:
        """Put back a row that was saved from a broken database, under its own number."""
        self._connection.execute(
            "INSERT INTO row (epoch, seq, class, body) VALUES (?, ?, ?, ?)",
            (epoch, row.seq, int(row.row_class), row.body),
        )
        self.books.add(row.row_class, 1, len(row.body))
        self.books.raise_seq(epoch, row.seq + 1)

    def refuse(self, count: int, why: str) -> None:
        """Record `count` rows that were handed in and could not be kept: they get numbers, and a gap covers these."""
        seqs = self.books.take_seqs(self.books.epoch, count)
        self.books.refused += count
        self.record_gap(self.books.epoch, (Range(seqs[0], seqs[-1]),), why)

    def read(self, *, session: int, skip: Mapping[int, Sequence[Range]], max_bytes: int) -> Batch | None:
        """The oldest rows outside `skip` (ranges by epoch): one epoch, ascending, at most `max_bytes` or one row."""
        for epoch in self.books.epochs():
            rows = self._read_epoch(epoch, merge(skip.get(epoch, ())), max_bytes)
            if rows:
                return Batch(epoch=epoch, session=session, rows=tuple(rows))
        return None

    def _read_epoch(self, epoch: int, skip: Sequence[Range], max_bytes: int) -> list[Row]:
        found: list[Row] = []
        size = 0
        after = 0
        while True:
            for seq, row_class, body in self._connection.stream(
                "SELECT seq, class, body FROM row WHERE epoch = ? AND seq > ? ORDER BY seq", (epoch, after)
            ):
                skipped = hold(skip, seq)
                if skipped is not None:
                    after = skipped.hi
                    break
                row = _row(seq, row_class, body)
                size += len(row.body) + ROW_OVERHEAD_BYTES
                if found and size > max_bytes:
                    return found
                found.append(row)
            else:
                return found
            if found:
                return found

    def settle(self, receipt: Receipt, *, session: int) -> None:
        """Do what a receipt says. One for another session only tells whether our lineage is still ours alone.

        `upto` is not used: a restored card that ran on past the centre's highest seq would lose its own rows by it.
        """
        epoch = receipt.epoch
        if not self.books.knows(epoch):
            return
        if epoch == self.books.epoch and receipt.highest >= self.books.next_seq(epoch):
            self.books.raise_seq(epoch, receipt.highest + 1)
            self.open_epoch(EpochWhy.RESTORED, prev=epoch, prev_end=receipt.highest + 1)
        if receipt.session != session:
            return
        refused = merge(Range(nack.lo, nack.hi) for nack in receipt.nack)
        conflicts = merge(receipt.conflicts)
        for nack in receipt.nack:
            self._bury(epoch, Range(nack.lo, nack.hi), nack.why)
        for each in conflicts:
            self._renumber(epoch, each, receipt.highest)
        for each in subtract(receipt.ranges, (*refused, *conflicts)):
            self._remove(epoch, each)
        self.forget_empty_epochs()

    def forget_empty_epochs(self) -> None:
        """Drop earlier lineages of which nothing is left here."""
        for epoch in self.books.earlier_epochs():
            if not self._connection.execute("SELECT 1 FROM row WHERE epoch = ? LIMIT 1", (epoch,)):
                self.books.forget(epoch)

    def keep_quota(self) -> None:
        """Turn the oldest rows of the lowest class into a gap, while any quota is exceeded."""
        for row_class in RowClass:
            limit = self._config.class_bytes(row_class)
            if limit is not None and self.books.size_bytes(row_class) > limit:
                self._evict(row_class, self.books.size_bytes(row_class) - limit + limit // _EVICT_SHARE)
        limit = self._config.quota_bytes()
        if self.books.total_bytes() <= limit:
            return
        for row_class in RowClass:
            excess = self.books.total_bytes() - limit + limit // _EVICT_SHARE
            if row_class is not RowClass.GAP and excess > 0:
                self._evict(row_class, excess)

    def _evict(self, row_class: RowClass, excess_bytes: int) -> None:
        freed = 0
        oldest = _OLDEST if row_class is RowClass.RESULT else _OLDEST_RARE
        for epoch in self.books.epochs():
            seqs: list[int] = []
            for seq, size in self._connection.stream(oldest, (epoch, int(row_class))):
                if freed >= excess_bytes:
                    break
                seqs.append(seq)
                freed += size + ROW_OVERHEAD_BYTES
            if seqs:
                ranges = gather(seqs)
                for each in ranges:
                    self._remove(epoch, each)
                self.books.evicted += len(seqs)
                self.record_gap(epoch, ranges, "quota")
            if freed >= excess_bytes:
                return

    def record_gap(self, epoch: int, ranges: Sequence[Range], why: str) -> None:
        """Say in `epoch` that `ranges` will never arrive; gaps of one cause that touch become one row.

        A gap row that was sent must not change, so a merged one takes a new number and covers those it replaces.
        """
        covered = merge(ranges)
        earlier = [
            (seq, gap)
            for seq, body in self._rows_of(epoch, RowClass.GAP)
            if (gap := _gap(body)) is not None and gap.why == why
        ]
        for seq, gap in reversed(earlier):
            is_newest = seq == earlier[-1][0]
            if touches(covered, (*gap.ranges, Range(seq, seq))) or (is_newest and len(gap.ranges) < _RANGES_PER_GAP):
                self._remove(epoch, Range(seq, seq))
                covered = merge((*covered, *gap.ranges, Range(seq, seq)))
        for start in range(0, len(covered), _RANGES_PER_GAP):
            part = covered[start : start + _RANGES_PER_GAP]
            body = encode_body(Gap(ranges=part, why=why, made_ms=self._clock.wall_ms()))
            self.append(RowClass.GAP, body, epoch=epoch)

    def settled(self) -> int:
        """Below this seq of the current epoch no row waits, and no gap tells of a number."""
        epoch = self.books.epoch
        lowest = self._connection.execute("SELECT min(seq) FROM row WHERE epoch = ?", (epoch,))[0][0]
        told = [gap.ranges[0].lo for _, body in self._rows_of(epoch, RowClass.GAP) if (gap := _gap(body)) is not None]
        return min((self.books.next_seq(epoch) if lowest is None else lowest, *told))

    def _rows_of(self, epoch: int, row_class: RowClass) -> list[tuple[int, bytes]]:
        rows = self._connection.execute(
            "SELECT seq, body FROM row WHERE epoch = ? AND class = ? AND class <> 1 ORDER BY seq",
            (epoch, int(row_class)),
        )
        return [(seq, body) for seq, body in rows]

    def _between(self, epoch: int, between: Range) -> list[Row]:
        rows = self._connection.execute(
            "SELECT seq, class, body FROM row WHERE epoch = ? AND seq BETWEEN ? AND ? ORDER BY seq",
            (epoch, between.lo, between.hi),
        )
        return [_row(seq, row_class, body) for seq, row_class, body in rows]

    def _remove(self, epoch: int, between: Range) -> None:
        for row_class, count, size in self._connection.execute(
            "SELECT class, count(*), total(length(body)) FROM row WHERE epoch = ? AND seq BETWEEN ? AND ?"
            " GROUP BY class",
            (epoch, between.lo, between.hi),
        ):
            self.books.add(_class_of(row_class), -count, -int(size))
        self._connection.execute(
            "DELETE FROM row WHERE epoch = ? AND seq BETWEEN ? AND ?", (epoch, between.lo, between.hi)
        )

    def _renumber(self, epoch: int, between: Range, highest: int) -> None:
        """Another lineage used these numbers. Gaps speak of their own epoch and stay in it, above all known numbers."""
        rows = self._between(epoch, between)
        if not rows:
            return
        if epoch == self.books.epoch:
            self.open_epoch(EpochWhy.CLONED, prev=epoch)
        self.books.raise_seq(epoch, highest + 1)
        self._remove(epoch, between)
        for row in rows:
            self.append(row.row_class, row.body, epoch=epoch if row.row_class is RowClass.GAP else None)

    def _bury(self, epoch: int, between: Range, why: str) -> None:
        """The centre will never take these: keep them for people, record the gap, and say so once."""
        rows = self._between(epoch, between)
        if not rows:
            return
        made_ms = self._clock.wall_ms()
        self._connection.execute_each(
            "INSERT INTO dead (epoch, seq, class, why, made_ms, body) VALUES (?, ?, ?, ?, ?, ?)",
            ((epoch, row.seq, int(row.row_class), why, made_ms, row.body) for row in rows),
        )
        self._connection.execute(
            "DELETE FROM dead WHERE id <= (SELECT max(id) FROM dead) - ?", (self._config.dead_rows,)
        )
        self.books.dead += len(rows)
        self._remove(epoch, between)
        # A refused gap would be refused again, and so would the report of a refused report.
        lost = gather(row.seq for row in rows if row.row_class is not RowClass.GAP)
        if lost:
            self.record_gap(epoch, lost, "refused")
        if any(not self._is_own_report(row) for row in rows):
            self.alarm("row_refused", "on", f"epoch {epoch}, seq {rows[0].seq} to {rows[-1].seq}: {why}")

    @staticmethod
    def _is_own_report(row: Row) -> bool:
        try:
            body: Body = decode_body(row.body)
        except ProtocolError:
            return False  # written by a newer version; that may be why it was refused
        return isinstance(body, Gap | EpochStart) or (isinstance(body, Event) and body.name == "row_refused")


def _row(seq: int, row_class: object, body: object) -> Row:
    """What lies on disk as a row. SQLite has no checksums: a flipped bit may pass it by, and must not pass us."""
    if not isinstance(body, bytes):
        raise CorruptError(f"row {seq} has no body")
    return Row(seq, _class_of(row_class), body)


def _class_of(value: object) -> RowClass:
    try:
        return RowClass(value)  # type: ignore[arg-type]
    except ValueError as err:
        raise CorruptError(f"a row has class {value!r}") from err


def _gap(body: bytes) -> Gap | None:
    try:
        found = decode_body(body)
    except ProtocolError:
        return None  # written by a newer version, or damaged: it stays as it is
    return found if isinstance(found, Gap) else None
