"""Keeps rollouts, what each device shall run, and why everything happened.

Promises: a decision, the assignments that follow from it and its lines in the log are one transaction, made from what
that transaction read: two processes never decide on the same state. A device's revision never falls, even where the
database is older than the device.
Leaves out: deciding (`central.rollout.engine`), signing and sending (`central.rollout.leader`).
Thread: one at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge.central.rollout.engine import ENDED, begin
from edge.central.rollout.plan import (
    Assign,
    Comparison,
    Decision,
    Member,
    Outcome,
    Phase,
    Plan,
    Report,
    Rollout,
    Step,
    check_plan,
    decode_plan,
    decode_wanted,
    encode_plan,
    encode_wanted,
)
from edge.central.store.database import open_editor, path_of, translating
from edge.central.store.presence import is_there
from edge.contract.messages import SlotState, UpdateState
from edge.contract.trust import Assignment, Wanted
from edge.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["Decide", "Rollouts"]

Decide = Callable[[Rollout, Iterable[Report]], Step]

_REPORTS = """
SELECT d.name, d.version, d.board, d.last_ms, d.is_online, d.every_ms, d.rev,
  s.state, s.active, s.active_sha256, s.previous, s.coming, s.refused, s.why, s.pinned, s.rev,
  coalesce(w.rev, 0), coalesce(w.rollout, ''), h.phase, p.slot IS NOT NULL,
  (SELECT u.why FROM update_step u WHERE u.device = d.id AND u.slot = w.slot AND u.rev = w.rev
    AND u.target = w.target AND u.state IN ('rejected', 'rolled_back') LIMIT 1),
  c.items, c.agreed, c.failed, c.active_ms, c.shadow_ms
FROM device d
LEFT JOIN slot s ON s.device = d.id AND s.name = :slot
LEFT JOIN wanted w ON w.device = d.id AND w.slot = :slot
LEFT JOIN pin p ON p.device = d.id AND p.slot = :slot
LEFT JOIN comparison c ON c.device = d.id AND c.slot = :slot AND c.rev = w.rev AND c.target = w.target
LEFT JOIN rollout h ON h.id = w.rollout AND h.id != :rollout
WHERE d.fleet = :fleet
"""
_LABELS = "SELECT d.name, l.name, l.value FROM label l JOIN device d ON d.id = l.device WHERE d.fleet = ?"
_MEMBERS = """
SELECT d.name, m.wave, m.mode, m.assigned_ms, m.before, m.seen_ms, m.outcome, m.outcome_ms, m.why
FROM rollout_member m JOIN device d ON d.id = m.device WHERE m.rollout = ?
"""
_KEEP = """
UPDATE rollout SET phase = ?, wave = ?, wave_ms = ?, approved = ?, asks = ?, why = ?, changed_ms = ? WHERE id = ?
"""
_KEEP_MEMBER = "INSERT OR REPLACE INTO rollout_member VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LOG = """
INSERT INTO rollout_log (rollout, number, at_ms, what, device, who, text)
SELECT :rollout, coalesce(max(number), 0) + 1, :at, :what, :device, :who, :text
FROM rollout_log WHERE rollout = :rollout
"""
_ASSIGN = """
INSERT INTO assignment (device, rev, rollout)
SELECT id, rev + 1, :rollout FROM device WHERE id = :device
ON CONFLICT (device) DO UPDATE SET rev = max(assignment.rev + 1, excluded.rev), rollout = excluded.rollout
"""
_WANT = """
INSERT OR REPLACE INTO wanted (device, slot, rev, body, target, rollout)
SELECT device, :slot, rev, :body, :target, :rollout FROM assignment WHERE device = :device
"""
_ASSIGNMENTS = """
SELECT a.device, d.fleet, d.name, a.rev, a.rollout FROM assignment a JOIN device d ON d.id = a.device
WHERE a.rev > a.published_rev ORDER BY a.device
"""


class Rollouts:
    """The rollouts of a central database that exists."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path

    @classmethod
    def open(cls, url: str) -> Rollouts:
        """Open it beside whoever else uses it.

        Raises:
            ConfigError, StoreError: see `database.open_editor`.
        """
        return cls(open_editor(url), path_of(url))

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def create(self, plan: Plan, now_ms: int, who: str = "") -> Rollout:
        """Begin a rollout. Those of its fleet and slot that are done assign nobody any more.

        Raises:
            InputError: the plan cannot be followed, or its name is taken.
            StoreError: the database failed.
        """
        made = begin(check_plan(plan), now_ms)
        with self.transaction() as database:
            if database.execute("SELECT 1 FROM rollout WHERE id = ?", (plan.id,)).fetchone():
                raise InputError(f"rollout {plan.id} exists already; names are never used twice, choose another")
            _replace_done(database, plan, now_ms)
            database.execute(
                "INSERT INTO rollout (id, fleet, slot, plan, phase, wave, wave_ms, approved, asks, why, created_ms, "
                "changed_ms) VALUES (?, ?, ?, ?, '', 0, 0, 0, '', '', ?, ?)",
                (plan.id, plan.fleet, plan.slot, encode_plan(plan), now_ms, now_ms),
            )
            _write(database, made, now_ms, who)
        return made.rollout

    def load(self, name: str) -> Rollout:
        """A rollout as it is.

        Raises:
            InputError: there is none of this name.
            StoreError: the database failed.
        """
        with self.transaction() as database:
            return _load(database, name)

    def turn(self, name: str, decide: Decide, now_ms: int, who: str = "") -> Step:
        """Let `decide` say what follows from everything known now, and keep that.

        Raises:
            InputError: there is none of this name, or `decide` refuses.
            StoreError: the database failed; nothing was kept.
        """
        with self.transaction() as database:
            before = _load(database, name)
            made = decide(before, _reports(database, before.plan, now_ms))
            if made.rollout is not before or made.decisions or made.assignments:
                _write(database, made, now_ms, who)
        return made

    def going(self) -> tuple[str, ...]:
        """Names of those that have not ended, oldest first."""
        ended = [phase.value for phase in sorted(ENDED)]
        places = ", ".join("?" * len(ended))
        with self.transaction() as database:
            found = database.execute(
                f"SELECT id FROM rollout WHERE phase NOT IN ({places}) ORDER BY created_ms, id",  # noqa: S608 - only ?
                ended,
            )
            return tuple(str(name) for (name,) in found)

    def reports(self, plan: Plan, now_ms: int) -> tuple[Report, ...]:
        """What is known of each device of the fleet now."""
        with self.transaction() as database:
            return tuple(_reports(database, plan, now_ms))

    def log(self, name: str) -> tuple[tuple[int, str, str, str, str], ...]:
        """Its lines, oldest first: wall milliseconds, what, device, who, text."""
        with self.transaction() as database:
            found = database.execute(
                "SELECT at_ms, what, device, who, text FROM rollout_log WHERE rollout = ? ORDER BY number", (name,)
            )
            return tuple((int(at), str(what), str(dev), str(who), str(text)) for at, what, dev, who, text in found)

    def assignments(self) -> tuple[tuple[int, Assignment], ...]:
        """Those that no broker has confirmed, with the key that `note_published` takes."""
        with self.transaction() as database:
            found = database.execute(_ASSIGNMENTS).fetchall()
            return tuple(
                (
                    int(key),
                    Assignment(fleet=fleet, device=device, rev=rev, slots=_slots(database, key), rollout=rollout),
                )
                for key, fleet, device, rev, rollout in found
            )

    def forget_published(self) -> None:
        """Take it that the broker retains nothing."""
        with self.transaction() as database:
            database.execute("UPDATE assignment SET published_rev = 0")

    def note_published(self, confirmed: Mapping[int, int], now_ms: int) -> None:
        """Revisions, by key, that the broker retains."""
        with self.transaction() as database:
            database.executemany(
                "UPDATE assignment SET published_rev = max(published_rev, ?), published_ms = ? WHERE device = ?",
                [(rev, now_ms, key) for key, rev in confirmed.items()],
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One that writes: all of it or nothing."""
        with translating(self._path), self._engine.begin() as connection:
            database: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
            yield database


def _replace_done(database: sqlite3.Connection, plan: Plan, now_ms: int) -> None:
    found = database.execute(
        "SELECT id FROM rollout WHERE fleet = ? AND slot = ? AND phase = ?", (plan.fleet, plan.slot, Phase.DONE.value)
    ).fetchall()
    for (name,) in found:
        earlier = msgspec.structs.replace(_load(database, name), phase=Phase.REPLACED)
        decision = Decision(what="replaced", text=f"rollout {plan.id} begins")
        _write(database, Step(rollout=earlier, decisions=(decision,)), now_ms, "")


def _load(database: sqlite3.Connection, name: str) -> Rollout:
    found = database.execute(
        "SELECT plan, phase, wave, wave_ms, approved, asks, why FROM rollout WHERE id = ?", (name,)
    ).fetchone()
    if found is None:
        raise InputError(f"there is no rollout {name}; `edge rollout status` names all")
    plan, phase, wave, wave_ms, approved, asks, why = found
    members = {
        str(device): Member(
            wave=wave,
            mode=mode,
            assigned_ms=assigned,
            before=decode_wanted(before),
            seen_ms=seen,
            outcome=Outcome(outcome),
            outcome_ms=outcome_ms,
            why=cause,
        )
        for device, wave, mode, assigned, before, seen, outcome, outcome_ms, cause in database.execute(
            _MEMBERS, (name,)
        )
    }
    return Rollout(
        plan=decode_plan(plan),
        phase=Phase(phase),
        wave=wave,
        wave_ms=wave_ms,
        approved=approved,
        asks=asks,
        why=why,
        members=members,
    )


def _reports(database: sqlite3.Connection, plan: Plan, now_ms: int) -> list[Report]:
    labels: dict[str, dict[str, str]] = {}
    for device, name, value in database.execute(_LABELS, (plan.fleet,)):
        labels.setdefault(device, {})[name] = value
    values = {"fleet": plan.fleet, "slot": plan.slot, "rollout": plan.id}
    return [
        _report(found, plan.fleet, labels.get(found[0], {}), now_ms) for found in database.execute(_REPORTS, values)
    ]


def _report(found: tuple[Any, ...], fleet: str, labels: Mapping[str, str], now_ms: int) -> Report:
    device, version, board, last_ms, is_online, every_ms, rev = found[:7]
    state, active, digest, previous, coming, refused, why, pinned, about_rev = found[7:16]
    wanted_rev, holder, holder_phase, is_pinned, refusal = found[16:21]
    items, agreed, failed, active_ms, shadow_ms = found[21:]
    facts = {**msgspec.json.decode(board, type=dict[str, str]), "device": device, "fleet": fleet}
    slot = shadow = None
    if state is not None:
        slot = SlotState(
            state=UpdateState(state),
            active=active,
            active_sha256=digest,
            previous=previous,
            coming=coming,
            refused=refused,
            why=why,
            pinned=bool(pinned),
            rev=about_rev,
        )
    if items is not None:
        shadow = Comparison(items=items, agreed=agreed, failed=failed, active_ms=active_ms, shadow_ms=shadow_ms)
    return Report(
        device=device,
        facts=facts if version is None else {**facts, "version": version},
        labels=labels,
        last_ms=last_ms,
        is_online=is_there(is_online=bool(is_online), last_ms=last_ms, every_ms=every_ms, now_ms=now_ms),
        rev=rev,
        slot=slot,
        wanted_rev=wanted_rev,
        holder=holder,
        is_held=holder_phase in {Phase.RUNNING.value, Phase.PAUSED.value},
        is_pinned=bool(is_pinned),
        refusal=refusal,
        shadow=shadow,
    )


def _slots(database: sqlite3.Connection, device: int) -> dict[str, Wanted]:
    found = database.execute("SELECT slot, body FROM wanted WHERE device = ? ORDER BY slot", (device,))
    return {str(slot): decode_wanted(body) for slot, body in found}


def _write(database: sqlite3.Connection, made: Step, now_ms: int, who: str) -> None:
    rollout = made.rollout
    name = rollout.plan.id
    database.execute(
        _KEEP,
        (
            *(rollout.phase.value, rollout.wave, rollout.wave_ms, rollout.approved, rollout.asks, rollout.why),
            *(now_ms, name),
        ),
    )
    keys = _keys(database, rollout.plan.fleet) if made.changed or made.assignments else {}
    for device in made.changed:
        member = rollout.members[device]
        database.execute(
            _KEEP_MEMBER,
            (
                *(name, keys[device], member.wave, member.mode, member.assigned_ms, encode_wanted(member.before)),
                *(member.seen_ms, member.outcome.value, member.outcome_ms, member.why),
            ),
        )
    for each in made.assignments:
        _assign(database, rollout.plan, keys[each.device], each)
    for decision in made.decisions:
        values = {"rollout": name, "at": now_ms, "what": decision.what, "device": decision.device, "who": who}
        database.execute(_LOG, {**values, "text": decision.text})


def _keys(database: sqlite3.Connection, fleet: str) -> dict[str, int]:
    return {
        str(name): int(key) for key, name in database.execute("SELECT id, name FROM device WHERE fleet = ?", (fleet,))
    }


def _assign(database: sqlite3.Connection, plan: Plan, device: int, given: Assign) -> None:
    database.execute(_ASSIGN, {"device": device, "rollout": plan.id})
    wanted = given.wanted
    values = {"device": device, "slot": plan.slot, "body": encode_wanted(wanted), "target": wanted.target}
    database.execute(_WANT, {**values, "rollout": plan.id})
