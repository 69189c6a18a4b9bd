"""Hand things from one thread to another, with a bound and a stated answer to "full".

Promises: nothing here grows. `Latest` replaces, `Bounded` waits, `Refusing` says no; what is lost is counted. `close`
wakes everyone; what already waits can still be taken after it.
Leaves out: order of importance, persistence, processes.
Thread: any on either side.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Bounded", "Latest", "Refusing"]

T = TypeVar("T")


class _Box(Generic[T]):
    """What the three have in common: waiting to take, and closing. Items are never None."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity}: expected at least 1")
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._is_closed = False
        self._is_woken = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called. Items may still wait."""
        with self._changed:
            return self._is_closed

    @property
    def is_ended(self) -> bool:
        """Whether `get` can never again return an item."""
        with self._changed:
            return self._is_closed and not self._items

    def get(self, timeout_s: float | None = None) -> T | None:
        """Take the oldest item; None when `timeout_s` passed without one (None: never), when woken, or all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_closed or self._is_woken, timeout_s)
            if self._is_woken or not self._items:
                self._is_woken = False
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def wake(self) -> None:
        """Have `get` return None once, at once, so that its caller looks at something else before the next item."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more, and wake everyone who waits. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


class Latest(_Box[T]):
    """One item: a newer one replaces the waiting one, and the loss is counted in `superseded`."""

    def __init__(self) -> None:
        super().__init__(1)
        self.superseded = 0

    def put(self, item: T) -> bool:
        """Leave `item` for the reader; never waits. False when closed."""
        with self._changed:
            if self._is_closed:
                return False
            if self._items:
                self._items.clear()
                self.superseded += 1
            self._items.append(item)
            self._changed.notify_all()
            return True


class Bounded(_Box[T]):
    """Up to `capacity` items, oldest first: whoever puts into a full one waits."""

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        """Wait for room, for ever or `timeout_s` seconds. False when there was none, or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._capacity or self._is_closed, timeout_s)
            if self._is_closed or len(self._items) >= self._capacity:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True


class Refusing(_Box[T]):
    """Up to `capacity` items, oldest first: a full one refuses, and counts that in `refused`."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.refused = 0

    def put(self, item: T) -> bool:
        """Leave `item`; never waits. False when full or closed."""
        with self._changed:
            if self._is_closed or len(self._items) >= self._capacity:
                self.refused += 1
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True
