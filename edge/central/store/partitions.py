"""Cuts the rows on PostgreSQL by the month in which they came.

Promises: a month's table is made when its first row comes, in the same transaction; old months can be detached or
dropped as a whole. Making one keeps neither readers nor other writers waiting.
Each month has its own unique key. That a number is used once over all months is the writer's doing: it holds the
device's lock, and asks for numbers that are not above all others (`postgres`). A key over all months would need a table
of every number ever seen, a fifth slower and never smaller: docs/adr/0007-rows-by-month.md.
Leaves out: taking months away.
Thread: any.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

__all__ = ["Month", "month_of"]

_YEAR_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Month:
    """The rows that came at `from_ms` or later and before `to_ms`, wall milliseconds, UTC."""

    table: str
    from_ms: int
    to_ms: int

    @property
    def statements(self) -> tuple[str, ...]:
        """What makes its table."""
        first, after = self.from_ms, self.to_ms
        key = "PRIMARY KEY (device, epoch, seq)"
        # Not CREATE TABLE ... PARTITION OF, which would wait for all readers of all months.
        return (
            f"CREATE TABLE {self.table} (LIKE row, {key}, CHECK (got_ms >= {first} AND got_ms < {after}))",
            f"ALTER TABLE row ATTACH PARTITION {self.table} FOR VALUES FROM ({first}) TO ({after})",
        )


def month_of(got_ms: int) -> Month:
    """The month that a row belongs to."""
    moment = datetime.fromtimestamp(got_ms / 1000, tz=timezone.utc)
    year, month = moment.year, moment.month
    after = (year + month // _YEAR_MONTHS, month % _YEAR_MONTHS + 1)
    return Month(f"row_y{year:04}m{month:02}", _start_ms(year, month), _start_ms(*after))


def _start_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=timezone.utc).timestamp()) * 1000
