"""The outbox's tables, and the settings under which a commit is a promise.

Promises: after `prepare` the database is in WAL mode with `synchronous=FULL`, and has every table.
Leaves out: what goes into the tables (`ledger`).
Thread: `store`, and no other.
"""

from __future__ import annotations

from edge.device.outbox.connection import Connection
from edge.errors import StoreError

__all__ = ["VERSION", "prepare"]

VERSION = 1

# FULL flushes the log at each commit. NORMAL is several times faster and loses committed rows in every power cut;
# the power-cut test shows both.
#
# The log is folded every 200 pages (0.8 MB; SQLite's own default is 1000). On a full disk the log can neither grow nor
# be folded without room for all its pages in the database, so it must stay well below the reserve.
_SETTINGS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA wal_autocheckpoint=200")

_TABLES = (
    # `next_seq` is stored and never derived from the rows: the table empties, and numbers must not come again.
    "CREATE TABLE epoch (ord INTEGER PRIMARY KEY, epoch INTEGER NOT NULL UNIQUE, next_seq INTEGER NOT NULL) STRICT",
    (
        "CREATE TABLE row (epoch INTEGER NOT NULL, seq INTEGER NOT NULL, class INTEGER NOT NULL, body BLOB NOT NULL,"
        " PRIMARY KEY (epoch, seq)) STRICT, WITHOUT ROWID"
    ),
    # Results are nearly all rows and are found in order of seq anyway; the index is for the few others.
    "CREATE INDEX row_rare ON row (class, epoch, seq) WHERE class <> 1",
    (
        "CREATE TABLE dead (id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,"
        " class INTEGER NOT NULL, why TEXT NOT NULL, made_ms INTEGER NOT NULL, body BLOB NOT NULL) STRICT"
    ),
    # Rows and bytes by class, and what was lost: summing half a gigabyte at each start would take seconds.
    "CREATE TABLE tally (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
)


def prepare(connection: Connection) -> None:
    """Apply the settings, and make the tables where there are none.

    Raises:
        CorruptError: not a database, or one that holds other tables.
        DiskFullError: no room for the tables.
        StoreError: a newer version of this project wrote it.
    """
    for setting in _SETTINGS:
        connection.execute(setting)
    version = connection.execute("PRAGMA user_version")[0][0]
    if version > VERSION:
        raise StoreError(f"the outbox was written by a newer version (format {version}, this one reads {VERSION})")
    if version == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table in _TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    except StoreError:
        connection.execute("ROLLBACK")
        raise
