"""The tables of models and rollouts in the central database, as they are today.

Promises: they stand in the same metadata as the rows' tables (`schema`), so that one test compares all.
Leaves out: statements (`presence`, `updates`, `rollouts`) and opening (`database`).
Thread: any; only definitions.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, String, Table

from edge.central.store.schema import METADATA

__all__ = [
    "METADATA",
    "assignment",
    "change",
    "comparison",
    "label",
    "pin",
    "rollout",
    "rollout_log",
    "rollout_member",
    "slot",
    "update_step",
    "wanted",
]


def _device() -> Column[int]:
    return Column("device", Integer, primary_key=True, autoincrement=False)


# What each slot ran at the last heartbeat.
slot = Table(
    "slot",
    METADATA,
    _device(),
    Column("name", String, primary_key=True),
    Column("state", String, nullable=False),
    Column("active", String, nullable=False),
    Column("active_sha256", String, nullable=False),
    Column("previous", String, nullable=False),
    Column("coming", String, nullable=False),
    Column("refused", String, nullable=False),
    Column("why", String, nullable=False),
    Column("pinned", Integer, nullable=False),
    Column("rev", BigInteger, nullable=False, server_default="0"),  # of the assignment that it is about
    sqlite_with_rowid=False,
)

# Given by people, to choose devices by.
label = Table(
    "label",
    METADATA,
    _device(),
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
    sqlite_with_rowid=False,
)

# Slots that a person holds: no rollout assigns them.
pin = Table(
    "pin",
    METADATA,
    _device(),
    Column("slot", String, primary_key=True),
    Column("since_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What a slot shall run, and under which revision of its device that changed last.
wanted = Table(
    "wanted",
    METADATA,
    _device(),
    Column("slot", String, primary_key=True),
    Column("rev", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # contract.trust.Wanted, JSON
    Column("target", String, nullable=False),
    Column("rollout", String, nullable=False),  # "" for a person
    Column("change", BigInteger, nullable=False, server_default="0"),  # number of the one that decided it
    sqlite_with_rowid=False,
)

# One a device: the newest revision, and the newest that was handed to the broker.
assignment = Table(
    "assignment",
    METADATA,
    _device(),
    Column("rev", BigInteger, nullable=False),
    Column("rollout", String, nullable=False),
    Column("published_rev", BigInteger, nullable=False, server_default="0"),
    Column("published_ms", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

# Steps of slots, as devices reported them.
update_step = Table(
    "update_step",
    METADATA,
    _device(),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("slot", String, nullable=False),
    Column("state", String, nullable=False),
    Column("target", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("rev", BigInteger, nullable=False),
    Column("attempt", Integer().with_variant(BigInteger(), "postgresql"), nullable=False),
    Column("why", String, nullable=False),
    Column("active", String, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("got_ms", BigInteger, nullable=False),
    Index("update_step_by_slot", "device", "slot", "rev"),
    sqlite_with_rowid=False,
)

# The newest word of each shadow.
comparison = Table(
    "comparison",
    METADATA,
    _device(),
    Column("slot", String, primary_key=True),
    Column("target", String, nullable=False),
    Column("rev", BigInteger, nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("agreed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("active_ms", Float, nullable=False),
    Column("shadow_ms", Float, nullable=False),
    Column("got_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One line: how often people and rollouts have decided anything. Who decides reads it before and after; what was decided
# later has a higher number, whatever the clock did.
change = Table(
    "change",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

rollout = Table(
    "rollout",
    METADATA,
    Column("id", String, primary_key=True),
    Column("fleet", String, nullable=False),
    Column("slot", String, nullable=False),
    Column("plan", LargeBinary, nullable=False),  # central.rollout.plan.Plan, JSON
    Column("phase", String, nullable=False),
    Column("wave", Integer, nullable=False),
    Column("wave_ms", BigInteger, nullable=False),
    Column("approved", Integer, nullable=False),
    Column("asks", String, nullable=False),
    Column("why", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("change", BigInteger, nullable=False, server_default="0"),  # number of the one that began it
    sqlite_with_rowid=False,
)

rollout_member = Table(
    "rollout_member",
    METADATA,
    Column("rollout", String, primary_key=True),
    _device(),
    Column("wave", Integer, nullable=False),
    Column("mode", String, nullable=False),
    Column("assigned_ms", BigInteger, nullable=False),
    Column("before", LargeBinary, nullable=False),  # contract.trust.Wanted, JSON
    Column("seen_ms", BigInteger),
    Column("outcome", String, nullable=False),
    Column("outcome_ms", BigInteger, nullable=False),
    Column("why", String, nullable=False),
    sqlite_with_rowid=False,
)

# Why everything happened. Lines are added and never changed.
rollout_log = Table(
    "rollout_log",
    METADATA,
    Column("rollout", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("what", String, nullable=False),
    Column("device", String, nullable=False),  # its name, "" where it is about all
    Column("who", String, nullable=False),  # a person, "" for the engine
    Column("text", String, nullable=False),
    sqlite_with_rowid=False,
)
