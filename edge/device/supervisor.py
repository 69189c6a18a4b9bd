"""Keep threads alive: the only module that swallows an `Exception`, and the table of what each error means next.

Promises: whatever a life raises stops that life alone, is reported once on the way down and once on the way up, and is
followed by another attempt after a jittered exponential back-off, for ever. The table, from the most special class:

    SourceError        a camera or stream went away           reopen, 1 s doubling to 60 s
    InferenceError     many inputs in a row failed            reopen, 1 s doubling to 60 s
    InputError         a person must change a file            try again, 5 s doubling to 60 s: the file may be replaced
    MissingExtraError  a person must install something        try again every 60 s: a native import cannot be undone
    StoreError         the outbox failed                      try again, 1 s doubling to 60 s
    anything else      a defect of ours, or memory ran out    try again, 1 s doubling to 60 s, with the traceback logged

Leaves out: what a life does. One failed input is no failed life: `pipeline` reports it and takes the next.
Thread: `keep` starts one thread for each life; `stuck` and the pulses may be read from any.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge.clock import Clock
from edge.errors import EdgeError, InputError, MissingExtraError

__all__ = ["Kept", "Life", "Pulse", "Retry", "Supervisor", "retry_after"]

_log = logging.getLogger(__name__)

_CEILING_S = 60.0  # a camera that comes back is seen within a minute; lower keeps a dead network busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When to try again: the n-th attempt in a row waits `first_s * 2^n`, at most 60 s, less up to half by jitter."""

    first_s: float
    is_expected: bool  # false: a defect, worth a traceback

    def delay_s(self, failures: int, jitter: float) -> float:
        """Seconds to wait after `failures` (1, 2, ...) failures in a row; `jitter` is 0..1."""
        full = min(_CEILING_S, self.first_s * 2.0 ** min(failures - 1, 16))
        return full * (1.0 - jitter / 2)


_QUICK = Retry(first_s=1.0, is_expected=True)
_PERSON = Retry(first_s=5.0, is_expected=True)
_INSTALL = Retry(first_s=_CEILING_S, is_expected=True)
_DEFECT = Retry(first_s=1.0, is_expected=False)


def retry_after(err: Exception) -> Retry:
    """The table of this module's docstring."""
    if isinstance(err, MissingExtraError):
        return _INSTALL
    if isinstance(err, InputError):
        return _PERSON
    if isinstance(err, EdgeError):
        return _QUICK
    return _DEFECT


class Pulse:
    """Whether a thread moves, for the watchdog. Waiting is fine for ever; one piece of work has a budget."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadline_s: float | None = None

    def working(self, budget_s: float) -> None:
        """One piece of work begins, and ends within `budget_s` seconds or the thread counts as stuck."""
        self._deadline_s = self._clock.monotonic_s() + budget_s

    def waiting(self) -> None:
        """Nothing to do: for a source, for a mailbox, for the next attempt."""
        self._deadline_s = None

    @property
    def is_stuck(self) -> bool:
        """Whether the piece of work in hand is over its budget."""
        deadline_s = self._deadline_s  # one read: the owner may write in between
        return deadline_s is not None and self._clock.monotonic_s() > deadline_s


class Life(Protocol):
    """What one thread does, again and again. All three run on that thread."""

    def run(self, kept: Kept) -> None:
        """Do it until it is done (return), until `kept.stop` is set (return) or until it breaks (raise)."""
        ...

    def down(self, err: Exception, *, is_news: bool, delay_s: float) -> None:
        """It broke, and will be tried again in `delay_s` seconds. `is_news`: the first time since it last went well."""
        ...

    def up(self) -> None:
        """It goes well again, after a `down`."""
        ...


class Kept:
    """One life in one thread of its own, tried again for ever."""

    def __init__(self, name: str, life: Life, clock: Clock, jitter: Callable[[], float]) -> None:
        self.stop = threading.Event()
        self.pulse = Pulse(clock)
        self.failures = 0  # in a row
        self.is_ended = False  # true once the life is done, and will not be tried again
        self._life = life
        self._clock = clock
        self._jitter = jitter
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    @property
    def name(self) -> str:
        """The thread's name: `capture:<pipeline>`, `pipeline:<name>`."""
        return self._thread.name

    def start(self) -> None:
        """Begin the first attempt."""
        self._thread.start()

    def went_well(self) -> None:
        """Say so from inside `Life.run`, when something came of it: the back-off starts anew."""
        if self.failures:
            self.failures = 0
            self._life.up()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; false when it has not. Set `stop` first."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _keep(self) -> None:
        try:
            while not self.stop.is_set():
                delay_s = self._attempt()
                self.pulse.waiting()
                if delay_s is None:
                    return
                self._clock.wait(self.stop, delay_s)
        finally:
            self.is_ended = True
            self.pulse.waiting()

    def _attempt(self) -> float | None:
        """One attempt; seconds until the next, None when there shall be none."""
        try:
            self._life.run(self)
        except Exception as err:  # noqa: BLE001 - the one place that swallows: see the table above
            if self.stop.is_set():
                _log.debug("%s: %s while stopping", self.name, err)
                return None  # a read that was woken, a box that was closed: the way out
            self.failures += 1
            retry = retry_after(err)
            delay_s = retry.delay_s(self.failures, self._jitter())
            _log.log(
                logging.WARNING if self.failures == 1 else logging.DEBUG,
                "%s: %s; next attempt in %.1f s",
                self.name,
                err or type(err).__name__,
                delay_s,
                exc_info=None if retry.is_expected else err,
            )
            self._tell(err, delay_s)
            return delay_s
        return None

    def _tell(self, err: Exception, delay_s: float) -> None:
        try:
            self._life.down(err, is_news=self.failures == 1, delay_s=delay_s)
        except Exception:  # noqa: BLE001 - a report that cannot be made is no reason to give the life up
            _log.exception("%s: could not be reported", self.name)


class Supervisor:
    """Every kept thread of this process."""

    def __init__(self, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._jitter = jitter
        self._kept: list[Kept] = []

    def keep(self, name: str, life: Life) -> Kept:
        """Start a thread that lives `life` for ever."""
        kept = Kept(name, life, self._clock, self._jitter)
        self._kept.append(kept)
        kept.start()
        return kept

    def forget(self, kept: Kept) -> None:
        """Watch it no longer; it has been stopped, or given up on."""
        self._kept.remove(kept)

    def stuck(self) -> tuple[str, ...]:
        """Names of the threads whose work is over its budget. Empty: the watchdog may be fed."""
        return tuple(kept.name for kept in self._kept if kept.pulse.is_stuck)
