"""What other threads say to the thread `updates`.

Promises: nothing here blocks; a message says for which record it is meant, so that one that comes late moves nothing.
Leaves out: what follows (`updater`).
Thread: any puts; `updates` takes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from edge.device.mailbox import Refusing
from edge.device.updates.api import Report
from edge.device.updates.desk import Desk
from edge.device.updates.machine import Happened, Happening
from edge.device.updates.record import Release, SlotRecord

__all__ = ["Letter", "Mail"]

_MOST = 256  # a verdict for each pipeline, and a little; more never wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Something that happened to a slot with this record.

    `happening` None: its pipeline was started anew, and knows of no trial.
    """

    slot: str
    record: SlotRecord | None
    happening: Happening | None
    reports: tuple[Report, ...] = ()
    told: str = ""  # only this is to be reported of the slot


class Mail:
    """`bell` rings when something arrived; others may ring it too."""

    def __init__(self, desk: Desk) -> None:
        self.bell = threading.Event()
        self._desk = desk
        self._letters: Refusing[Letter] = Refusing(_MOST)

    def record(self, slot: str) -> SlotRecord:
        """As of its last commit."""
        return self._desk.record(slot)

    def lost(self, slot: str, release: Release, why: str) -> None:
        """An installed release cannot be opened. Of one that is not active any more, nobody needs to hear."""
        record = self._desk.record(slot)
        if release == record.active:
            happening = Happening(what=Happened.LOST, release=release, why=why)
            self.send(Letter(slot=slot, record=record, happening=happening))

    def passed_over(self, slot: str, release: Release, why: str) -> None:
        """An installed release cannot be opened for now, and another model runs: to be told, and nothing more."""
        told = f"{release.target} is passed over, another model runs: {why}"
        self.send(Letter(slot=slot, record=None, happening=None, told=told))

    def renewed(self, slot: str) -> None:
        """A pipeline was started anew, with its active release."""
        self.send(Letter(slot=slot, record=None, happening=None))

    def send(self, letter: Letter) -> None:
        """Leave it, and ring."""
        self._letters.put(letter)
        self.bell.set()

    @property
    def is_waiting(self) -> bool:
        """Whether something arrived that nobody took."""
        return len(self._letters) > 0

    def take(self) -> Iterator[Letter]:
        """All that wait, oldest first."""
        while (letter := self._letters.get(0)) is not None:
            yield letter
