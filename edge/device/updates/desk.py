"""The records of all slots: in memory for who asks, in the database for who comes after.

Promises: a record changes by the table alone, and is what others see only once it is committed, with its report, in one
transaction. A record that cannot be read is replaced by what can be run, and reported. A database that is replaced
under a running process takes no slot back to the factory's model.
Leaves out: doing what a state asks for (`work`, `updater`).
Thread: `load` on main, before any other, and again on `updates`, which alone writes; any thread reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from edge.clock import Clock
from edge.contract.messages import Event, SlotState
from edge.device.updates.api import Book, Report, Write
from edge.device.updates.machine import Happened, Happening, step
from edge.device.updates.record import SlotRecord, encode_record, read_record, slot_state, told

__all__ = ["Desk"]

_log = logging.getLogger(__name__)

_SAVE = "INSERT INTO slot (name, body) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body"


class Desk:
    """All records of one device."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book = book
        self._clock = clock
        self._records: Mapping[str, SlotRecord] = {}  # replaced as a whole: other threads read it
        self._on_change: Callable[[], None] = lambda: None

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` after each commit that changed a record, on the thread `updates`; it must not block."""
        self._on_change = on_change

    def load(self) -> None:
        """Read what is stored; what cannot be read is put right.

        Again, later: a database that was replaced meanwhile gets the records that it lacks from memory.

        Raises:
            StoreError: the database failed.
        """
        records: dict[str, SlotRecord] = {}
        writes: list[Write] = []
        reports: list[Report] = []
        for name_, body in self._book.query("SELECT name, body FROM slot ORDER BY name"):
            name = str(name_)
            found = read_record(bytes(body))
            records[name] = found.record
            if found.problem:
                _log.warning("%s: its record cannot be read (%s); what can be run is run", name, found.problem)
                writes.append((_SAVE, (name, encode_record(found.record))))
                reports += [self._event("slot", name, "broken", found.problem), self._told(name, found.record)]
        for name, record in self._records.items():
            if name not in records:
                _log.warning("%s: its record is gone from the database; it is kept there again", name)
                records[name] = record
                writes.append((_SAVE, (name, encode_record(record))))
                reports.append(self._told(name, record))
        if writes:
            self._book.commit(writes, reports)
        self._records = records

    def record(self, slot: str) -> SlotRecord:
        """As of its last commit; a slot that nothing was ever done with runs the factory's model."""
        return self._records.get(slot) or SlotRecord()

    def names(self) -> tuple[str, ...]:
        """Slots that have a record."""
        return tuple(self._records)

    def states(self, names: Iterable[str] = ()) -> dict[str, SlotState]:
        """For the device's state: of each slot that has a record, and of these besides."""
        return {name: slot_state(self.record(name)) for name in sorted({*self._records, *names})}

    def happen(
        self, slot: str, happening: Happening, *, writes: Sequence[Write] = (), reports: Sequence[Report] = ()
    ) -> bool:
        """See `happen_all`."""
        return self.happen_all({slot: happening}, writes=writes, reports=reports)

    def happen_all(
        self,
        happenings: Mapping[str, Happening],
        *,
        writes: Sequence[Write] = (),
        reports: Sequence[Report] = (),
    ) -> bool:
        """Take steps, and commit them together with `writes` and `reports`; whether a record changed.

        Raises:
            StoreError: nothing of it was done.
        """
        changed: dict[str, SlotRecord] = {}
        for slot, happening in happenings.items():
            before = self.record(slot)
            after, _ = step(before, happening)
            if after is not before:
                changed[slot] = after
        if not (changed or writes or reports):
            return False
        saves = [(_SAVE, (slot, encode_record(record))) for slot, record in changed.items()]
        rows = [self._told(slot, record) for slot, record in changed.items()]
        self._book.commit([*saves, *writes], [*rows, *reports])
        self._records = {**self._records, **changed}
        for slot, record in changed.items():
            _note(slot, happenings[slot], record)
        if changed:
            self._on_change()
        return bool(changed)

    def tell(self, name: str, slot: str | None, state: str, detail: str, *, writes: Sequence[Write] = ()) -> None:
        """Report something that changes no record: an event of that name, of one slot or of the device.

        Raises:
            StoreError: it was not kept.
        """
        self._book.commit(writes, [self._event(name, slot, state, detail)])

    def _told(self, slot: str, record: SlotRecord) -> Report:
        return told(slot, record, self._clock.wall_ms())

    def _event(self, name: str, slot: str | None, state: str, detail: str) -> Event:
        return Event(name=name, state=state, made_ms=self._clock.wall_ms(), pipeline=slot, detail=detail)


def _note(slot: str, happening: Happening, record: SlotRecord) -> None:
    about = record.coming or record.refused or record.active
    why = f": {record.why}" if record.why and happening.what is not Happened.NAMED else ""
    _log.info("%s: %s %s%s", slot, "the factory's model" if about is None else about.target, record.state.value, why)
