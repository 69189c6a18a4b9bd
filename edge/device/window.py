"""Batches that were sent and not yet answered, and when to send them again.

Promises: a batch stays until every row of it was named by a receipt for this session; a resend never happens before the
round trip that was measured, doubled while nothing answers, says it should. A batch that stays unanswered while the
centre answers others is taken apart, down to the one row that some broker on the way will not carry.
Leaves out: sending.
Thread: `session`, and no other.

The timeout is RFC 6298's with Karn's rule: a batch that was sent twice tells nothing about the round trip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge.contract.messages import Batch, Nack, Range, Receipt
from edge.contract.ranges import gather, merge, subtract

__all__ = ["Sent", "Window"]

_FIRST_TIMEOUT_S = 3.0
_MIN_TIMEOUT_S = 1.0  # a commit at the centre on a slow disk takes this long now and then
_MAX_TIMEOUT_S = 30.0  # a centre that comes back is noticed within this time
_MAX_DOUBLINGS = 10

# Brokers drop what is too large for them without a word, or end the connection. How large that is, nobody tells.
_MAX_BATCH_BYTES = 60 * 1024  # leaves room for the batch's own header below 64 KB, compressed or not
_PASSED_OVER_SPLIT = 3  # a lossy broker drops one batch three times in a row now and then; a split costs little
_PASSED_OVER_LOST = 20  # at half a minute each; a single row that is given up is kept aside, and told as a gap
_ANY_BROKER_BYTES = 16 * 1024  # a row below this is never given up: its broker is full, not small
_GROW_AFTER = 500  # batches answered: larger ones are tried again


@dataclass
class Sent:
    """One batch on its way."""

    epoch: int
    span: Range
    left: tuple[Range, ...]
    payload: bytes
    sent_s: float
    size_bytes: int
    heard: int  # how often the centre had answered when this was sent last
    times: int = 1
    passed_over: int = 0  # how often it was sent in vain while the centre answered others


@dataclass
class Window:
    """At most `size` batches in flight."""

    size: int = 8
    in_flight: list[Sent] = field(default_factory=list)
    rtt_s: float | None = None  # smoothed
    batch_bytes: int = _MAX_BATCH_BYTES  # how much the next batch may hold
    _heard: int = 0
    _answered: int = 0
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
        size = sum(len(row.body) for row in batch.rows)
        self.in_flight.append(
            Sent(
                epoch=batch.epoch,
                span=span,
                left=left,
                payload=payload,
                sent_s=now_s,
                size_bytes=size,
                heard=self._heard,
            )
        )

    def answer(self, receipt: Receipt, now_s: float) -> None:
        """Take note of a receipt for this session."""
        self._heard += 1
        named = merge((*receipt.ranges, *receipt.conflicts, *(Range(nack.lo, nack.hi) for nack in receipt.nack)))
        if not named:
            return
        self._doublings = 0
        for sent in self.in_flight:
            if sent.epoch == receipt.epoch:
                sent.left = subtract(sent.left, named)
                if not sent.left and sent.times == 1:
                    self._measure(now_s - sent.sent_s)
        self._answered += sum(not sent.left for sent in self.in_flight)
        self.in_flight = [sent for sent in self.in_flight if sent.left]
        if self._answered >= _GROW_AFTER:
            self._answered = 0
            self.batch_bytes = min(_MAX_BATCH_BYTES, 2 * self.batch_bytes)

    def reconnected(self) -> None:
        """Whatever was in flight may be gone with the old connection."""
        self._resend_all = True
        self._doublings = 0

    def overdue(self, now_s: float) -> list[Sent]:
        """What must be sent again now, oldest first; each then counts as sent once more.

        What was passed over comes last: one that ends the connection must not keep the others back.
        """
        if self._resend_all:
            self._resend_all = False
            found = list(self.in_flight)
        else:
            found = [sent for sent in self.in_flight if now_s >= self._due_s(sent)]
            if found:
                self._doublings = min(self._doublings + 1, _MAX_DOUBLINGS)
        for sent in found:
            sent.sent_s = now_s
            sent.times += 1
            sent.passed_over += self._heard > sent.heard
            sent.heard = self._heard
        self._take_apart()
        return sorted((sent for sent in found if sent in self.in_flight), key=lambda sent: sent.passed_over)

    def take_hopeless(self) -> list[tuple[int, Nack]]:
        """Epoch and number of single rows that do not get through, for good; they are in flight no more."""
        hopeless = [
            sent
            for sent in self.in_flight
            if sent.passed_over >= _PASSED_OVER_LOST and sent.size_bytes > _ANY_BROKER_BYTES and _is_single(sent)
        ]
        self.in_flight = [sent for sent in self.in_flight if sent not in hopeless]
        return [
            (
                sent.epoch,
                Nack(sent.span.lo, sent.span.hi, f"{len(sent.payload)} bytes, sent {sent.times} times in vain"),
            )
            for sent in hopeless
        ]

    def _take_apart(self) -> None:
        """Rows of a batch that does not get through are read again, as smaller batches."""
        for sent in self.in_flight:
            if sent.passed_over >= _PASSED_OVER_SPLIT and not _is_single(sent):
                self.batch_bytes = min(self.batch_bytes, sent.size_bytes // 2)
                self._answered = 0
        self.in_flight = [sent for sent in self.in_flight if sent.passed_over < _PASSED_OVER_SPLIT or _is_single(sent)]

    def _due_s(self, sent: Sent) -> float:
        return sent.sent_s + min(_MAX_TIMEOUT_S, self.timeout_s * (1 << min(sent.passed_over, _MAX_DOUBLINGS)))

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until something may be overdue, None when nothing is in flight."""
        if not self.in_flight:
            return None
        return max(0.0, min(map(self._due_s, self.in_flight)) - now_s)

    def _measure(self, rtt_s: float) -> None:
        if self.rtt_s is None:
            self.rtt_s, self._variation_s = rtt_s, rtt_s / 2
            return
        self._variation_s += (abs(self.rtt_s - rtt_s) - self._variation_s) / 4
        self.rtt_s += (rtt_s - self.rtt_s) / 8


def _is_single(sent: Sent) -> bool:
    return sent.span.lo == sent.span.hi
