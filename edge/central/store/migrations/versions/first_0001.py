"""The first tables.

Promises: what is written here never changes; a later step alters it.
Leaves out: the way back; a backup is the way back.
Thread: the one that opens the store.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    _create_devices()
    _create_rows()
    _create_audit()


def _create_devices() -> None:
    op.create_table(
        "device",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("fleet", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger),
        sa.Column("is_online", sa.Integer, nullable=False, server_default="0"),
        sa.Column("session", sa.BigInteger),
        sa.Column("session_before", sa.BigInteger),
        sa.Column("returns", sa.Integer, nullable=False, server_default="0"),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("next_seq", sa.BigInteger),
        sa.Column("backlog_rows", sa.BigInteger),
        sa.Column("backlog_bytes", sa.BigInteger),
        sa.Column("version", sa.String),
        sa.Column("state", sa.LargeBinary),
        sa.UniqueConstraint("fleet", "name"),
    )


def _create_rows() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _create_rows_by_month()
    else:
        _create_rows_in_one()
    op.create_index("row_by_arrival", "row", ["arrival"])
    op.create_index("row_by_time", "row", ["made_ms"])
    op.create_table(
        "gap",
        *_key("device", "epoch", "lo", "hi"),
        sa.Column("why", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_rows_in_one() -> None:
    op.create_table(
        "row",
        *_key("device", "epoch", "seq"),
        *_row_columns(),
        sqlite_with_rowid=False,
    )


def _row_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("class", sa.Integer, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("pipeline", sa.String),
        sa.Column("made_ms", sa.BigInteger),
        sa.Column("arrival", sa.BigInteger, nullable=False),
        sa.Column("got_ms", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    ]


def _create_rows_by_month() -> None:
    """No key: each month has its own (`store.partitions`)."""
    op.create_table(
        "row",
        *(sa.Column(each.name, each.type, nullable=False) for each in _key("device", "epoch", "seq")),
        *_row_columns(),
        postgresql_partition_by="RANGE (got_ms)",
    )
    op.execute("CREATE SEQUENCE row_arrival")


def _create_audit() -> None:
    op.create_table(
        "epoch",
        *_key("device", "epoch"),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sa.Column("upto", sa.BigInteger, nullable=False),
        sa.Column("highest", sa.BigInteger, nullable=False),
        sa.Column("why", sa.String),
        sa.Column("prev", sa.BigInteger),
        sa.Column("ended", sa.Integer, nullable=False, server_default="0"),
        sa.Column("end_seq", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "conflict",
        *_key("device", "epoch", "seq", "hash"),
        sa.Column("session", sa.BigInteger, nullable=False),
        sa.Column("got_ms", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "incident",
        sa.Column("what", sa.String, primary_key=True),
        sa.Column("who", sa.String, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )


def _key(*names: str) -> list[sa.Column[int]]:
    return [
        sa.Column(name, sa.Integer if name == "device" else sa.BigInteger, primary_key=True, autoincrement=False)
        for name in names
    ]
