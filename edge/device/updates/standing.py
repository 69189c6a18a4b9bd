"""What the signed metadata say of this device: the order it follows, and whether what runs may go on.

Promises: an order is checked against metadata as fresh as can be had, and by a proven time where the repository has a
clock; the newest one waits until it can be checked, and a refusal is reported once, 16 of them an hour at most: whoever
floods the broker fills no outbox. A revoked release is left; one that was withdrawn, or fell below its floor while it
runs, is reported and goes on.
Leaves out: checking signatures (`trust`), carrying orders out (`updater`).
Thread: `updates`; `want`, `is_due` and `state` from any.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from edge.clock import Clock
from edge.contract.messages import TrustState
from edge.contract.trust import Assignment
from edge.device.updates.api import Repository
from edge.device.updates.desk import Desk
from edge.device.updates.machine import Happened, Happening
from edge.device.updates.record import Release, SlotRecord
from edge.device.updates.trust import Standing, Trust, Word
from edge.errors import NotInRepositoryError, ProtocolError, RepositoryError, StaleError, StoreError, TrustError
from edge.wire.worker import Backoff

__all__ = ["Overseer"]

_log = logging.getLogger(__name__)

_RETRY_MIN_S, _RETRY_MAX_S = 2.0, 600.0
# Reports of this kind are the last that the outbox gives up: without an end they would push results out of it.
_MOST_REFUSALS, _REFUSALS_S = 16, 3600.0


class Overseer:
    """Use `turn` on the thread `updates`."""

    def __init__(
        self,
        desk: Desk,
        trust: Trust,
        repository: Repository,
        clock: Clock,
        *,
        names: Callable[[], tuple[str, ...]],
        refresh_s: float,
    ) -> None:
        """`names`: the slots that this device has.

        Raises:
            StoreError: the database failed.
        """
        self._desk = desk
        self._trust = trust
        self._repository = repository
        self._clock = clock
        self._names = names
        self._refresh_s = refresh_s
        self._wanted: bytes | None = None
        self._last: bytes | None = None  # that was accepted
        self._has_news = False
        self._refused = b""  # the order whose refusal was reported
        self._distrusted = ""  # what was reported of metadata that no order waits for
        self._refusals_s: deque[float] = deque(maxlen=_MOST_REFUSALS)  # when the last ones were reported
        self._told: set[tuple[str, str]] = set()  # slot and words of what was reported of it
        self._seen: dict[str, SlotRecord] = {}  # each slot as it was looked at last
        self._due_s = 0.0
        self._backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        self._state = trust.state()

    @property
    def state(self) -> TrustState:
        """The versions that this device goes by."""
        return self._state

    @property
    def is_due(self) -> bool:
        """Whether there is something to look at now."""
        return self._has_news or self._clock.monotonic_s() >= self._due_s

    def want(self, raw: bytes) -> None:
        """An order has arrived; it replaces one that still waits."""
        self._wanted = raw
        self._has_news = True

    def refresh_soon(self) -> None:
        """Other metadata are at hand: a release may have been revoked, or one that an order waits for be there."""
        self._has_news = True

    def again(self) -> None:
        """Look at the last order once more: the database that it was kept in may be a new one."""
        if self._wanted is None:
            self._wanted = self._last
        self._has_news = True

    def turn(self) -> float:
        """Look again where it is time; seconds until it is.

        Raises:
            StoreError: the database failed.
        """
        self.look_again()  # without a network: what runs is judged by what was known last
        if self.is_due:
            self._has_news = False
            try:
                delay_s = self._attempt()
            except StoreError:
                self._has_news = True  # nothing of it was done
                raise
            self._due_s = self._clock.monotonic_s() + delay_s
        return 0.0 if self._has_news else max(0.0, self._due_s - self._clock.monotonic_s())

    def _attempt(self) -> float:
        wanted = self._wanted
        try:
            if wanted is not None and self._is_old_news(wanted):
                wanted = None
            self._trust.refresh(self._repository)
            self._look()
            # Without metadata nobody could tell before that it is an old one.
            if wanted is not None and not self._is_old_news(wanted):
                self._accept(wanted)
        except RepositoryError as err:
            delay_s = max(self._backoff.next_s(), getattr(err, "retry_after_s", 0.0))
            _log.info("updates: %s; again in %.0f s", err, delay_s)
            return delay_s
        except (TrustError, ProtocolError) as err:
            self._refuse(wanted, str(err))
            return self._backoff.next_s()
        finally:
            self._state = self._trust.state()
        self._backoff.reset()
        if self._wanted is wanted:
            self._wanted = None
        self._try_to_prove_time()
        return self._refresh_s

    def _is_old_news(self, raw: bytes) -> bool:
        """The retained order comes again at each reconnect; another old one comes from whoever kept it."""
        try:
            self._trust.check_assignment(raw)
        except StaleError as err:
            if not self._trust.is_accepted(raw):
                self._refuse(raw, str(err))
            if self._wanted is raw:
                self._wanted = None
            return True
        except (TrustError, ProtocolError):
            return False  # with metadata from before; the fresh ones decide
        return False

    def _try_to_prove_time(self) -> None:
        """Where no order asked for it: the dates of what is fetched next are then compared with the right day."""
        try:
            self._prove_time()
        except RepositoryError as err:
            _log.info("updates: %s", err)

    def _prove_time(self) -> None:
        """Once a process, after the metadata that say whose clock counts.

        Raises:
            RepositoryError: there is a clock, and it has not answered. Files have none: the system's must do.
        """
        if self._trust.is_time_proven:
            return
        try:
            self._trust.ask_time(self._repository)
        except NotInRepositoryError as err:
            _log.info("updates: %s", err)
        except (TrustError, ProtocolError) as err:
            raise RepositoryError(f"the time cannot be proven: {err}") from err

    def _accept(self, raw: bytes) -> None:
        """Follow an order that is in order by the proven time: without one a freeze of the metadata goes unseen."""
        self._trust.check_assignment(raw)
        self._prove_time()
        assignment = self._trust.check_assignment(raw)
        # Of a slot that this device does not have, too: refused in its own row is better than never heard of.
        slots = {*self._names(), *assignment.slots}
        self._desk.happen_all(
            {slot: self._meant(slot, assignment) for slot in sorted(slots)},
            writes=self._trust.accepting(raw, assignment),
        )
        self._last = raw
        _log.info("updates: assignment %d for %s", assignment.rev, ", ".join(sorted(assignment.slots)) or "no slot")

    def _meant(self, slot: str, assignment: Assignment) -> Happening:
        wanted = assignment.slots.get(slot)
        if wanted is None:
            return Happening(what=Happened.DROPPED)
        release = Release(target=wanted.target, sha256=wanted.sha256) if wanted.target else None
        return Happening(what=Happened.NAMED, release=release, mode=wanted.mode, share=wanted.share, rev=assignment.rev)

    def _refuse(self, raw: bytes | None, why: str) -> None:
        _log.warning("updates: %s", why)
        is_told = why == self._distrusted if raw is None else raw == self._refused
        now_s, told_s = self._clock.monotonic_s(), self._refusals_s
        if is_told or (len(told_s) == _MOST_REFUSALS and now_s - told_s[0] < _REFUSALS_S):
            return
        told_s.append(now_s)
        if raw is None:
            self._distrusted = why
            self._desk.tell("trust", None, "refused", why)
        else:
            self._refused = raw
            self._desk.tell("assignment", None, "refused", why)

    def look_again(self) -> None:
        """Judge what is new in a slot before it runs: what was gone back to, or chosen by an operator.

        Raises:
            StoreError: the database failed.
        """
        for slot in self._desk.names():
            record, seen = self._desk.record(slot), self._seen.get(slot)
            if seen is None or (seen.active, seen.coming) != (record.active, record.coming):
                self._look_at(slot)

    def _look(self) -> None:
        """Judge everything by metadata that may have changed."""
        for slot in self._desk.names():
            self._look_at(slot)

    def _look_at(self, slot: str) -> None:
        """Leave what was revoked, or may not be started; report once what is no longer offered."""
        while (happening := self._objection(slot)) is not None and self._desk.happen(slot, happening):
            pass
        self._seen[slot] = self._desk.record(slot)

    def _objection(self, slot: str) -> Happening | None:
        record, seen = self._desk.record(slot), self._seen.get(slot, SlotRecord())
        if record.coming is not None:
            standing = self._trust.standing(record.coming.target, record.coming.sha256)
            if standing.word in {Word.REVOKED, Word.BELOW_FLOOR}:
                return Happening(what=Happened.FAILED, why=_words(standing))
        if record.active is not None:
            standing = self._trust.standing(record.active.target, record.active.sha256)
            is_running = record.active == seen.active  # what fell below its floor since may go on, and not be started
            if standing.word is Word.REVOKED or (standing.word is Word.BELOW_FLOOR and not is_running):
                return Happening(what=Happened.REVOKED, release=record.active, why=_words(standing))
            if standing.word in {Word.WITHDRAWN, Word.BELOW_FLOOR}:
                self._tell_once(slot, standing.word.value, standing.why)
        return None

    def _tell_once(self, slot: str, word: str, why: str) -> None:
        if (slot, why) not in self._told:
            self._told.add((slot, why))
            self._desk.tell("slot", slot, word, why)


def _words(standing: Standing) -> str:
    return f"{standing.word.value}: {standing.why}"
