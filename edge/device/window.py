"""Batches that were sent and not yet answered, and when to send them again.

Promises: a batch stays until every row of it was named by a receipt for this session; a resend never happens before the
round trip that was measured, doubled while nothing answers, says it should.
Leaves out: sending.
Thread: `session`, and no other.

The timeout is RFC 6298's with Karn's rule: a batch that was sent twice tells nothing about the round trip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge.contract.messages import Batch, Range, Receipt
from edge.contract.ranges import gather, merge, subtract

__all__ = ["Sent", "Window"]

_FIRST_TIMEOUT_S = 3.0
_MIN_TIMEOUT_S = 1.0  # a commit at the centre on a slow disk takes this long now and then
_MAX_TIMEOUT_S = 30.0  # a centre that comes back is noticed within this time
_MAX_DOUBLINGS = 10


@dataclass
class Sent:
    """One batch on its way."""

    epoch: int
    span: Range
    left: tuple[Range, ...]
    payload: bytes
    sent_s: float
    times: int = 1


@dataclass
class Window:
    """At most `size` batches in flight."""

    size: int = 8
    in_flight: list[Sent] = field(default_factory=list)
    rtt_s: float | None = None  # smoothed
    _variation_s: float = 0.0
    _doublings: int = 0
    _resend_all: bool = False

    @property
    def has_room(self) -> bool:
        """Whether one more may be sent."""
        return len(self.in_flight) < self.size

    @property
    def timeout_s(self) -> float:
        """How long a batch may stay unanswered now."""
        timeout_s = _FIRST_TIMEOUT_S if self.rtt_s is None else max(_MIN_TIMEOUT_S, self.rtt_s + 4 * self._variation_s)
        return min(_MAX_TIMEOUT_S, timeout_s * (1 << self._doublings))

    def spans(self) -> Mapping[int, Sequence[Range]]:
        """What is in flight, by epoch: rows that need not be read again."""
        spans: dict[int, list[Range]] = {}
        for sent in self.in_flight:
            spans.setdefault(sent.epoch, []).append(sent.span)
        return spans

    def add(self, batch: Batch, payload: bytes, now_s: float) -> None:
        """A batch was sent for the first time."""
        span = Range(batch.rows[0].seq, batch.rows[-1].seq)
        left = gather(row.seq for row in batch.rows)
        self.in_flight.append(Sent(epoch=batch.epoch, span=span, left=left, payload=payload, sent_s=now_s))

    def answer(self, receipt: Receipt, now_s: float) -> None:
        """Take note of a receipt for this session."""
        named = merge((*receipt.ranges, *receipt.conflicts, *(Range(nack.lo, nack.hi) for nack in receipt.nack)))
        if not named:
            return
        self._doublings = 0
        for sent in self.in_flight:
            if sent.epoch == receipt.epoch:
                sent.left = subtract(sent.left, named)
                if not sent.left and sent.times == 1:
                    self._measure(now_s - sent.sent_s)
        self.in_flight = [sent for sent in self.in_flight if sent.left]

    def reconnected(self) -> None:
        """Whatever was in flight may be gone with the old connection."""
        self._resend_all = True
        self._doublings = 0

    def overdue(self, now_s: float) -> list[Sent]:
        """What must be sent again now, oldest first; each then counts as sent once more."""
        if self._resend_all:
            self._resend_all = False
            found = list(self.in_flight)
        else:
            timeout_s = self.timeout_s
            found = [sent for sent in self.in_flight if now_s - sent.sent_s >= timeout_s]
            if found:
                self._doublings = min(self._doublings + 1, _MAX_DOUBLINGS)
        for sent in found:
            sent.sent_s = now_s
            sent.times += 1
        return found

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until something may be overdue, None when nothing is in flight."""
        if not self.in_flight:
            return None
        return max(0.0, min(sent.sent_s for sent in self.in_flight) + self.timeout_s - now_s)

    def _measure(self, rtt_s: float) -> None:
        if self.rtt_s is None:
            self.rtt_s, self._variation_s = rtt_s, rtt_s / 2
            return
        self._variation_s += (abs(self.rtt_s - rtt_s) - self._variation_s) / 4
        self.rtt_s += (rtt_s - self.rtt_s) / 8
