"""Keeps what people say of devices: labels to choose them by, and slots that no rollout may assign.

Promises: a device that the centre does not know is refused, so that a slip of the pen changes nothing.
Leaves out: what devices say of themselves (`presence`).
Thread: the caller's, inside its transaction.
"""

from __future__ import annotations

import sqlite3

from edge.errors import InputError

__all__ = ["set_label", "set_pin"]


def set_label(database: sqlite3.Connection, fleet: str, device: str, name: str, value: str) -> None:
    """Give a label, or take it away by an empty value. Raises InputError for an unknown device."""
    key = _key(database, fleet, device)
    if value:
        database.execute("INSERT OR REPLACE INTO label (device, name, value) VALUES (?, ?, ?)", (key, name, value))
    else:
        database.execute("DELETE FROM label WHERE device = ? AND name = ?", (key, name))


def set_pin(database: sqlite3.Connection, fleet: str, device: str, slot: str, since_ms: int | None) -> None:
    """Keep rollouts off a slot, or let them again by None. Raises InputError for an unknown device."""
    key = _key(database, fleet, device)
    if since_ms is None:
        database.execute("DELETE FROM pin WHERE device = ? AND slot = ?", (key, slot))
    else:
        database.execute("INSERT OR REPLACE INTO pin (device, slot, since_ms) VALUES (?, ?, ?)", (key, slot, since_ms))


def _key(database: sqlite3.Connection, fleet: str, device: str) -> int:
    found = database.execute("SELECT id FROM device WHERE fleet = ? AND name = ?", (fleet, device)).fetchone()
    if found is None:
        raise InputError(f"there is no device {fleet}/{device}; `edge central status` names all")
    return int(found[0])
