"""How long to go on asking a repository that fails.

Promises: delays double and are never the same for a whole fleet; a repository that is away, or asks for patience, costs
time and no try; one that answers "not there" is believed at once.
Leaves out: what is asked.
Thread: `updates`.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass

from edge.clock import Clock
from edge.errors import NotInRepositoryError, NotNowError, RepositoryError
from edge.wire.worker import Backoff

__all__ = ["Budget", "Tries"]

_LATER = 1.25  # at most so many times as late as told: a fleet that was told the same time must not come at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one file may cost. `bytes_ratio` is of its size; `tries` are those in a row that brought nothing."""

    bytes_ratio: float = 1.5
    tries: int = 20
    retry_min_s: float = 1.0
    retry_max_s: float = 300.0  # twenty tries are an hour and a half
    away_s: float = 7 * 86_400.0  # a ship at sea comes back; a repository that was taken down does not


class Tries:
    """The tries at one file. `failures` counts those in a row that brought nothing."""

    def __init__(self, budget: Budget, clock: Clock, stopping: threading.Event, *, failures: int = 0) -> None:
        self._budget = budget
        self._clock = clock
        self._stopping = stopping
        self._backoff = Backoff(budget.retry_min_s, budget.retry_max_s)
        self._random = secrets.SystemRandom()
        self._away_s = 0.0
        self.failures = failures

    def progressed(self) -> None:
        """Something came."""
        self.failures = 0
        self._away_s = 0.0
        self._backoff.reset()

    def failed(self, error: RepositoryError) -> float:
        """Count the failure; the seconds to `pause` before the next try.

        Raises:
            RepositoryError: it is not there, or there were enough of them.
        """
        if isinstance(error, NotInRepositoryError):
            raise error
        if isinstance(error, NotNowError):
            # A share that is used up comes back in a fraction of a second; asked again in vain, we wait longer.
            is_told = error.retry_after_s > 0 and self._away_s == 0
            wait_s = error.retry_after_s * self._random.uniform(1.0, _LATER) if is_told else self._backoff.next_s()
            wait_s = max(wait_s, error.retry_after_s)
            self._away_s += wait_s
            if self._away_s > self._budget.away_s:
                raise RepositoryError(f"given up after {self._away_s / 3600:.0f} hours: {error}") from error
        else:
            wait_s = self._backoff.next_s()
            self.failures += 1
            if self.failures >= self._budget.tries:
                raise RepositoryError(f"given up after {self.failures} tries: {error}") from error
        return wait_s

    def pause(self, wait_s: float) -> None:
        """Wait; less when told to stop."""
        self._clock.wait(self._stopping, wait_s)
