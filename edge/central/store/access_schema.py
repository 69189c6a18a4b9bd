"""The tables of people, what they hold, and what they did, as they are today.

Promises: they stand in the same metadata as all others, so that one test compares all. No secret is kept: passwords as
argon2 hashes, everything else as the sha256 of 32 random bytes.
Leaves out: statements (`accounts`, `journal`) and opening (`database`).
Thread: any; only definitions.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, UniqueConstraint

from edge.central.store.fleet_schema import METADATA

__all__ = ["METADATA", "journal", "link", "login", "person", "token"]

person = Table(
    "person",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("role", String, nullable=False),
    Column("password", String, nullable=False),  # argon2, "" until a link was used: nobody can log in
    Column("is_disabled", Integer, nullable=False, server_default="0"),
    Column("created_ms", BigInteger, nullable=False),
)

# For programs. It can never do more than the person it belongs to.
token = Table(
    "token",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("person", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("digest", String, nullable=False, unique=True),
    Column("scopes", String, nullable=False),  # with blanks between
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger),  # to five minutes
    UniqueConstraint("person", "name"),
)

# One a browser that somebody is logged in with.
login = Table(
    "login",
    METADATA,
    Column("digest", String, primary_key=True),
    Column("person", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),  # to five minutes
    Column("address", String, nullable=False),
    Index("login_by_person", "person"),
    sqlite_with_rowid=False,
)

# One-time links by which a person sets a password.
link = Table(
    "link",
    METADATA,
    Column("digest", String, primary_key=True),
    Column("person", String, nullable=False),  # its name; "" lets whoever comes choose one
    Column("role", String, nullable=False),  # of a person that is not there yet
    Column("expires_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Who did what. Lines are added and never changed.
journal = Table(
    "journal",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", String, nullable=False),
    Column("address", String, nullable=False),  # "" where it came from this machine's command line
    Column("what", String, nullable=False),
    Column("about", String, nullable=False),
    Column("detail", String, nullable=False),
)
