"""Keeps what devices report of their updates and shadows.

Promises: a step is kept once, whatever is sent again; of a shadow's words the newest counts. Everything here runs
inside the caller's transaction.
Leaves out: what slots run now (`presence`, from heartbeats) and what follows (`central.rollout`).
Thread: the writer's.
"""

from __future__ import annotations

from edge.central.store.audit import EpochKey
from edge.central.store.database import Transaction
from edge.contract.messages import Shadow, Update

__all__ = ["record_shadow", "record_update"]

_STEP = """
INSERT INTO update_step (device, epoch, seq, slot, state, target, sha256, rev, attempt, why, active, made_ms, got_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
# Rows may come out of order: of one assignment the word with more items is the newer.
_SHADOW = """
INSERT INTO comparison (device, slot, target, rev, items, agreed, failed, active_ms, shadow_ms, got_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device, slot) DO UPDATE SET
  target = excluded.target, rev = excluded.rev, items = excluded.items, agreed = excluded.agreed,
  failed = excluded.failed, active_ms = excluded.active_ms, shadow_ms = excluded.shadow_ms, got_ms = excluded.got_ms
WHERE excluded.rev > comparison.rev OR (excluded.rev = comparison.rev AND excluded.items >= comparison.items)
"""


def record_update(database: Transaction, key: EpochKey, seq: int, update: Update, now_ms: int) -> None:
    """Keep one step of a slot."""
    database.execute(
        _STEP,
        (
            *(key.device, key.epoch, seq, update.slot, update.state.value, update.target, update.sha256, update.rev),
            *(update.attempt, update.why, update.active, update.made_ms, now_ms),
        ),
    )


def record_shadow(database: Transaction, key: EpochKey, shadow: Shadow, now_ms: int) -> None:
    """Keep how a shadow does."""
    database.execute(
        _SHADOW,
        (
            *(key.device, shadow.slot, shadow.target, shadow.rev, shadow.items, shadow.agreed, shadow.failed),
            *(shadow.active_ms, shadow.shadow_ms, now_ms),
        ),
    )
