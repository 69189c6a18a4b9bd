"""How much an outbox may keep and how it groups its commits, and what it says about itself.

Promises: the defaults are safe on an SD card of a small board.
Leaves out: where the file lies; `app` derives that from the data directory.
Thread: any; values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from edge.contract.messages import RowClass

__all__ = ["OutboxConfig", "OutboxStatus"]

_Megabytes = Annotated[float, Meta(gt=0)]
_BYTES_PER_MB = 1024 * 1024


class OutboxConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of the outbox. Past a quota the oldest rows become a recorded gap; nothing is ever refused silently."""

    quota_mb: _Megabytes = 512.0  # all rows together; a detector at 5 a second fills it in about a week
    debug_mb: _Megabytes | None = 32.0  # debug rows never push out more than this; None: only `quota_mb` counts
    result_mb: _Megabytes | None = None  # None: only `quota_mb` counts
    update_mb: _Megabytes | None = None  # the same
    alarm_mb: _Megabytes | None = None  # the same; alarms are the last to be pushed out, gaps never are
    # A commit is one flush of the medium: rows that arrive within this time of the last one share the next.
    group_ms: Annotated[int, Meta(ge=0, le=10_000)] = 200  # raise it to spare a card; a result waits that much longer
    group_rows: Annotated[int, Meta(ge=1, le=1000)] = 50  # this many do not wait for the time; more gains little
    queue_rows: Annotated[int, Meta(ge=1)] = 1000  # rows on their way to the disk; a power cut takes them
    put_wait_s: Annotated[float, Meta(ge=0)] = 2.0  # how long `put` waits for room; longer stalls the pipeline
    row_kb: Annotated[int, Meta(ge=1, le=512)] = 256  # one row; brokers commonly refuse messages above 1 MB
    reserve_kb: Annotated[int, Meta(ge=64)] = (
        2048  # for the gap that a full disk must still take; below 1 MB it may not
    )
    dead_rows: Annotated[int, Meta(ge=0)] = 1000  # rows the centre refused, kept for people to look at

    def quota_bytes(self) -> int:
        """All classes together."""
        return int(self.quota_mb * _BYTES_PER_MB)

    def class_bytes(self, row_class: RowClass) -> int | None:
        """The limit of one class, None where only the total counts. Gaps have none: the audit stands on them."""
        match row_class:
            case RowClass.DEBUG:
                limit = self.debug_mb
            case RowClass.RESULT:
                limit = self.result_mb
            case RowClass.UPDATE:
                limit = self.update_mb
            case RowClass.ALARM:
                limit = self.alarm_mb
            case RowClass.GAP:
                limit = None
        return None if limit is None else int(limit * _BYTES_PER_MB)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """How an outbox is, as of its last commit.

    `rows` and `size_bytes` count what no receipt has settled yet; below seq `settled` nothing of this epoch waits any
    more. `evicted`, `refused` and `dead` count rows since the database was made: pushed out by a quota, never committed
    (disk full, queue full, too large), refused by the centre.
    """

    epoch: int
    next_seq: int
    settled: int
    rows: int
    size_bytes: int
    evicted: int = 0
    refused: int = 0
    dead: int = 0
    is_full: bool = False  # the disk has no room: rows become gaps until it has
