"""Open an outbox whatever state its file is in.

Promises: what cannot be read is moved aside and kept, in steps of which each may be the last before a power cut. Its
rows that can still be read go on under their old numbers; a new lineage names the old one and its end, so that the
audit at the centre says how many are short.
Leaves out: what is a readable row (`salvage`).
Thread: `store`, and no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from edge.clock import Clock
from edge.contract.ids import MAX_NUMBER
from edge.contract.messages import EpochWhy
from edge.device.outbox import salvage
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.connection import Connect, Connection, CorruptError
from edge.device.outbox.ledger import Ledger
from edge.device.outbox.schema import prepare
from edge.durable import move_aside, put_in_place
from edge.errors import DiskFullError, StoreError

__all__ = ["Opened", "open_ledger", "rebuild"]

_log = logging.getLogger(__name__)

# Half a gigabyte on a slow card takes minutes, in which nothing new is kept and the watchdog starves. What is not saved
# by then stays in the old file, and is counted at the centre.
_SAVE_S = 45.0
_LOOK_EVERY = 100  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A database ready for use; close `connection` when done. `file` says which file it is, whatever its name."""

    connection: Connection
    ledger: Ledger
    file: tuple[int, int]

    def is_at(self, path: Path) -> bool:
        """A file that was deleted, or replaced, under us still takes commits, which end with this process."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True  # whatever is wrong, the commit will say it
        return self.file == (stat.st_dev, stat.st_ino)


def open_ledger(path: Path, connect: Connect, config: OutboxConfig, clock: Clock) -> Opened:
    """Open the database, make one where there is none, replace one that is broken.

    Raises:
        DiskFullError: no room even to open it.
        StoreError: another reason that a person must look at.
    """
    if not path.exists() and _part_of(path).exists():
        # Power went between the last two steps of `rebuild`.
        _swap(path, "it was being replaced")
    if not path.exists() and _log_of(path).exists():
        return rebuild(path, connect, config, clock, "the log was left without its database")
    try:
        return _open(path, connect, config, clock)
    except CorruptError as err:
        return rebuild(path, connect, config, clock, str(err))


def rebuild(
    path: Path,
    connect: Connect,
    config: OutboxConfig,
    clock: Clock,
    problem: str,
    source: Connection | None = None,
) -> Opened:
    """Make a new database of what the broken one still holds, move that aside, and begin a new lineage.

    `source`: a connection to the old one, where its file has no name any more; otherwise none may be open.

    Raises:
        StoreError: as `open_ledger`; the broken one then stays where it was.
    """
    part = _part_of(path)
    _discard(part)
    old = source or _connect_quietly(path, connect)
    try:
        saved = _replacement(part, connect, config, clock, problem, old)
    except DiskFullError:
        if old is None:
            raise
        # What there was has no room twice. The numbers are told, so that the centre counts what is missing.
        _discard(part)
        saved = _replacement(part, connect, config, clock, problem, old, has_rows=False)
    finally:
        if old is not None:
            _close_quietly(old)
    if _log_of(part).exists():
        raise StoreError(f"outbox {part}: its log could not be folded")
    kept = _swap(path, problem)
    _log.warning(
        "outbox %s: broken (%s), kept as %s; %d rows were saved, a new epoch begins", path, problem, kept, saved
    )
    return _connect(path, connect, config, clock)


def _open(path: Path, connect: Connect, config: OutboxConfig, clock: Clock) -> Opened:
    opened = _connect(path, connect, config, clock)
    try:
        if not opened.ledger.books.epoch:
            with opened.ledger.transaction():
                opened.ledger.open_epoch(EpochWhy.NEW)
    except StoreError:
        opened.connection.close()
        raise
    return opened


def _connect(path: Path, connect: Connect, config: OutboxConfig, clock: Clock) -> Opened:
    connection = connect(path)
    try:
        prepare(connection)
        stat = path.stat()
        return Opened(connection=connection, ledger=Ledger(connection, config, clock), file=(stat.st_dev, stat.st_ino))
    except OSError as err:
        connection.close()
        raise StoreError(f"outbox {path}: {err.strerror}") from err
    except StoreError:
        connection.close()
        raise


def _replacement(
    part: Path,
    connect: Connect,
    config: OutboxConfig,
    clock: Clock,
    problem: str,
    old: Connection | None,
    *,
    has_rows: bool = True,
) -> int:
    """Write the new database under its working name; how many rows it took over."""
    opened = _connect(part, connect, config, clock)
    ledger = opened.ledger
    try:
        with ledger.transaction():
            for epoch, next_seq in salvage.lineages(old) if old is not None else ():
                ledger.books.begin(epoch, next_seq)
            prev = ledger.books.epoch or None
            end = ledger.books.next_seq(prev) if prev is not None else None
            until_s = clock.monotonic_s() + _SAVE_S
            saved = _take_over(ledger, old, lambda: clock.monotonic_s() < until_s) if old and has_rows else 0
            ledger.open_epoch(EpochWhy.BROKEN, prev=prev or ledger.books.epoch or None, prev_end=end)
            ledger.alarm("outbox", "broken", f"{problem}; {saved} rows were saved, the old file is kept beside it")
            ledger.forget_empty_epochs()
    finally:
        opened.connection.close()
    return saved


def _take_over(ledger: Ledger, old: Connection, has_time: Callable[[], bool]) -> int:
    saved = 0
    for epoch, rows in groupby(salvage.rows(old), key=lambda found: found[0]):
        end = ledger.books.next_seq(epoch) if ledger.books.knows(epoch) else MAX_NUMBER
        if end == MAX_NUMBER:
            ledger.books.begin(epoch)
        for _, row in rows:
            if saved % _LOOK_EVERY == 0 and not has_time():
                return saved
            if row.seq < end:  # a number that was never given is damage too
                ledger.restore(epoch, row)
                saved += 1
    return saved


def _connect_quietly(path: Path, connect: Connect) -> Connection | None:
    if not path.exists():
        return None
    try:
        return connect(path)
    except StoreError:
        return None


def _close_quietly(connection: Connection) -> None:
    try:
        connection.close()
    except StoreError as err:
        _log.debug("outbox: closing a broken database: %s", err)


def _swap(path: Path, problem: str) -> str:
    """Old files aside, new one in place; the name of the old one. Interrupted, `open_ledger` goes on with it."""
    kept = "nothing"
    try:
        # The database first: without its log it may look sound, and give numbers out again.
        for old in (path, _log_of(path), path.with_name(path.name + "-shm")):
            if old.exists():
                moved = move_aside(old).name
                kept = moved if kept == "nothing" else kept
        put_in_place(_part_of(path), path)
    except OSError as err:
        raise StoreError(f"outbox {path} is broken ({problem}) and cannot be moved aside: {err}") from err
    return kept


def _discard(part: Path) -> None:
    """An earlier attempt that was not finished."""
    try:
        for file in (part, _log_of(part), part.with_name(part.name + "-shm")):
            file.unlink(missing_ok=True)
    except OSError as err:
        raise StoreError(f"outbox {part}: cannot be removed: {err.strerror}") from err


def _part_of(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
