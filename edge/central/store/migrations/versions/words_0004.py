"""What devices say more exactly, and which of the decisions of people and rollouts came later.

Promises: what is written here never changes; a later step alters it.
Leaves out: the way back; a backup is the way back.
Thread: the one that opens the store.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; what stands there already says nothing of them."""
    op.add_column("slot", sa.Column("rev", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "change",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO change (id, number) VALUES (1, 0)")
    op.add_column("wanted", sa.Column("change", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("rollout", sa.Column("change", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("device", sa.Column("every_ms", sa.BigInteger, nullable=False, server_default="0"))
