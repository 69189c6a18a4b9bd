"""The thread that drives every slot through its states.

Promises: a step is committed before its work begins; one thing at a time, and whatever arrives interrupts a fetch; what
fails for now is tried again with back-off until the state's deadline. A defect in one slot's work counts as an attempt
of that slot and stops no other. No model stops running because of anything here.
Leaves out: the table (`machine`), which order is followed (`standing`), the work (`work`), pipelines (`device.stage`).
Thread: `updates` runs `turn`. `want`, `nudge`, `stop` and the states may be called from any.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge.clock import Clock
from edge.contract.messages import Shadow, SlotState, TrustState
from edge.device.seat import Terms, Verdict
from edge.device.shadow import Compared
from edge.device.supervisor import Kept, Pulse
from edge.device.updates.api import Pipelines, Write
from edge.device.updates.desk import Desk
from edge.device.updates.machine import Action, Happened, Happening, line_of
from edge.device.updates.mail import Letter, Mail
from edge.device.updates.orders import Order, Orders
from edge.device.updates.record import Release, SlotRecord
from edge.device.updates.standing import Overseer
from edge.device.updates.work import Refused, Work
from edge.errors import EdgeError, MissingExtraError, RepositoryError, StoreError
from edge.wire.worker import Backoff

__all__ = ["Updater"]

_log = logging.getLogger(__name__)

_IDLE_S = 2.0  # how soon an operator's order at the device is seen
_RETRY_MIN_S, _RETRY_MAX_S = 2.0, 600.0
_PATIENCE_S = 300.0  # for metadata that are on their way, as a retained message is just after a reconnect
_OPEN_BUDGET_S = 120.0  # as a pipeline has


@dataclass(slots=True, kw_only=True)
class _Place:
    """Where a slot is, in this process. `record`: for which the rest holds."""

    record: SlotRecord
    entered_s: float
    is_begun: bool = False
    due_s: float = 0.0
    problem: str = ""  # of the last try


class Updater:
    """All slots of one device. A `supervisor.Life`."""

    def __init__(
        self,
        desk: Desk,
        mail: Mail,
        overseer: Overseer,
        work: Work,
        pipelines: Pipelines,
        orders: Orders,
        clock: Clock,
        *,
        terms: Terms,
        shadow_items: int,
        interrupt: threading.Event,
    ) -> None:
        """`interrupt`: what makes a fetch return early."""
        self._desk = desk
        self._mail = mail
        self._overseer = overseer
        self._work = work
        self._pipelines = pipelines
        self._orders = orders
        self._clock = clock
        self._terms = terms
        self._shadow_items = shadow_items
        self._interrupt = interrupt
        self._is_stopping = False
        self._is_resumed = False
        self._pulse: Pulse | None = None
        self._stranded: set[str] = set()  # slots whose factory's model was told to be broken
        self._at: str | None = None  # the slot in hand
        self._broken: str | None = None  # the one in hand when the life before broke, which goes last
        self._is_defect = False  # and it broke by itself, not by the database
        self._places: dict[str, _Place] = {}
        self._running: dict[str, Release | None] = {}  # what each pipeline was last told to run
        self._backoffs: dict[str, Backoff] = {}

    # From any thread.

    def want(self, raw: bytes) -> None:
        """A signed assignment has arrived; the newest counts."""
        self._overseer.want(raw)
        self._interrupt.set()
        self._mail.bell.set()

    def refresh_soon(self) -> None:
        """Other metadata are at hand. What is under way goes on."""
        self._overseer.refresh_soon()
        self._mail.bell.set()

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` whenever a slot's record has changed; it must not block."""
        self._desk.watch(on_change)

    def slot_states(self) -> dict[str, SlotState]:
        """For the device's state; a slot that nothing was ever done with runs the factory's model."""
        return self._desk.states(self._pipelines.names())

    def trust_state(self) -> TrustState:
        """For the device's state."""
        return self._overseer.state

    def nudge(self) -> None:
        """Leave a fetch where something waits that only the files or the clock tell of; call it now and then."""
        if self._mail.is_waiting or self._orders.are_waiting or self._overseer.is_due:
            self._interrupt.set()
            self._mail.bell.set()

    def stop(self) -> None:
        """Have `run` return soon."""
        self._is_stopping = True
        self._interrupt.set()
        self._mail.bell.set()

    # The thread.

    def run(self, kept: Kept) -> None:
        """See `supervisor.Life`."""
        self._pulse = kept.pulse
        self._desk.load()
        if self._is_resumed:
            self._recover()
        while not (self._is_stopping or kept.stop.is_set()):
            wait_s = self.turn()
            kept.went_well()
            if wait_s > 0:
                self._clock.wait(self._mail.bell, wait_s)
            self._mail.bell.clear()

    def down(self, err: Exception, *, is_news: bool, delay_s: float) -> None:
        """See `supervisor.Life`. What cannot be kept cannot be reported either."""
        self._broken, self._at = self._at, None
        self._is_defect = not isinstance(err, StoreError)
        if is_news:
            _log.warning("updates: %s; next attempt in %.1f s", err, delay_s)

    def up(self) -> None:
        """See `supervisor.Life`."""

    def turn(self) -> float:
        """Hear what is new, and take each slot as far as it goes; how long nothing needs doing, seconds.

        Raises:
            StoreError: the database failed; nothing was done that it does not know of.
        """
        self._interrupt.clear()
        if self._is_stopping:  # it may have been said just before that
            self._interrupt.set()
        self._resume()
        self._hear()
        wait_s = min(_IDLE_S, self._overseer.turn())
        for slot in self._slots():
            if self._is_stopping:
                break
            self._at = slot
            wait_s = min(wait_s, self._advance(slot))
        self._at = None
        return 0.0 if self._interrupt.is_set() else wait_s

    def _slots(self) -> list[str]:
        names = {*self._desk.names(), *self._pipelines.names()}
        return sorted(names, key=lambda name: (name == self._broken, name))

    def _resume(self) -> None:
        """Once a process: what the one before was at has been cut short."""
        if not self._is_resumed:
            self._running = {slot: self._desk.record(slot).active for slot in self._slots()}
            self._desk.happen_all(dict.fromkeys(self._desk.names(), Happening(what=Happened.RESTARTED)))
            self._is_resumed = True

    def _recover(self) -> None:
        """A later life: something broke, and the database may be another one. Deadlines go on."""
        for slot in self._places:
            self._begin_anew(slot)
        if self._broken is not None and self._is_defect:
            self._desk.happen(self._broken, Happening(what=Happened.RESTARTED))
        self._is_defect = False
        self._overseer.again()

    def _hear(self) -> None:
        for letter in self._mail.take():
            record = self._desk.record(letter.slot)
            if letter.told:
                self._desk.tell("slot", letter.slot, "passed_over", letter.told)
            elif letter.happening is None:
                self._begin_anew(letter.slot)
                self._running[letter.slot] = record.active
            elif letter.record is not None and letter.record.is_same_work(record):
                self._desk.happen(letter.slot, letter.happening, reports=letter.reports)
        for order, done in self._orders.take():
            self._obey(order, done)

    def _begin_anew(self, slot: str) -> None:
        """What was begun of the state's work is gone. Its deadline stays."""
        place = self._places.get(slot)
        if place is not None:
            place.is_begun, place.due_s = False, 0.0

    def _obey(self, order: Order, done: Write) -> None:
        """An operator at the device; what cannot be done is reported. `done`: what to commit with it."""
        happening, problem = None, f"no pipeline {order.slot!r}"
        if order.slot in self._slots():
            happening, problem = self._orders.happening(order, self._desk.record(order.slot))
        if happening is None:
            self._desk.tell("order", order.slot, "refused", f"{order.what}: {problem}", writes=[done])
        else:
            self._desk.happen(order.slot, happening, writes=[done])

    def _advance(self, slot: str) -> float:
        """Steps until the slot waits for something; for how long at most."""
        while not (self._interrupt.is_set() or self._is_stopping):
            self._overseer.look_again()
            record = self._desk.record(slot)
            place = self._place(slot, record)
            now_s = self._clock.monotonic_s()
            deadline_s = line_of(record).deadline_s
            if deadline_s is not None and now_s - place.entered_s > deadline_s:
                why = ": ".join(filter(None, (f"not done in {deadline_s / 3600:g} h", place.problem)))
                self._desk.happen(slot, Happening(what=Happened.TIMED_OUT, why=why))
                continue
            if place.is_begun or now_s < place.due_s:
                return _IDLE_S if place.is_begun else place.due_s - now_s
            happening = self._do(slot, record, place)
            if happening is None:
                return _IDLE_S if place.is_begun else max(0.0, place.due_s - now_s)
            self._desk.happen(slot, happening)
        return 0.0

    def _place(self, slot: str, record: SlotRecord) -> _Place:
        place = self._places.get(slot)
        if place is None or not place.record.is_same_work(record):
            # The same state with another attempt, or another active release behind it, keeps its deadline.
            is_same = place is not None and (place.record.state, place.record.coming) == (record.state, record.coming)
            entered_s = place.entered_s if place is not None and is_same else self._clock.monotonic_s()
            place = self._places[slot] = _Place(record=record, entered_s=entered_s)
            self._backoffs.pop(slot, None)
        return place

    def _do(self, slot: str, record: SlotRecord, place: _Place) -> Happening | None:
        """The work of a state; None: it waits, because it was begun or is tried again later."""
        try:
            return self._done(slot, record, place)
        except (RepositoryError, MissingExtraError, OSError) as err:
            backoff = self._backoffs.setdefault(slot, Backoff(_RETRY_MIN_S, _RETRY_MAX_S))
            delay_s = max(backoff.next_s(), getattr(err, "retry_after_s", 0.0))
            place.due_s, place.problem = self._clock.monotonic_s() + delay_s, str(err)
            _log.info("%s: %s; again in %.0f s", slot, err, delay_s)
            return None

    def _done(self, slot: str, record: SlotRecord, place: _Place) -> Happening | None:
        outcome: Refused | bool | None = None
        match line_of(record).does:
            case Action.RUN:
                place.is_begun = True
                return self._run(slot, record.active)
            case Action.TRY:
                place.is_begun = True
                return self._try(slot, record)
            case Action.SHADOW:
                place.is_begun = True
                return self._shadow(slot, record)
            case Action.VERIFY:
                self._run(slot, record.active)  # another one may have been on trial when this one was named
                outcome = self._work.verify(slot, record)
            case Action.FETCH:
                outcome = self._work.fetch(slot, record)
            case Action.CHECK:
                self._run(slot, record.active)  # another one may have been on trial when this one was named
                outcome = self._work.check(slot, record)
            case Action.PROBE:
                outcome = self._work.probe(slot, record)
            case Action.PRUNE:
                self._run(slot, record.active)
                self._work.prune(slot, record)
        if isinstance(outcome, Refused):
            return self._refused(outcome, self._clock.monotonic_s() - place.entered_s)
        return None if outcome is False else Happening(what=Happened.DONE)

    @staticmethod
    def _refused(refused: Refused, after_s: float) -> Happening:
        if not refused.is_final and after_s < _PATIENCE_S:
            raise RepositoryError(refused.why)
        return Happening(what=Happened.FAILED, why=refused.why)

    def _run(self, slot: str, release: Release | None) -> Happening | None:
        if slot in self._running and self._running[slot] == release:
            return None
        try:
            with self._opening():
                self._pipelines.run(slot, release)
        except EdgeError as err:
            if release is not None:
                return Happening(what=Happened.LOST, release=release, why=str(err))
            self._put_off(slot, f"the factory's model cannot be opened, the one before goes on: {err}")
            return None
        self._running[slot] = release
        self._stranded.discard(slot)
        return None

    def _put_off(self, slot: str, why: str) -> None:
        """Below the factory's model there is none: try again later, and say so once."""
        place = self._place(slot, self._desk.record(slot))
        place.is_begun, place.due_s = False, self._clock.monotonic_s() + _RETRY_MAX_S
        if slot not in self._stranded:
            self._desk.tell("slot", slot, "broken", why)
            self._stranded.add(slot)

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """A model that hangs while it is opened here is the watchdog's business, and then a counted attempt."""
        if self._pulse is not None:
            self._pulse.working(_OPEN_BUDGET_S)
        try:
            yield
        finally:
            if self._pulse is not None:
                self._pulse.waiting()

    def _try(self, slot: str, record: SlotRecord) -> Happening | None:
        def tell(verdict: Verdict) -> None:
            if verdict.is_cut_short:  # a config was read again: this process lives, and nothing is to blame
                self._mail.renewed(slot)
                return
            happening = Happening(what=Happened.DONE)
            if not verdict.is_good:
                happening = Happening(what=Happened.FAILED, why=f"after {verdict.items} inferences: {verdict.why}")
            self._mail.send(Letter(slot=slot, happening=happening, record=record))

        self._running.pop(slot, None)
        return self._begun(slot, lambda: self._pipelines.try_out(slot, _coming(record), self._terms, tell))

    def _shadow(self, slot: str, record: SlotRecord) -> Happening | None:
        def tell(compared: Compared) -> None:
            report = self._report(slot, record, compared)
            happening = Happening(what=Happened.DONE)
            if compared.why:
                happening = Happening(what=Happened.FAILED, why=compared.why)
            self._mail.send(Letter(slot=slot, happening=happening, record=record, reports=(report,)))

        self._running.pop(slot, None)
        return self._begun(
            slot,
            lambda: self._pipelines.begin_shadow(
                slot, _coming(record), share=record.share, items=self._shadow_items, tell=tell
            ),
        )

    def _begun(self, slot: str, begin: Callable[[], None]) -> Happening | None:
        if slot not in self._pipelines.names():
            return Happening(what=Happened.FAILED, why="this device has no pipeline of that name")
        try:
            with self._opening():
                begin()
        except EdgeError as err:
            return Happening(what=Happened.FAILED, why=str(err))
        return None

    def _report(self, slot: str, record: SlotRecord, compared: Compared) -> Shadow:
        return Shadow(
            slot=slot,
            target=_coming(record).target,
            made_ms=self._clock.wall_ms(),
            items=compared.items,
            agreed=compared.agreed,
            active_ms=round(compared.active_ms, 3),
            shadow_ms=round(compared.shadow_ms, 3),
            failed=compared.failed,
            rev=self._desk.record(slot).rev_of(record.coming),
        )


def _coming(record: SlotRecord) -> Release:
    assert record.coming is not None  # noqa: S101 - the table: only what is on its way is tried
    return record.coming
