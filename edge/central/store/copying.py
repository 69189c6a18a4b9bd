"""Moves everything to another central database, of the same kind or of the other.

Promises: all or nothing. One transaction fills the tables of a database that holds nothing, reads them back, compares
counts and digests with what was read here, and only then commits; whatever fails leaves an empty database behind, and
the first one is never changed. No service runs on either meanwhile.
Leaves out: keys, signed models and settings, which are files beside the database.
Thread: the caller's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import msgspec

from edge.central.store.database import Database, Transaction, open_reader, open_writer
from edge.errors import InputError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Table

__all__ = ["copy_to"]

_SUMS = 1 << 128
# It holds its one line from the beginning: how often anybody has decided anything.
_COUNTER = "change"


def copy_to(source_url: str, target_url: str, say: Callable[[str], None]) -> int:
    """Copy all tables and return how many rows those were; `say` gets a line for each table that holds some.

    Raises:
        ConfigError, MissingExtraError: see `database.open_writer`.
        InputError: the target holds something already.
        StoreError: a service runs on one of them, one failed, or what was read back differs; nothing was copied.
        ProtocolError: the target's tables cannot hold a value; nothing was copied.
    """
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_reader(source_url)))
        stack.enter_context(closing(source.hold("copy a backup of it")))
        target = stack.enter_context(closing(open_writer(target_url)))
        stack.enter_context(closing(target.hold("name another one")))
        return _copy(source, target, say)


def _copy(source: Database, target: Database, say: Callable[[str], None]) -> int:
    from edge.central.store.catalogue_schema import METADATA

    tables = METADATA.sorted_tables
    total = 0
    with target.transaction() as writing:
        _check_empty(writing, target.name, tables)
        with source.transaction() as reading:
            written = {table.name: _copy_table(reading, writing, table) for table in tables}
        keyed = ((table.name, table.autoincrement_column) for table in tables)
        writing.number_on({name: column.name for name, column in keyed if column is not None})
        for table in tables:
            count, _ = written[table.name]
            found = _sum_up(writing.stream(_select(table)))
            if found != written[table.name]:
                raise StoreError(
                    f"{table.name}: {count} rows were read from {source.name}, and {found[0]} that are not the same "
                    f"were read back from {target.name}; nothing was copied"
                )
            if count:
                say(f"{table.name}: {count} rows, read back and the same")
            total += count
    return total


def _check_empty(writing: Transaction, name: str, tables: Iterable[Table]) -> None:
    held = [
        table.name
        for table in tables
        if table.name != _COUNTER and writing.execute(f"SELECT 1 FROM {table.name} LIMIT 1").fetchone()  # noqa: S608 - ours
    ]
    if held:
        raise InputError(f"{name} is in use ({', '.join(held[:3])} hold rows); copy into one that is empty or new")
    writing.execute(f"DELETE FROM {_COUNTER}")  # noqa: S608 - a constant


def _copy_table(reading: Transaction, writing: Transaction, table: Table) -> tuple[int, int]:
    columns = [column.name for column in table.columns]

    def parts() -> Iterable[list[tuple[Any, ...]]]:
        for part in reading.stream(_select(table)):
            writing.load(table.name, columns, part)
            yield part

    return _sum_up(parts())


def _select(table: Table) -> str:
    columns = ", ".join(column.name for column in table.columns)
    keys = ", ".join(column.name for column in table.primary_key)
    return f"SELECT {columns} FROM {table.name} ORDER BY {keys}"  # noqa: S608 - our own names


def _sum_up(parts: Iterable[list[tuple[Any, ...]]]) -> tuple[int, int]:
    """Count of rows, and a sum of their digests: whatever order a database sorts texts in."""
    count = total = 0
    for part in parts:
        count += len(part)
        for row in part:
            plain = [each.replace("\0", "\ufffd") if isinstance(each, str) else each for each in row]
            digest = hashlib.blake2b(msgspec.msgpack.encode(plain), digest_size=16).digest()
            total = (total + int.from_bytes(digest, "big")) % _SUMS
    return count, total
