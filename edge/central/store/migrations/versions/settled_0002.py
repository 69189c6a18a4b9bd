"""How far a device has been answered, by its own account: a centre restored from an older copy is short of rows.

Promises: what is written here never changes; a later step alters it.
Leaves out: the way back; a backup is the way back.
Thread: the one that opens the store.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Remember it for each epoch; 0 where no state has told yet."""
    op.add_column("epoch", sa.Column("settled", sa.BigInteger, nullable=False, server_default="0"))
