"""Who is there: births, deaths and twins.

Promises: a death is believed only for the session of the last birth (the will of an earlier run may come late); a kept
state proves nothing about now, and neither does one that fell due several times without a word; two sessions that take
turns are two devices.
What slots run is kept from the last birth; a death says nothing of it.
Leaves out: rows and receipts (`write`).
Thread: the writer's, inside its transaction.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from edge.central.store.arrived import StateSeen
from edge.central.store.database import Transaction
from edge.contract.messages import State

__all__ = ["IS_THERE", "Presence", "is_there", "note_state"]

# One return happens in health: a broker may deliver an old birth again after a reconnect. A twin goes on for ever.
_RETURNS_OF_A_TWIN = 2
# A device that lost power together with its broker left no death. It speaks every half minute, or as often as it says.
_STALE_MS = 180_000
_MISSED = 3
_LONGEST_S = 86_400.0

# The same as `is_there`, of a device `d`, for questions about many: takes now_ms and is 1 or 0.
IS_THERE = (
    f"(CASE WHEN d.is_online = 1 AND abs(? - d.last_ms) < CASE WHEN {_MISSED} * d.every_ms > {_STALE_MS} "
    f"THEN {_MISSED} * d.every_ms ELSE {_STALE_MS} END THEN 1 ELSE 0 END)"
)

_BIRTH = """
UPDATE device SET is_online = 1, session = ?, session_before = ?, returns = ?, epoch = ?, next_seq = ?,
  backlog_rows = ?, backlog_bytes = ?, version = ?, state = ?, board = ?, rev = ?, every_ms = ?,
  last_ms = coalesce(?, last_ms)
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


def is_there(*, is_online: bool, last_ms: int | None, every_ms: int, now_ms: int) -> bool:
    """Whether a device whose last state was a birth is there now: it spoke within three of its periods, or 180 s.

    A moment far ahead comes of a clock that was set back, and says no more than one long ago.
    """
    patience_ms = max(_STALE_MS, _MISSED * every_ms)
    return is_online and last_ms is not None and abs(now_ms - last_ms) < patience_ms


def note_state(database: Transaction, device: int, seen: StateSeen, now_ms: int) -> Presence:
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
            *(state.version, seen.raw, msgspec.json.encode(state.board).decode(), state.trust.rev),
            *(round(1000 * min(max(0.0, state.every_s), _LONGEST_S)), last_ms, device),
        ),
    )
    _note_slots(database, device, state)
    return Presence.CLONED if has_returned and returns >= _RETURNS_OF_A_TWIN else Presence.BORN


def _note_slots(database: Transaction, device: int, state: State) -> None:
    held = {str(name) for (name,) in database.execute("SELECT name FROM slot WHERE device = ?", (device,))}
    gone = held - set(state.slots)
    database.executemany("DELETE FROM slot WHERE device = ? AND name = ?", [(device, name) for name in gone])
    database.executemany(
        _SLOT,
        [
            (
                *(device, name, slot.state.value, slot.active, slot.active_sha256, slot.previous),
                *(slot.coming, slot.refused, slot.why, int(slot.pinned), slot.rev),
            )
            for name, slot in state.slots.items()
        ],
    )
