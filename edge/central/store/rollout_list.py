"""A list of rollouts, without their devices.

Promises: newest first; a fleet of any size costs the same.
Leaves out: one rollout with its devices (`rollouts`).
Thread: one at a time; a reader's.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.central.rollout.plan import decode_plan
from edge.central.store.read import Reader

__all__ = ["Brief", "rollouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """One of them in a line."""

    name: str
    fleet: str
    slot: str
    target: str
    phase: str
    wave: int
    waves: int
    asks: str
    why: str
    created_ms: int
    changed_ms: int


def rollouts(reader: Reader, fleet: str | None = None) -> list[Brief]:
    """Those of one fleet or of all, the newest first.

    Raises:
        StoreError: the database failed, or a newer version wrote a plan.
    """
    found = reader.ask(
        "SELECT id, fleet, slot, plan, phase, wave, asks, why, created_ms, changed_ms FROM rollout "
        "WHERE fleet = ? OR ? = '' ORDER BY created_ms DESC, id",
        (fleet or "", fleet or ""),
    )
    briefs = []
    for name, of_fleet, slot, raw, phase, wave, asks, why, created_ms, changed_ms in found:
        plan = decode_plan(raw)
        briefs.append(
            Brief(
                name=name,
                fleet=of_fleet,
                slot=slot,
                target=plan.wanted.target,
                phase=phase,
                wave=wave,
                waves=len(plan.waves),
                asks=asks,
                why=why,
                created_ms=created_ms,
                changed_ms=changed_ms,
            )
        )
    return briefs
