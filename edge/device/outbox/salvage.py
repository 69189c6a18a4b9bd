"""Read what a broken outbox still tells.

Promises: reads only, and ends; what is not plainly a row is left out, so that nothing spoilt is sent
as if it were sound.
Leaves out: pages between the first and the last that cannot be read; the audit at the centre counts what they held.
Thread: `store`, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge.contract.ids import is_number
from edge.contract.messages import Row, RowClass, decode_body
from edge.device.outbox.connection import Connection
from edge.errors import ProtocolError, StoreError

__all__ = ["lineages", "rows"]

_FORWARDS = "SELECT epoch, seq, class, body FROM row ORDER BY epoch, seq"
_BACKWARDS = "SELECT epoch, seq, class, body FROM row ORDER BY epoch DESC, seq DESC"

_CLASSES = frozenset(int(each) for each in RowClass)


def lineages(connection: Connection) -> list[tuple[int, int]]:
    """Epochs and the number that each would have given next, oldest first; empty where nothing can be read."""
    try:
        found = connection.execute("SELECT epoch, next_seq FROM epoch ORDER BY ord")
    except StoreError:
        return []
    return [(epoch, next_seq) for epoch, next_seq in found if is_number(epoch) and is_number(next_seq)]


def rows(connection: Connection) -> Iterator[tuple[int, Row]]:
    """Epoch and row, from the front up to the damage, then from the back down to it; none comes twice."""
    reached: tuple[int, int] | None = None
    try:
        for found in connection.stream(_FORWARDS):
            row = _row(found)
            if row is not None and (reached is None or (row[0], row[1].seq) > reached):
                reached = (row[0], row[1].seq)
                yield row
    except StoreError:
        yield from _rows_behind(connection, reached)


def _rows_behind(connection: Connection, reached: tuple[int, int] | None) -> Iterator[tuple[int, Row]]:
    lowest: tuple[int, int] | None = None
    try:
        for found in connection.stream(_BACKWARDS):
            row = _row(found)
            if row is None:
                continue
            key = (row[0], row[1].seq)
            if (reached is not None and key <= reached) or (lowest is not None and key >= lowest):
                return
            lowest = key
            yield row
    except StoreError:
        return


def _row(found: tuple[Any, ...]) -> tuple[int, Row] | None:
    epoch, seq, row_class, body = found
    if not (is_number(epoch) and is_number(seq) and row_class in _CLASSES and isinstance(body, bytes)):
        return None
    try:
        decode_body(body)
    except ProtocolError:
        return None
    return epoch, Row(seq, RowClass(row_class), body)
