"""A named thread whose death is not silent, and the delays between its tries.

Promises: what a worker dies of is kept in `failure` and raised again by whoever joins it; a delay is never the same for
a whole fleet.
Leaves out: restarting; the owner decides.
Thread: a worker is started and joined by its owner; a `Backoff` belongs to one thread.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from types import TracebackType

__all__ = ["Backoff", "Worker"]


class Worker:
    """Runs `body` once in a thread called `name`."""

    def __init__(self, name: str, body: Callable[[], None]) -> None:
        self._body = body
        self._carrier = _Carrier()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._is_joined = False

    @property
    def failure(self) -> BaseException | None:
        """What the body raised, or None while it runs and after it returned."""
        return self._carrier.carried

    @property
    def is_alive(self) -> bool:
        """Whether the body still runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end.

        Raises:
            Exception: what the body died of, the first time this is asked.
        """
        if self._is_joined:
            return
        self._thread.join()
        self._is_joined = True
        if self._carrier.carried is not None:
            raise self._carrier.carried

    def _run(self) -> None:
        with self._carrier:
            self._body()


class _Carrier:
    """Carries what a thread died of over to the thread that joins it, where it is raised."""

    carried: BaseException | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.carried = error
        return True


class Backoff:
    """Delays that double from `min_s` to `max_s`; each is drawn from the upper half of its step."""

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._step_s = min_s
        self._random = secrets.SystemRandom()

    def next_s(self) -> float:
        """Seconds to wait before the next try."""
        step_s = self._step_s
        self._step_s = min(step_s * 2, self._max_s)
        return self._random.uniform(step_s / 2, step_s)

    def reset(self) -> None:
        """The last try went well."""
        self._step_s = self._min_s
