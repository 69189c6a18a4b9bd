"""The figures an outbox keeps beside its rows: lineages, next numbers, sizes by class.

Promises: what `save` wrote is what `load` reads; saving writes only what changed.
Leaves out: the rows.
Thread: `store`, and no other.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edge.contract.ids import MAX_NUMBER, is_number
from edge.contract.messages import RowClass
from edge.device.outbox.connection import Connection, CorruptError

__all__ = ["ROW_OVERHEAD_BYTES", "Books"]

ROW_OVERHEAD_BYTES = 24  # keys, headers and the row's share of its page

_NAMES = {each: (f"{each.name.lower()}_rows", f"{each.name.lower()}_bytes") for each in RowClass}


@dataclass
class _Lineage:
    order: int
    next_seq: int


@dataclass
class Books:
    """Held in memory between transactions; the database is the truth."""

    lineages: dict[int, _Lineage] = field(default_factory=dict)  # by epoch, oldest first
    rows: dict[RowClass, int] = field(default_factory=lambda: dict.fromkeys(RowClass, 0))
    bytes: dict[RowClass, int] = field(default_factory=lambda: dict.fromkeys(RowClass, 0))
    evicted: int = 0
    refused: int = 0
    dead: int = 0

    @classmethod
    def load(cls, connection: Connection) -> Books:
        """Read the figures of an open database; all zero in a new one.

        Raises:
            CorruptError: a number is none; SQLite has no checksums, and a damaged page may look sound to it.
        """
        books = cls()
        for order, epoch, next_seq in connection.execute("SELECT ord, epoch, next_seq FROM epoch ORDER BY ord"):
            if not (isinstance(order, int) and is_number(epoch) and is_number(next_seq)):
                raise CorruptError(f"epoch {epoch!r} would go on with seq {next_seq!r}")
            books.lineages[epoch] = _Lineage(order, next_seq)
        tallies = dict(connection.execute("SELECT name, value FROM tally"))
        if not all(isinstance(value, int) for value in tallies.values()):
            raise CorruptError("a count is no number")
        books._set_tallies(tallies)
        return books

    def copy(self) -> Books:
        """As things are now."""
        lineages = {epoch: _Lineage(each.order, each.next_seq) for epoch, each in self.lineages.items()}
        return replace(self, lineages=lineages, rows=dict(self.rows), bytes=dict(self.bytes))

    def save(self, connection: Connection, before: Books) -> None:
        """Write what differs from `before`, inside the transaction that made it differ."""
        for epoch in before.lineages.keys() - self.lineages.keys():
            connection.execute("DELETE FROM epoch WHERE epoch = ?", (epoch,))
        for epoch, lineage in self.lineages.items():
            if before.lineages.get(epoch) != lineage:
                connection.execute(
                    "INSERT INTO epoch (ord, epoch, next_seq) VALUES (?, ?, ?)"
                    " ON CONFLICT (ord) DO UPDATE SET next_seq = excluded.next_seq",
                    (lineage.order, epoch, lineage.next_seq),
                )
        changed = dict(self._tallies().items() - before._tallies().items())
        connection.execute_each("INSERT OR REPLACE INTO tally (name, value) VALUES (?, ?)", changed.items())

    @property
    def epoch(self) -> int:
        """The current lineage; 0 before the first."""
        return next(reversed(self.lineages), 0)

    def epochs(self) -> tuple[int, ...]:
        """Every lineage that still has rows here or is current, oldest first."""
        return tuple(self.lineages)

    def earlier_epochs(self) -> tuple[int, ...]:
        """All but the current one."""
        return tuple(self.lineages)[:-1]

    def knows(self, epoch: int) -> bool:
        """Whether rows of `epoch` may be here."""
        return epoch in self.lineages

    def begin(self, epoch: int, next_seq: int = 1) -> None:
        """Make `epoch` the current lineage; it counts from `next_seq`."""
        order = max((lineage.order for lineage in self.lineages.values()), default=0) + 1
        self.lineages[epoch] = _Lineage(order, next_seq)

    def forget(self, epoch: int) -> None:
        """Nothing of `epoch` is left."""
        del self.lineages[epoch]

    def next_seq(self, epoch: int) -> int:
        """The number that the next row of `epoch` gets."""
        return self.lineages[epoch].next_seq

    def take_seqs(self, epoch: int, count: int) -> range:
        """Give out `count` numbers."""
        lineage = self.lineages[epoch]
        seqs = range(lineage.next_seq, lineage.next_seq + count)
        lineage.next_seq += count
        return seqs

    def raise_seq(self, epoch: int, at_least: int) -> None:
        """Numbers below `at_least` are taken by someone else."""
        lineage = self.lineages[epoch]
        lineage.next_seq = max(lineage.next_seq, min(at_least, MAX_NUMBER))

    def add(self, row_class: RowClass, rows: int, size_bytes: int) -> None:
        """Count rows that came (or went, negative) with bodies of `size_bytes`."""
        self.rows[row_class] += rows
        self.bytes[row_class] += size_bytes + rows * ROW_OVERHEAD_BYTES

    def size_bytes(self, row_class: RowClass) -> int:
        """Bytes of one class."""
        return self.bytes[row_class]

    def total_bytes(self) -> int:
        """Bytes of all classes."""
        return sum(self.bytes.values())

    def total_rows(self) -> int:
        """Rows of all classes."""
        return sum(self.rows.values())

    def _tallies(self) -> dict[str, int]:
        tallies = {"evicted": self.evicted, "refused": self.refused, "dead": self.dead}
        for row_class, (rows, size) in _NAMES.items():
            tallies[rows] = self.rows[row_class]
            tallies[size] = self.bytes[row_class]
        return tallies

    def _set_tallies(self, tallies: dict[str, int]) -> None:
        self.evicted = tallies.get("evicted", 0)
        self.refused = tallies.get("refused", 0)
        self.dead = tallies.get("dead", 0)
        for row_class, (rows, size) in _NAMES.items():
            self.rows[row_class] = tallies.get(rows, 0)
            self.bytes[row_class] = tallies.get(size, 0)
