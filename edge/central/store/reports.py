"""Reads what is known of rollouts and of the devices that they are for.

Promises: reads only; what one call gives is of one moment, the caller's transaction.
Leaves out: writing (`rollouts`), what follows (`central.rollout`).
Thread: the caller's, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edge.central.rollout.plan import (
    Comparison,
    Member,
    Outcome,
    Phase,
    Plan,
    Report,
    Rollout,
    decode_plan,
    decode_wanted,
)
from edge.central.store.database import Transaction
from edge.central.store.presence import is_there
from edge.contract.messages import SlotState, UpdateState
from edge.errors import NotFoundError

__all__ = ["MEMBERS", "REPORTS", "read_reports", "read_rollout"]

# A later assignment that changed another slot names the same release for this one: from `wanted.rev` on all are meant.
REPORTS = """
SELECT d.name, d.version, d.board, d.last_ms, d.is_online, d.every_ms, d.rev,
  s.state, s.active, s.active_sha256, s.previous, s.coming, s.refused, s.why, s.pinned, s.rev,
  coalesce(w.rev, 0), coalesce(w.rollout, ''), p.slot IS NOT NULL,
  h.phase IN ('running', 'paused') OR (h.phase = 'done' AND h.change > r.change)
    OR (w.rollout = '' AND w.change > r.change),
  (SELECT u.why FROM update_step u WHERE u.device = d.id AND u.slot = w.slot AND u.rev >= w.rev
    AND u.target = w.target AND u.state IN ('rejected', 'rolled_back') LIMIT 1),
  c.items, c.agreed, c.failed, c.active_ms, c.shadow_ms
FROM device d
LEFT JOIN slot s ON s.device = d.id AND s.name = :slot
LEFT JOIN wanted w ON w.device = d.id AND w.slot = :slot
LEFT JOIN pin p ON p.device = d.id AND p.slot = :slot
LEFT JOIN comparison c ON c.device = d.id AND c.slot = :slot AND c.rev >= w.rev AND c.target = w.target
LEFT JOIN rollout h ON h.id = w.rollout AND h.id != :rollout
LEFT JOIN rollout r ON r.id = :rollout
WHERE d.fleet = :fleet
"""
_LABELS = "SELECT d.name, l.name, l.value FROM label l JOIN device d ON d.id = l.device WHERE d.fleet = ?"
MEMBERS = """
SELECT d.name, m.wave, m.mode, m.assigned_ms, m.before, m.seen_ms, m.outcome, m.outcome_ms, m.why
FROM rollout_member m JOIN device d ON d.id = m.device WHERE m.rollout = ?
"""


def read_rollout(database: Transaction, name: str) -> Rollout:
    """A rollout as it is. Raises NotFoundError where there is none of this name."""
    found = database.execute(
        "SELECT plan, phase, wave, wave_ms, approved, asks, why FROM rollout WHERE id = ?", (name,)
    ).fetchone()
    if found is None:
        raise NotFoundError(f"there is no rollout {name}; `edge rollout status --all` names all")
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
        for device, wave, mode, assigned, before, seen, outcome, outcome_ms, cause in database.execute(MEMBERS, (name,))
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


def read_reports(database: Transaction, plan: Plan, now_ms: int) -> list[Report]:
    """What is known of each device of the plan's fleet."""
    labels: dict[str, dict[str, str]] = {}
    for device, name, value in database.execute(_LABELS, (plan.fleet,)):
        labels.setdefault(device, {})[name] = value
    values = {"fleet": plan.fleet, "slot": plan.slot, "rollout": plan.id}
    return [_report(found, plan.fleet, labels.get(found[0], {}), now_ms) for found in database.execute(REPORTS, values)]


def _report(found: tuple[Any, ...], fleet: str, labels: Mapping[str, str], now_ms: int) -> Report:
    device, version, board, last_ms, is_online, every_ms, rev = found[:7]
    state, active, digest, previous, coming, refused, why, pinned, about_rev = found[7:16]
    wanted_rev, holder, is_pinned, is_held, refusal = found[16:21]
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
        is_held=bool(is_held),
        is_pinned=bool(is_pinned),
        refusal=refusal,
        shadow=shadow,
    )
