"""What never falls, and the signed bytes behind it: the tables `mark` and `trusted`.

Promises: reads and writes of both stand here and nowhere else; a write is a value, for whoever owns the transaction.
Leaves out: when a mark may rise or be dropped (`trust_ledger`, `trust`).
Thread: `updates`.
"""

from __future__ import annotations

from edge.device.updates.api import Book, Write

__all__ = ["read_marks", "read_trusted", "write_mark", "write_trusted"]


def read_marks(book: Book) -> dict[str, int]:
    """Every mark by name.

    Raises:
        StoreError: it cannot be read.
    """
    return {str(name): int(value) for name, value in book.query("SELECT name, value FROM mark")}


def read_trusted(book: Book) -> dict[str, bytes]:
    """Signed bytes by file name.

    Raises:
        StoreError: it cannot be read.
    """
    return {str(name): bytes(body) for name, body in book.query("SELECT name, body FROM trusted")}


def write_mark(name: str, value: int) -> Write:
    """Set one mark."""
    return "INSERT INTO mark VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)


def write_trusted(name: str, body: bytes) -> Write:
    """Set the signed bytes of one name."""
    return "INSERT INTO trusted VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body", (name, body)
