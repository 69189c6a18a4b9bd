"""Keeps what each device shall run, and which of it the broker has.

Promises: a device's revision grows with each change, and never falls, even where the database is older than the device.
Leaves out: who decided it (`rollouts`, `people`), signing and sending (`central.leader`).
Thread: the caller's, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge.central.rollout.plan import decode_wanted, encode_wanted
from edge.central.store.database import Transaction
from edge.central.store.presence import is_there
from edge.contract.trust import Assignment, Wanted

__all__ = ["assign", "confirm", "due", "forget"]

_PATIENCE_MS = 60_000  # a device tells its revision every half minute or so, and at once when it has changed

_ASSIGN = """
INSERT INTO assignment (device, rev, rollout)
SELECT id, rev + 1, ? FROM device WHERE id = ?
ON CONFLICT (device) DO UPDATE SET rollout = excluded.rollout,
  rev = CASE WHEN assignment.rev < excluded.rev THEN excluded.rev ELSE assignment.rev + 1 END
"""
_WANT = """
INSERT INTO wanted (device, slot, rev, body, target, rollout, change)
SELECT device, ?, rev, ?, ?, ?, (SELECT number FROM change) FROM assignment WHERE device = ?
ON CONFLICT (device, slot) DO UPDATE SET rev = excluded.rev, body = excluded.body, target = excluded.target,
  rollout = excluded.rollout, change = excluded.change
"""
_CONFIRM = """
UPDATE assignment SET published_rev = CASE WHEN published_rev < ? THEN ? ELSE published_rev END, published_ms = ?
WHERE device = ?
"""
_ASSIGNMENTS = """
SELECT a.device, d.fleet, d.name, a.rev, a.rollout, a.rev > a.published_rev, d.is_online, d.last_ms, d.every_ms
FROM assignment a JOIN device d ON d.id = a.device
WHERE a.rev > a.published_rev OR (
  a.rev > d.rev AND a.published_ms NOT BETWEEN :now - :patience AND :now
  AND EXISTS (SELECT 1 FROM slot s WHERE s.device = a.device)
)
ORDER BY a.device
"""


def assign(database: Transaction, slot: str, wanted: Mapping[int, Wanted], rollout: str) -> None:
    """Give this slot of devices (by key) a release, by new revisions. `rollout` is "" for a person."""
    database.executemany(_ASSIGN, [(rollout, device) for device in sorted(wanted)])
    encoded = {each: encode_wanted(each) for each in set(wanted.values())}
    database.executemany(
        _WANT, [(slot, encoded[each], each.target, rollout, device) for device, each in wanted.items()]
    )


def confirm(database: Transaction, confirmed: Mapping[int, int], now_ms: int) -> None:
    """Revisions, by the device's key, that the broker retains."""
    database.executemany(_CONFIRM, [(rev, rev, now_ms, key) for key, rev in sorted(confirmed.items())])


def forget(database: Transaction) -> None:
    """Take it that the broker retains nothing."""
    database.execute("UPDATE assignment SET published_rev = 0")


def due(database: Transaction, now_ms: int) -> tuple[tuple[int, Assignment], ...]:
    """What is to be published, by the device's key: what no broker has confirmed, and once a minute what one has lost.

    A device that is there, has slots and goes by an older revision never got it.
    """
    values = {"now": now_ms, "patience": _PATIENCE_MS}
    return tuple(
        (
            int(key),
            Assignment(fleet=fleet, device=device, rev=rev, slots=_slots(database, key), rollout=rollout),
        )
        for key, fleet, device, rev, rollout, is_new, is_online, last_ms, every_ms in database.execute(
            _ASSIGNMENTS, values
        ).fetchall()
        if is_new or is_there(is_online=bool(is_online), last_ms=last_ms, every_ms=every_ms, now_ms=now_ms)
    )


def _slots(database: Transaction, device: int) -> dict[str, Wanted]:
    found = database.execute("SELECT slot, body FROM wanted WHERE device = ? ORDER BY slot", (device,))
    return {str(slot): decode_wanted(body) for slot, body in found}
