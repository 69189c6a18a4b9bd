"""Keeps why everything happened: what rollouts decided, and what people said.

Promises: lines are added and never changed.
Leaves out: who decides (`rollouts`, `people`).
Thread: the caller's, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from edge.central.rollout.plan import Decision
from edge.central.store.database import Transaction

__all__ = ["BY_HAND", "Line", "note", "read_log"]

BY_HAND = ""  # in place of a rollout's name: what people said of devices

_ADD = "INSERT INTO rollout_log (rollout, number, at_ms, what, device, who, text) VALUES (?, ?, ?, ?, ?, ?, ?)"
_READ = """
SELECT number, at_ms, what, device, who, text FROM rollout_log WHERE rollout = ? AND number > ? ORDER BY number
"""


class Line(Struct, frozen=True, kw_only=True):
    """A line of a log. `device` is empty where it is about all, `who` where nobody but the engine decided."""

    number: int
    at_ms: int
    what: str
    device: str
    who: str
    text: str


def note(database: Transaction, rollout: str, decisions: Iterable[Decision], now_ms: int, who: str) -> None:
    """Add lines to the log of a rollout, or to that `BY_HAND`."""
    last = database.execute("SELECT coalesce(max(number), 0) FROM rollout_log WHERE rollout = ?", (rollout,)).fetchone()
    database.executemany(
        _ADD,
        [
            (rollout, number, now_ms, each.what, each.device, who, each.text)
            for number, each in enumerate(decisions, start=int(last[0]) + 1)
        ],
    )


def read_log(database: Transaction, rollout: str, after: int) -> tuple[Line, ...]:
    """Lines with a number above `after`, oldest first."""
    return tuple(
        Line(number=number, at_ms=at_ms, what=what, device=device, who=who, text=text)
        for number, at_ms, what, device, who, text in database.execute(_READ, (rollout, after))
    )
