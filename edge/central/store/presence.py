"""Who is there: births, deaths and twins.

Promises: a death is believed only for the session of the last birth (the will of an earlier run may come late); a kept
state proves nothing about now; two sessions that take turns are two devices.
What slots run is kept from the last birth; a death says nothing of it.
Leaves out: rows and receipts (`write`).
Thread: the writer's, inside its transaction.
"""

from __future__ import annotations

import sqlite3
from enum import Enum

import msgspec

from edge.central.store.arrived import StateSeen
from edge.contract.messages import State

__all__ = ["Presence", "note_state"]

# One return happens in health: a broker may deliver an old birth again after a reconnect. A twin goes on for ever.
_RETURNS_OF_A_TWIN = 2

_BIRTH = """
UPDATE device SET is_online = 1, session = ?, session_before = ?, returns = ?, epoch = ?, next_seq = ?,
  backlog_rows = ?, backlog_bytes = ?, version = ?, state = ?, board = ?, rev = ?, last_ms = coalesce(?, last_ms)
  WHERE id = ?
"""
_DEATH = """
UPDATE device SET is_online = 0, session = ?, state = ?, last_ms = coalesce(?, last_ms) WHERE id = ?
"""
_SLOT = """
INSERT INTO slot (device, name, state, active, active_sha256, previous, coming, refused, why, pinned, rev)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device, name) DO UPDATE SET
  state = excluded.state, active = excluded.active, active_sha256 = excluded.active_sha256,
  previous = excluded.previous, coming = excluded.coming, refused = excluded.refused, why = excluded.why,
  pinned = excluded.pinned, rev = excluded.rev
"""


class Presence(Enum):
    """What a state told."""

    BORN = "born"
    DIED = "died"
    IGNORED = "ignored"
    CLONED = "cloned"


def note_state(database: sqlite3.Connection, device: int, seen: StateSeen, now_ms: int) -> Presence:
    """Store a birth or a death."""
    session, before, returns = database.execute(
        "SELECT session, session_before, returns FROM device WHERE id = ?", (device,)
    ).fetchone()
    state = seen.state
    last_ms = None if seen.is_retained else now_ms
    if not state.online:
        if session is not None and session != state.session:
            return Presence.IGNORED
        database.execute(_DEATH, (state.session, seen.raw, last_ms, device))
        return Presence.DIED
    has_returned = state.session == before and not seen.is_retained
    if state.session != session:
        before = session
        returns += has_returned
    database.execute(
        _BIRTH,
        (
            *(state.session, before, returns, state.epoch, state.next_seq, state.backlog_rows, state.backlog_bytes),
            *(state.version, seen.raw, msgspec.json.encode(state.board).decode(), state.trust.rev, last_ms, device),
        ),
    )
    _note_slots(database, device, state)
    return Presence.CLONED if has_returned and returns >= _RETURNS_OF_A_TWIN else Presence.BORN


def _note_slots(database: sqlite3.Connection, device: int, state: State) -> None:
    held = {str(name) for (name,) in database.execute("SELECT name FROM slot WHERE device = ?", (device,))}
    gone = held - set(state.slots)
    database.executemany("DELETE FROM slot WHERE device = ? AND name = ?", [(device, name) for name in gone])
    database.executemany(
        _SLOT,
        [
            (
                *(device, name, slot.state.value, slot.active, slot.active_sha256, slot.previous),
                *(slot.coming, slot.refused, slot.why, slot.pinned, slot.rev),
            )
            for name, slot in state.slots.items()
        ],
    )
