"""What other threads ask of the store thread, in order.

Promises: rows wait in a bounded queue; when it is full `offer` waits for room, then refuses. Requests are never
overtaken by rows that came later.
Leaves out: doing any of it.
Thread: any may put; `store` takes.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from edge.contract.messages import Batch, Range, Receipt, RowClass

__all__ = ["Commit", "Flush", "Inbox", "Query", "Read", "Request", "Settle", "Waiting"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row on its way to the disk. `future` gets its seq."""

    row_class: RowClass
    body: bytes
    future: Future[int]


@dataclass(frozen=True, slots=True)
class Settle:
    """A receipt; `session` is ours."""

    receipt: Receipt
    session: int


@dataclass(frozen=True, slots=True)
class Read:
    """Wanted: the oldest rows outside `skip`."""

    session: int
    skip: Mapping[int, Sequence[Range]]
    max_bytes: int
    future: Future[Batch | None]


@dataclass(frozen=True, slots=True)
class Flush:
    """Commit all that was asked before; the future then gets None."""

    future: Future[None]


@dataclass(frozen=True, slots=True)
class Query:
    """Wanted: all rows of one query over tables that are not the outbox's."""

    sql: str
    values: Sequence[Any]
    future: Future[list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Commit:
    """Statements over tables that are not the outbox's, and rows that shall be committed with them."""

    writes: Sequence[tuple[str, Sequence[Any]]]
    rows: Sequence[tuple[RowClass, bytes]]
    future: Future[None]


Request = Settle | Read | Flush | Query | Commit


class Inbox:
    """A bounded queue of rows and one of requests, with one bell for both."""

    def __init__(self, capacity: int, group: int) -> None:
        """`group` rows are worth waking the store for at once."""
        self.bell = threading.Event()
        self._capacity = capacity
        self._group = min(group, capacity)
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._rows: deque[Waiting] = deque()
        self._requests: deque[Request] = deque()
        self._refused: Counter[str] = Counter()
        self._is_closed = False

    def offer(self, row: Waiting, wait_s: float) -> bool:
        """Hand a row in; false when there was no room within `wait_s`, or the store has closed."""
        with self._lock:
            if len(self._rows) >= self._capacity and not self._is_closed:
                self._room.wait_for(self._has_room_or_is_closed, timeout=wait_s)
            if self._is_closed:
                return False
            if len(self._rows) >= self._capacity:
                self._refused["overrun"] += 1
                return False
            self._rows.append(row)
            waiting = len(self._rows)
        # The first starts the clock of its group, the last completes it; waking for each would cost more than the row.
        if waiting in (1, self._group):
            self.bell.set()
        return True

    def _has_room_or_is_closed(self) -> bool:
        return len(self._rows) < self._capacity or self._is_closed

    def refuse(self, why: str) -> None:
        """Count a row that cannot be taken at all."""
        with self._lock:
            self._refused[why] += 1
        self.bell.set()

    def ask(self, request: Request) -> bool:
        """Hand a request in; false when the store has closed."""
        with self._lock:
            if self._is_closed:
                return False
            self._requests.append(request)
        self.bell.set()
        return True

    def count(self) -> int:
        """Rows waiting."""
        return len(self._rows)

    def take_rows(self, limit: int) -> list[Waiting]:
        """The oldest rows, at most `limit`."""
        with self._room:
            taken = [self._rows.popleft() for _ in range(min(limit, len(self._rows)))]
            self._room.notify_all()
        return taken

    def take_requests(self) -> list[Request]:
        """All requests so far."""
        with self._lock:
            taken = list(self._requests)
            self._requests.clear()
        return taken

    def take_refused(self) -> Counter[str]:
        """How many rows were not taken since the last call, by reason."""
        with self._lock:
            refused, self._refused = self._refused, Counter()
        return refused

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def close(self) -> None:
        """Take nothing more; what waits can still be taken."""
        with self._room:
            self._is_closed = True
            self._room.notify_all()
        self.bell.set()
