"""Keeps what people say of devices: labels to choose them by, slots that no rollout may assign, and what one shall run.

Promises: a device or slot that the centre does not know is refused, so that a slip of the pen changes nothing; every
word stands in the log with who said it. What a person assigns, no rollout that goes on takes back.
Leaves out: what devices say of themselves (`presence`).
Thread: the caller's, inside its transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.central.rollout.plan import Decision
from edge.central.store.assignments import assign
from edge.central.store.database import Transaction
from edge.central.store.log import BY_HAND, note
from edge.contract.trust import Wanted
from edge.errors import InputError, NotFoundError

__all__ = ["Person", "previous_of", "set_label", "set_pin", "use"]

_LABEL = """
INSERT INTO label (device, name, value) VALUES (?, ?, ?) ON CONFLICT (device, name) DO UPDATE SET value = excluded.value
"""
_PIN = """
INSERT INTO pin (device, slot, since_ms) VALUES (?, ?, ?)
ON CONFLICT (device, slot) DO UPDATE SET since_ms = excluded.since_ms
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who speaks, when (wall milliseconds), and of which device; that is its name as text."""

    who: str
    now_ms: int
    fleet: str
    device: str

    def __str__(self) -> str:
        return f"{self.fleet}/{self.device}"

    def note(self, database: Transaction, what: str, text: str) -> None:
        """Add a line to the log."""
        decision = Decision(what=what, device=str(self), text=text)
        note(database, BY_HAND, [decision], self.now_ms, self.who)


def set_label(database: Transaction, person: Person, name: str, value: str) -> None:
    """Give a label, or take it away by an empty value. Raises NotFoundError for an unknown device."""
    key = _key(database, person)
    if value:
        database.execute(_LABEL, (key, name, value))
    else:
        database.execute("DELETE FROM label WHERE device = ? AND name = ?", (key, name))
    person.note(database, "label", f"{name}={value}")


def set_pin(database: Transaction, person: Person, slot: str, *, is_on: bool) -> None:
    """Keep rollouts off a slot, or let them again. Raises InputError for an unknown device or slot."""
    key = _key(database, person)
    _check_slot(database, person, key, slot)
    if is_on:
        database.execute(_PIN, (key, slot, person.now_ms))
    else:
        database.execute("DELETE FROM pin WHERE device = ? AND slot = ?", (key, slot))
    person.note(database, "pin" if is_on else "unpin", slot)


def use(database: Transaction, person: Person, slot: str, wanted: Wanted) -> None:
    """Assign a release to a slot; an empty target is the factory's model.

    Raises:
        InputError: an unknown device or slot, or one that is pinned at the device, which would not follow.
    """
    key = _key(database, person)
    _check_slot(database, person, key, slot)
    (pinned,) = database.execute("SELECT pinned FROM slot WHERE device = ? AND name = ?", (key, slot)).fetchone()
    if pinned:
        raise InputError(
            f"slot {slot} of {person} is pinned at the device, which follows nobody; "
            f"`edge model pin --off {slot}` there lets it go"
        )
    assign(database, slot, {key: wanted}, BY_HAND)
    person.note(database, "use", f"{slot}: {wanted.target or 'the factory model'}")


def previous_of(database: Transaction, person: Person, slot: str) -> str:
    """The target of the release that a slot ran before this one, as its device tells; empty: the factory's model.

    Raises:
        InputError: an unknown device or slot, or one that has run nothing else.
    """
    key = _key(database, person)
    _check_slot(database, person, key, slot)
    active, previous = database.execute(
        "SELECT active, previous FROM slot WHERE device = ? AND name = ?", (key, slot)
    ).fetchone()
    if not active and not previous:
        raise InputError(f"slot {slot} of {person} runs the factory's model, and nothing ran before it")
    return str(previous)


def _key(database: Transaction, person: Person) -> int:
    found = database.execute(
        "SELECT id FROM device WHERE fleet = ? AND name = ?", (person.fleet, person.device)
    ).fetchone()
    if found is None:
        raise NotFoundError(f"there is no device {person}; `edge fleet list` names all")
    return int(found[0])


def _check_slot(database: Transaction, person: Person, key: int, slot: str) -> None:
    held = [str(name) for (name,) in database.execute("SELECT name FROM slot WHERE device = ? ORDER BY name", (key,))]
    if slot not in held:
        there = f"it has {', '.join(held)}" if held else "it tells of none: its config has no [updates], or it is older"
        raise InputError(f"{person} has no slot {slot}; {there}")
