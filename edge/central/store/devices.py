"""Reads how the devices of a fleet are: what they run, what they shall run, and what people said of them.

Promises: reads only; what one call gives is of one moment, the caller's transaction.
Leaves out: whether their rows are all here (`verdict`), what a rollout is told of them (`reports`).
Thread: the caller's, inside its transaction.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from edge.central.store.database import Transaction
from edge.central.store.presence import is_there

__all__ = ["Device", "Slot", "read_devices"]

_DEVICES = """
SELECT d.id, d.fleet, d.name, d.is_online, d.last_ms, d.every_ms, d.version, d.board, d.rev, coalesce(a.rev, 0)
FROM device d LEFT JOIN assignment a ON a.device = d.id ORDER BY d.fleet, d.name
"""
_SLOTS = """
SELECT s.device, s.name, s.state, s.active, s.previous, s.coming, s.refused, s.why, s.pinned, p.slot IS NOT NULL,
  w.target, coalesce(w.rollout, '')
FROM slot s
LEFT JOIN pin p ON p.device = s.device AND p.slot = s.name
LEFT JOIN wanted w ON w.device = s.device AND w.slot = s.name
ORDER BY s.device, s.name
"""


class Slot(Struct, frozen=True, kw_only=True):
    """One slot: targets as its device tells them (empty: the factory's model), and what it was assigned.

    `wanted` is None where nobody ever assigned it, `rollout` empty where a person did. It is pinned there, by an
    operator at the device, or here, so that no rollout assigns it.
    """

    name: str
    state: str
    active: str
    previous: str
    coming: str
    refused: str
    why: str
    is_pinned_there: bool
    is_pinned_here: bool
    wanted: str | None
    rollout: str


class Device(Struct, frozen=True, kw_only=True):
    """One device. It goes by assignment `rev`; the newest for it is `assigned_rev`, 0: none."""

    fleet: str
    device: str
    is_online: bool
    last_ms: int | None
    version: str | None
    rev: int
    assigned_rev: int
    labels: dict[str, str]
    facts: dict[str, str]
    slots: tuple[Slot, ...]


def read_devices(database: Transaction, now_ms: int) -> tuple[Device, ...]:
    """Every device, by fleet and name; `facts` and `labels` are what conditions compare with."""
    labels: dict[int, dict[str, str]] = {}
    for key, name, value in database.execute("SELECT device, name, value FROM label ORDER BY device, name"):
        labels.setdefault(key, {})[name] = value
    slots: dict[int, list[Slot]] = {}
    for key, *fields in database.execute(_SLOTS):
        slots.setdefault(key, []).append(_slot(*fields))
    found = []
    for key, fleet, name, is_online, last_ms, every_ms, version, board, rev, assigned_rev in database.execute(_DEVICES):
        facts = {**msgspec.json.decode(board, type=dict[str, str]), "device": name, "fleet": fleet}
        found.append(
            Device(
                fleet=fleet,
                device=name,
                is_online=is_there(is_online=bool(is_online), last_ms=last_ms, every_ms=every_ms, now_ms=now_ms),
                last_ms=last_ms,
                version=version,
                rev=rev,
                assigned_rev=assigned_rev,
                labels=labels.get(key, {}),
                facts=facts if version is None else {**facts, "version": version},
                slots=tuple(slots.get(key, ())),
            )
        )
    return tuple(found)


def _slot(*fields: str) -> Slot:
    name, state, active, previous, coming, refused, why, is_pinned_there, is_pinned_here, wanted, rollout = fields
    return Slot(
        name=name,
        state=state,
        active=active,
        previous=previous,
        coming=coming,
        refused=refused,
        why=why,
        is_pinned_there=bool(is_pinned_there),
        is_pinned_here=bool(is_pinned_here),
        wanted=wanted,
        rollout=rollout,
    )
