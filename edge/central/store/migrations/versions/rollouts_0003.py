"""Models and rollouts: what slots run and shall run, labels, plans and why everything happened.

Promises: what is written here never changes; a later step alters it.
Leaves out: the way back; a backup is the way back.
Thread: the one that opens the store.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create everything of it."""
    op.add_column("device", sa.Column("board", sa.String, nullable=False, server_default="{}"))
    op.add_column("device", sa.Column("rev", sa.BigInteger, nullable=False, server_default="0"))
    _create_slots()
    _create_assignments()
    _create_reports()
    _create_rollouts()


def _create_slots() -> None:
    op.create_table(
        "slot",
        _device(),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("active", sa.String, nullable=False),
        sa.Column("active_sha256", sa.String, nullable=False),
        sa.Column("previous", sa.String, nullable=False),
        sa.Column("coming", sa.String, nullable=False),
        sa.Column("refused", sa.String, nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sa.Column("pinned", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "label",
        _device(),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pin",
        _device(),
        sa.Column("slot", sa.String, primary_key=True),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_assignments() -> None:
    op.create_table(
        "wanted",
        _device(),
        sa.Column("slot", sa.String, primary_key=True),
        sa.Column("rev", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("rollout", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "assignment",
        _device(),
        sa.Column("rev", sa.BigInteger, nullable=False),
        sa.Column("rollout", sa.String, nullable=False),
        sa.Column("published_rev", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("published_ms", sa.BigInteger, nullable=False, server_default="0"),
        sqlite_with_rowid=False,
    )


def _create_reports() -> None:
    op.create_table(
        "update_step",
        _device(),
        sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("slot", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("rev", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer().with_variant(sa.BigInteger(), "postgresql"), nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sa.Column("active", sa.String, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("got_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("update_step_by_slot", "update_step", ["device", "slot", "rev"])
    op.create_table(
        "comparison",
        _device(),
        sa.Column("slot", sa.String, primary_key=True),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("rev", sa.BigInteger, nullable=False),
        sa.Column("items", sa.BigInteger, nullable=False),
        sa.Column("agreed", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("active_ms", sa.Float, nullable=False),
        sa.Column("shadow_ms", sa.Float, nullable=False),
        sa.Column("got_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_rollouts() -> None:
    op.create_table(
        "rollout",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("fleet", sa.String, nullable=False),
        sa.Column("slot", sa.String, nullable=False),
        sa.Column("plan", sa.LargeBinary, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("wave_ms", sa.BigInteger, nullable=False),
        sa.Column("approved", sa.Integer, nullable=False),
        sa.Column("asks", sa.String, nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollout_member",
        sa.Column("rollout", sa.String, primary_key=True),
        _device(),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("mode", sa.String, nullable=False),
        sa.Column("assigned_ms", sa.BigInteger, nullable=False),
        sa.Column("before", sa.LargeBinary, nullable=False),
        sa.Column("seen_ms", sa.BigInteger),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("outcome_ms", sa.BigInteger, nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollout_log",
        sa.Column("rollout", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )


def _device() -> sa.Column[int]:
    return sa.Column("device", sa.Integer, primary_key=True, autoincrement=False)
