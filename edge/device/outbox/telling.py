"""What an outbox says about itself after each commit.

Promises: figures of the last commit; what costs a query is looked up now and then.
Leaves out: who listens (`store`).
Thread: `store`, and no other.
"""

from __future__ import annotations

import logging
from typing import Protocol

from edge.clock import Clock
from edge.device.outbox.config import OutboxStatus
from edge.device.outbox.ledger import Ledger
from edge.errors import StoreError

__all__ = ["Publish", "Teller"]

_log = logging.getLogger(__name__)

_SETTLED_S = 10.0  # two queries; a state tells the result once a minute


class Publish(Protocol):
    """Where the keeper tells how things are after each commit."""

    def __call__(self, status: OutboxStatus, *, has_news: bool) -> None:
        """`has_news`: there may be rows to read that were not there before."""
        ...


class Teller:
    """Makes the status of a ledger."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._settled_in = 0
        self._settled_below = 0
        self._settled_until_s = 0.0

    def status(self, ledger: Ledger, *, unrecorded: int, is_full: bool) -> OutboxStatus:
        """How it is; `unrecorded` rows are lost and no gap tells of them yet."""
        books = ledger.books
        return OutboxStatus(
            epoch=books.epoch,
            next_seq=books.next_seq(books.epoch),
            settled=self._settled(ledger),
            rows=books.total_rows(),
            size_bytes=books.total_bytes(),
            evicted=books.evicted,
            refused=books.refused + unrecorded,
            dead=books.dead,
            is_full=is_full,
        )

    def _settled(self, ledger: Ledger) -> int:
        """Looked up now and then: what was settled once stays so, within an epoch."""
        epoch = ledger.books.epoch
        now_s = self._clock.monotonic_s()
        if self._settled_in != epoch or now_s >= self._settled_until_s:
            self._settled_in, self._settled_until_s, self._settled_below = epoch, now_s + _SETTLED_S, 0
            try:
                self._settled_below = ledger.settled()
            except StoreError as err:
                _log.debug("outbox: cannot tell what is settled: %s", err)
        return self._settled_below
