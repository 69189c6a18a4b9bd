"""Tables of others in the outbox's database, so that what they decide and what is told of it are one commit.

Promises: writes to them and the rows that report these are one transaction that outlives a power cut, or nothing.
Leaves out: what the tables mean; saving them from a broken database: whoever owns them begins anew, and is told.
Thread: `store`, and no other.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge.device.outbox.inbox import Commit
from edge.device.outbox.recovery import Opened
from edge.errors import StoreError

__all__ = ["with_tables", "write"]


def with_tables(opened: Opened, tables: Sequence[str]) -> Opened:
    """Make the tables that are missing; each statement does nothing where its table is there.

    Raises:
        StoreError: by kind; the database is closed.
    """
    try:
        for table in tables:
            opened.connection.execute(table)
    except StoreError:
        opened.connection.close()
        raise
    return opened


def write(opened: Opened, commit: Commit) -> None:
    """Do all that was asked, in one transaction.

    Raises:
        StoreError: by kind; nothing of it was done.
    """
    with opened.ledger.transaction():
        for sql, values in commit.writes:
            opened.connection.execute(sql, values)
        if commit.rows:
            opened.ledger.append_all(commit.rows)
            opened.ledger.keep_quota()
