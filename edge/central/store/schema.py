"""The tables of the central database, as they are today; `migrations` is how they came to be.

Promises: a test compares this module with a migrated database.
Leaves out: statements (`write`, `read`) and opening (`database`).
Thread: any; only definitions.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint

__all__ = ["METADATA", "conflict", "device", "epoch", "gap", "incident", "row"]

METADATA = MetaData()

# An integer key: a text key in every row costs a fifth more time and twice the index; uuid keys scatter it.
device = Table(
    "device",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("fleet", String, nullable=False),
    Column("name", String, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger),  # when anything but a retained message came, by our clock
    Column("is_online", Integer, nullable=False, server_default="0"),
    Column("session", BigInteger),  # of the last birth; only its death is believed
    Column("session_before", BigInteger),
    Column("returns", Integer, nullable=False, server_default="0"),  # births of a session that another had replaced
    Column("epoch", BigInteger),
    Column("next_seq", BigInteger),  # what the device claims; with `epoch` it tells what is pending
    Column("backlog_rows", BigInteger),
    Column("backlog_bytes", BigInteger),
    Column("version", String),
    Column("state", LargeBinary),  # the last state, JSON as it came
    Column("board", String, nullable=False, server_default="{}"),  # facts of the last birth, JSON
    Column("rev", BigInteger, nullable=False, server_default="0"),  # the assignment that it goes by
    Column("every_ms", BigInteger, nullable=False, server_default="0"),  # from one state to the next, 0: not told
    UniqueConstraint("fleet", "name"),
)

row = Table(
    "row",
    METADATA,
    Column("device", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("class", Integer, nullable=False),
    Column("type", String, nullable=False),  # the body's tag, "" where it has none
    Column("pipeline", String),
    Column("made_ms", BigInteger),  # the device's claim
    Column("arrival", BigInteger, nullable=False),  # number of the transaction that brought it
    Column("got_ms", BigInteger, nullable=False),
    Column("hash", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("row_by_arrival", "arrival"),
    Index("row_by_time", "made_ms"),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (got_ms)",  # where each month has a key of its own: see `partitions`
)

# Rows that will never come, as their device said.
gap = Table(
    "gap",
    METADATA,
    Column("device", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("lo", BigInteger, primary_key=True, autoincrement=False),
    Column("hi", BigInteger, primary_key=True, autoincrement=False),
    Column("why", String, nullable=False),
    sqlite_with_rowid=False,
)

epoch = Table(
    "epoch",
    METADATA,
    Column("device", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("upto", BigInteger, nullable=False),  # 1 to this: every seq is in `row` or `gap`
    Column("highest", BigInteger, nullable=False),
    Column("why", String),
    Column("prev", BigInteger),
    Column("ended", Integer, nullable=False, server_default="0"),  # a later epoch names this one
    Column("end_seq", BigInteger),  # the next seq it would have given, None where the device does not know
    # By the device's account nothing below this seq waits there; what is not here either will never come.
    Column("settled", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

# Bodies that came under a number that another body holds. Kept: they are somebody's data.
conflict = Table(
    "conflict",
    METADATA,
    Column("device", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", BigInteger, primary_key=True, autoincrement=False),
    Column("session", BigInteger, nullable=False),
    Column("got_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What someone should look at. One line for each kind and sender, so that a mad sender cannot fill the disk.
incident = Table(
    "incident",
    METADATA,
    Column("what", String, primary_key=True),
    Column("who", String, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("detail", String, nullable=False),
    sqlite_with_rowid=False,
)
