"""Keeps rollouts, and why everything happened.

Promises: a decision, the assignments that follow from it and its lines in the log are one transaction. It is made from
one moment of the database, without keeping any writer waiting, and holds only if nobody has decided anything since:
two processes never decide on the same state.
Leaves out: deciding (`central.rollout.engine`), signing and sending (`central.leader`).
Thread: one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from edge.central.rollout.engine import ENDED, begin
from edge.central.rollout.judging import is_superseded
from edge.central.rollout.plan import (
    Decision,
    Phase,
    Plan,
    Report,
    Rollout,
    Step,
    check_plan,
    encode_plan,
    encode_wanted,
)
from edge.central.store.assignments import assign, confirm, due, forget
from edge.central.store.database import Database, Transaction, closing_on_failure, open_editor, open_reader
from edge.central.store.devices import Device, read_devices
from edge.central.store.log import Line, note, read_log
from edge.central.store.reports import read_reports, read_rollout
from edge.contract.trust import Assignment
from edge.errors import InputError

__all__ = ["Decide", "Rollouts"]

Decide = Callable[[Rollout, Iterable[Report]], Step]

_KEEP = """
UPDATE rollout SET phase = ?, wave = ?, wave_ms = ?, approved = ?, asks = ?, why = ?, changed_ms = ? WHERE id = ?
"""
_KEEP_MEMBER = """
INSERT INTO rollout_member (rollout, device, wave, mode, assigned_ms, before, seen_ms, outcome, outcome_ms, why)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (rollout, device) DO UPDATE SET
  wave = excluded.wave, mode = excluded.mode, assigned_ms = excluded.assigned_ms, before = excluded.before,
  seen_ms = excluded.seen_ms, outcome = excluded.outcome, outcome_ms = excluded.outcome_ms, why = excluded.why
"""
_CREATE = """
INSERT INTO rollout (id, fleet, slot, plan, phase, wave, wave_ms, approved, asks, why, created_ms, changed_ms, change)
VALUES (?, ?, ?, ?, '', 0, 0, 0, '', '', ?, ?, (SELECT number FROM change))
"""


class Rollouts:
    """The rollouts of a central database that exists."""

    def __init__(self, editor: Database, reader: Database) -> None:
        self._editor = editor
        self._reader = reader

    @classmethod
    def open(cls, url: str) -> Rollouts:
        """Open it beside whoever else uses it.

        Raises:
            ConfigError, StoreError: see `database.open_editor`.
        """
        reader = open_reader(url)  # first: it changes nothing, also where the file is no database at all
        with closing_on_failure(reader):
            return cls(open_editor(url), reader)

    def close(self) -> None:
        """Let go of the database."""
        self._reader.close()
        self._editor.close()

    def create(self, plan: Plan, now_ms: int, who: str = "") -> Rollout:
        """Begin a rollout. Those that are done and whose devices are all among its own assign nobody any more.

        Raises:
            InputError: the plan cannot be followed, names a device that nobody knows, or its name is taken.
            StoreError: the database failed.
        """
        made = begin(check_plan(plan), now_ms)
        with self.transaction() as database:
            if database.execute("SELECT 1 FROM rollout WHERE id = ?", (plan.id,)).fetchone():
                raise InputError(f"rollout {plan.id} exists already; names are never used twice, choose another")
            _check_devices(database, plan)
            _replace_done(database, plan, now_ms)
            database.execute(_CREATE, (plan.id, plan.fleet, plan.slot, encode_plan(plan), now_ms, now_ms))
            _write(database, made, now_ms, who)
        return made.rollout

    def load(self, name: str) -> Rollout:
        """A rollout as it is.

        Raises:
            InputError: there is none of this name.
            StoreError: the database failed.
        """
        with self.reading() as database:
            return read_rollout(database, name)

    def turn(self, name: str, decide: Decide, now_ms: int, who: str = "") -> Step:
        """Let `decide` say what follows from everything known now, and keep that.

        It is asked again, on what is there then, where somebody else decided something meanwhile.

        Raises:
            InputError: there is none of this name, or `decide` refuses.
            StoreError: the database failed; nothing was kept.
        """
        with self.reading() as database:
            seen = _changes(database)
            before = read_rollout(database, name)
            given = read_reports(database, before.plan, now_ms)
        made = decide(before, given)
        if _is_nothing(made, before):
            return made
        with self.transaction() as database:
            if _changes(database) != seen + 1:  # more than our own transaction's
                before = read_rollout(database, name)
                made = decide(before, read_reports(database, before.plan, now_ms))
            if not _is_nothing(made, before):
                _write(database, made, now_ms, who)
        return made

    def names(self) -> tuple[str, ...]:
        """All there ever were, oldest first."""
        with self.reading() as database:
            return tuple(str(name) for (name,) in database.execute("SELECT id FROM rollout ORDER BY change, id"))

    def going(self) -> tuple[str, ...]:
        """Names of those that have not ended, oldest first."""
        with self.reading() as database:
            found = database.execute("SELECT id, phase FROM rollout ORDER BY change, id")
            return tuple(str(name) for name, phase in found if Phase(phase) not in ENDED)

    def reports(self, plan: Plan, now_ms: int) -> tuple[Report, ...]:
        """What is known of each device of the fleet now."""
        with self.reading() as database:
            return tuple(read_reports(database, plan, now_ms))

    def log(self, name: str, *, after: int = 0) -> tuple[Line, ...]:
        """Its lines, oldest first, that have a number above `after`; of `BY_HAND` what people said of devices."""
        with self.reading() as database:
            return read_log(database, name, after)

    def devices(self, now_ms: int) -> tuple[Device, ...]:
        """Every device of every fleet."""
        with self.reading() as database:
            return read_devices(database, now_ms)

    def assignments(self, now_ms: int) -> tuple[tuple[int, Assignment], ...]:
        """Those that are to be published, with the key that `note_published` takes."""
        with self.reading() as database:
            return due(database, now_ms)

    def forget_published(self) -> None:
        """Take it that the broker retains nothing."""
        with self._editor.transaction() as database:
            forget(database)

    def note_published(self, confirmed: Mapping[int, int], now_ms: int) -> None:
        """Revisions, by key, that the broker retains."""
        with self._editor.transaction() as database:
            confirm(database, confirmed, now_ms)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One that decides something: all of it or nothing."""
        with self._editor.transaction() as database:
            database.execute("UPDATE change SET number = number + 1")
            yield database

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """What stands there at one moment; it keeps no writer waiting."""
        with self._reader.transaction() as database:
            yield database


def _changes(database: Transaction) -> int:
    """How often anybody, a person or the engine, has decided anything."""
    return int(database.execute("SELECT number FROM change").fetchone()[0])


def _is_nothing(made: Step, before: Rollout) -> bool:
    return made.rollout is before and not made.decisions and not made.assignments


def _check_devices(database: Transaction, plan: Plan) -> None:
    """A canary that is misspelt would be a wave without a device, and go by in silence."""
    known = {str(name) for (name,) in database.execute("SELECT name FROM device WHERE fleet = ?", (plan.fleet,))}
    for wave in plan.waves:
        unknown = sorted(set(wave.devices) - known)
        if unknown:
            raise InputError(
                f"wave {wave.name} names {', '.join(unknown)}, which fleet {plan.fleet} does not have; "
                "`edge fleet list` names all"
            )


def _replace_done(database: Transaction, plan: Plan, now_ms: int) -> None:
    found = database.execute(
        "SELECT id FROM rollout WHERE fleet = ? AND slot = ? AND phase = ?", (plan.fleet, plan.slot, Phase.DONE.value)
    ).fetchall()
    if not found:
        return
    known = read_reports(database, plan, now_ms)
    for (name,) in found:
        earlier = read_rollout(database, name)
        if not is_superseded(earlier.plan, plan, known):
            continue
        earlier = msgspec.structs.replace(earlier, phase=Phase.REPLACED)
        decision = Decision(what="replaced", text=f"rollout {plan.id} begins")
        _write(database, Step(rollout=earlier, decisions=(decision,)), now_ms, "")


def _write(database: Transaction, made: Step, now_ms: int, who: str) -> None:
    rollout = made.rollout
    name = rollout.plan.id
    database.execute(
        _KEEP,
        (
            *(rollout.phase.value, rollout.wave, rollout.wave_ms, rollout.approved, rollout.asks, rollout.why),
            *(now_ms, name),
        ),
    )
    keys = _keys(database, rollout.plan.fleet, {*made.changed, *(each.device for each in made.assignments)})
    members = [(device, rollout.members[device]) for device in made.changed]
    encoded = {each: encode_wanted(each) for each in {member.before for _, member in members}}
    database.executemany(
        _KEEP_MEMBER,
        [
            (
                *(name, keys[device], member.wave, member.mode, member.assigned_ms, encoded[member.before]),
                *(member.seen_ms, member.outcome.value, member.outcome_ms, member.why),
            )
            for device, member in members
        ],
    )
    assign(database, rollout.plan.slot, {keys[each.device]: each.wanted for each in made.assignments}, name)
    note(database, name, made.decisions, now_ms, who)


def _keys(database: Transaction, fleet: str, devices: Iterable[str]) -> dict[str, int]:
    statement = "SELECT id FROM device WHERE fleet = ? AND name = ?"
    return {name: int(database.execute(statement, (fleet, name)).fetchone()[0]) for name in devices}
