"""Bring one file here by its digest, block by block, over anything that loses, repeats, cuts and lies.

Promises: goes on after a restart where it was, but for what came since the last note (one window, 4 MB). Spends at most
its budget. What it says is there has its digest and is flushed. Wrong bytes are fetched anew once.
Leaves out: other ways to the same bytes, and the file's final name (`fetch`).
Thread: `updates`.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from edge.clock import Clock
from edge.contract.asks import BLOCK_BYTES, MAX_BLOCKS
from edge.device.updates.api import Book, Repository
from edge.device.updates.part import Part, forget
from edge.device.updates.tries import Budget, Tries
from edge.errors import RepositoryError

__all__ = ["Download"]

_log = logging.getLogger(__name__)


class Download:
    """Brings files of one repository, one after another."""

    def __init__(
        self,
        repository: Repository,
        book: Book,
        clock: Clock,
        stopping: threading.Event,
        *,
        budget: Budget,
        reserve_bytes: int,
    ) -> None:
        self._repository = repository
        self._book = book
        self._clock = clock
        self._stopping = stopping
        self._budget = budget
        self._reserve_bytes = reserve_bytes

    def tries(self, failures: int = 0) -> Tries:
        """A new count of tries, with this budget."""
        return Tries(self._budget, self._clock, self._stopping, failures=failures)

    def fetch(self, sha256: str, size_bytes: int, path: Path) -> bool:
        """Make `path`, a part, the whole file; false when told to stop before.

        Raises:
            NotInRepositoryError: there is no such file.
            RepositoryError: the budget is spent, or the bytes were wrong twice.
            StoreError: the disk; `DiskFullError` where there is no room.
        """
        with Part(self._book, path, sha256, size_bytes, reserve_bytes=self._reserve_bytes) as part:
            while self._fill(part, sha256, size_bytes):
                if part.is_right():
                    return True
                if part.restarts:
                    break
                _log.warning("%s: file %s came, and is another; fetching it anew", self._repository.name, sha256)
                part.restart()
            else:
                return False
        forget(self._book, path, sha256)
        raise RepositoryError(f"{self._repository.name}: file {sha256} came twice, and was another each time")

    def _fill(self, part: Part, sha256: str, size_bytes: int) -> bool:
        tries = self.tries(part.attempts)
        # A small file may lose all its blocks once.
        limit_bytes = max(int(size_bytes * self._budget.bytes_ratio), size_bytes + MAX_BLOCKS * BLOCK_BYTES)
        try:
            while asked := part.missing(MAX_BLOCKS):
                if self._stopping.is_set():
                    part.save()
                    return False
                self._check_spent(part, sha256, limit_bytes)
                self._ask(part, tries, sha256, size_bytes, asked, limit_bytes)
        except RepositoryError:
            part.settle()
            raise
        return True

    def _check_spent(self, part: Part, sha256: str, limit_bytes: int) -> None:
        if part.spent_bytes > limit_bytes:
            raise RepositoryError(
                f"{self._repository.name}: given up on file {sha256} after {part.spent_bytes} bytes, of {limit_bytes}"
            )

    def _ask(
        self, part: Part, tries: Tries, sha256: str, size_bytes: int, asked: tuple[int, ...], limit_bytes: int
    ) -> None:
        """Ask once, note what came, and wait where that was too little."""
        fresh, error = 0, None
        try:
            for index, content in self._repository.blocks(sha256, size_bytes, asked):
                fresh += part.put(index, content)
                if self._stopping.is_set() or part.spent_bytes > limit_bytes:
                    break
        except RepositoryError as err:
            error = err
        if fresh:
            tries.progressed()
        elif error is None and not self._stopping.is_set():
            error = RepositoryError(f"{self._repository.name}: nothing of file {sha256} came that was asked for")
        wait_s = 0.0 if error is None else tries.failed(error)
        part.attempts = tries.failures
        part.save()
        if wait_s:
            _log.debug("fetching %s: %s; again in %.0f s", sha256, error, wait_s)
            tries.pause(wait_s)
