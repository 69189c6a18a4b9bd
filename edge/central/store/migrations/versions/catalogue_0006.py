"""By what results are found and counted; the service fills it from the rows that are there.

Promises: what is written here never changes; a later step alters it.
Leaves out: the way back; a backup is the way back.
Thread: the one that opens the store.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create everything of it."""
    op.create_table(
        "tag",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False, server_default="0"),
        sa.UniqueConstraint("kind", "name"),
    )
    op.create_table(
        "tagged",
        *_key("tag", "made_ms", "device", "epoch", "seq"),
        sa.Column("score", sa.Float),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event",
        *_key("made_ms", "device", "epoch", "seq"),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("pipeline", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
        sa.Column("got_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("event_by_device", "event", ["device", "made_ms"])
    op.create_table(
        "usage",
        *_key("day", "device", "pipeline", "model"),
        sa.Column("results", sa.BigInteger, nullable=False),
        sa.Column("skipped", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "progress",
        sa.Column("name", sa.String, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("arrival", "device", "epoch", "seq")),
        sqlite_with_rowid=False,
    )


def _key(*names: str) -> list[sa.Column[int]]:
    small = {"tag", "device", "day", "pipeline", "model"}
    return [
        sa.Column(name, sa.Integer if name in small else sa.BigInteger, primary_key=True, autoincrement=False)
        for name in names
    ]
