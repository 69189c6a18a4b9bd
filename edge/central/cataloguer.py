"""Keeps the catalogue of results up with what arrives.

Promises: a database that fails is tried again for ever; an old database is taken in from its first row, a batch at a
time, while everything else goes on.
Leaves out: what the catalogue holds (`central.store.catalogue`).
Thread: `catalogue`.
"""

from __future__ import annotations

import logging
import threading

from edge.central.store.catalogue import Catalogue
from edge.clock import Clock
from edge.errors import StoreError
from edge.wire.worker import Backoff, Worker

__all__ = ["Cataloguer"]

_log = logging.getLogger(__name__)

_TICK_S = 1.0
_BREATH_S = 0.02  # between batches of a long way to go, for the ingest


class Cataloguer:
    """`start` and `stop` run the thread."""

    def __init__(self, catalogue: Catalogue, clock: Clock) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._stopping = threading.Event()
        self._worker = Worker("catalogue", self._run)
        self._backoff = Backoff(_TICK_S, 30.0)

    @property
    def failure(self) -> BaseException | None:
        """What the thread died of."""
        return self._worker.failure

    def start(self) -> None:
        """Run the thread."""
        self._worker.start()

    def stop(self) -> None:
        """End the thread; the next one goes on where it stood.

        Raises:
            Exception: what the thread died of.
        """
        self._stopping.set()
        self._worker.join()

    def _run(self) -> None:
        wait_s = 0.0
        while not self._clock.wait(self._stopping, wait_s):
            wait_s = self._turn()

    def _turn(self) -> float:
        """Take some rows in; seconds until the next time."""
        try:
            taken = self._catalogue.step()
        except StoreError as err:
            _log.warning("catalogue: %s; trying again", err)
            return self._backoff.next_s()
        self._backoff.reset()
        return _BREATH_S if taken else _TICK_S
