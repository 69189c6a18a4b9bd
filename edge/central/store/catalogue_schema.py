"""The tables by which results are found and counted, as they are today.

Promises: they stand in the same metadata as all others. All of them can be made anew from `row`.
Leaves out: filling them (`catalogue`), asking them (`results`, `events`, `usage`).
Thread: any; only definitions.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, UniqueConstraint

from edge.central.store.access_schema import METADATA

__all__ = ["METADATA", "event", "progress", "tag", "tagged", "usage"]

# What a result can be found by: its device, its pipeline, its model, and each label in it.
tag = Table(
    "tag",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("count", BigInteger, nullable=False, server_default="0"),  # results; the rarest of several is walked
    UniqueConstraint("kind", "name"),
)

tagged = Table(
    "tagged",
    METADATA,
    Column("tag", Integer, primary_key=True, autoincrement=False),
    Column("made_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("device", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("score", Float),  # the best of the items that it is about
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    METADATA,
    Column("made_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("device", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("pipeline", String, nullable=False),
    Column("detail", String, nullable=False),
    Column("got_ms", BigInteger, nullable=False),
    Index("event_by_device", "device", "made_ms"),
    sqlite_with_rowid=False,
)

# What one bills by. It stays when rows are thinned out.
usage = Table(
    "usage",
    METADATA,
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970, UTC, by the device's clock
    Column("device", Integer, primary_key=True, autoincrement=False),
    Column("pipeline", Integer, primary_key=True, autoincrement=False),  # tags
    Column("model", Integer, primary_key=True, autoincrement=False),
    Column("results", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),  # frames that the gate kept from the model
    sqlite_with_rowid=False,
)

# The last row that the catalogue knows, in the order of arrival.
progress = Table(
    "progress",
    METADATA,
    Column("name", String, primary_key=True),
    Column("arrival", BigInteger, nullable=False),
    Column("device", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
