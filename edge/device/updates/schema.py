"""The tables of updates, in the device's one database.

Promises: made beside the outbox's, so that a step and its report are one transaction.
Leaves out: what stands in a `body` (`record`), the outbox's own tables.
Thread: any; pure.
"""

from __future__ import annotations

__all__ = ["TABLES"]

TABLES = (
    # One slot: what runs, what ran before, what is on its way and how far it is.
    "CREATE TABLE IF NOT EXISTS slot (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID",
    # What never falls: versions of roles ("root", "targets", ...), floors of families ("floor:<family>"), the last
    # assignment ("rev"), the time in milliseconds that a signed token proved ("time").
    "CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    # The signed bytes behind the marks, by file name; python-tuf's folder is a cache of these.
    "CREATE TABLE IF NOT EXISTS trusted (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID",
    # Files on their way: one bit a block, what was spent on it, and how often it was begun anew.
    (
        "CREATE TABLE IF NOT EXISTS fetch (sha256 TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, have BLOB NOT NULL,"
        " spent_bytes INTEGER NOT NULL, attempts INTEGER NOT NULL, restarts INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    ),
)
