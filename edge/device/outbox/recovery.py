"""Open an outbox whatever state its file is in.

Promises: what cannot be read is moved aside and kept; a new lineage then says so, and names the old one and its end
where these could still be read.
Leaves out: reading rows out of the broken file; the audit at the centre says how many are short.
Thread: `store`, and no other.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from edge.clock import Clock
from edge.contract.messages import EpochWhy
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.connection import Connect, Connection, CorruptError
from edge.device.outbox.ledger import Ledger
from edge.device.outbox.schema import prepare
from edge.durable import move_aside
from edge.errors import StoreError

__all__ = ["Opened", "open_ledger", "rebuild"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A database ready for use; close `connection` when done."""

    connection: Connection
    ledger: Ledger


def open_ledger(path: Path, connect: Connect, config: OutboxConfig, clock: Clock) -> Opened:
    """Open the database, make one where there is none, replace one that is broken.

    Raises:
        DiskFullError: no room even to open it.
        StoreError: another reason that a person must look at.
    """
    if not path.exists() and _log_of(path).exists():
        # Power went between the two moves of `_move_all_aside`.
        return rebuild(path, connect, config, clock, "the log was left without its database")
    try:
        return _open(path, connect, config, clock)
    except CorruptError as err:
        return rebuild(path, connect, config, clock, str(err))


def rebuild(path: Path, connect: Connect, config: OutboxConfig, clock: Clock, problem: str) -> Opened:
    """Move a broken database, to which no connection is open, aside and begin a new lineage.

    Raises:
        StoreError: as `open_ledger`.
    """
    epoch, next_seq = _salvage(path, connect)
    try:
        kept = _move_all_aside(path)
    except OSError as err:
        raise StoreError(f"outbox {path} is broken ({problem}) and cannot be moved aside: {err}") from err
    _log.warning("outbox %s: broken (%s), kept as %s; a new epoch begins", path, problem, kept.name)
    opened = _connect(path, connect, config, clock)
    with opened.ledger.transaction():
        opened.ledger.open_epoch(EpochWhy.BROKEN, prev=epoch, prev_end=next_seq)
        opened.ledger.alarm("outbox", "broken", f"{problem}; kept as {kept.name}")
    return opened


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
        return Opened(connection=connection, ledger=Ledger(connection, config, clock))
    except StoreError:
        connection.close()
        raise


def _salvage(path: Path, connect: Connect) -> tuple[int | None, int | None]:
    """The last epoch and its next seq, as far as the broken file still tells."""
    if not path.exists():
        return None, None
    try:
        connection = connect(path)
    except StoreError:
        return None, None
    try:
        rows = connection.execute("SELECT epoch, next_seq FROM epoch ORDER BY ord DESC LIMIT 1")
    except StoreError:
        return None, None
    finally:
        _close_quietly(connection)
    return (rows[0][0], rows[0][1]) if rows else (None, None)


def _close_quietly(connection: Connection) -> None:
    try:
        connection.close()
    except StoreError as err:
        _log.debug("outbox: closing a broken database: %s", err)


def _move_all_aside(path: Path) -> Path:
    """The database first: without its log it may look sound, and give numbers out again."""
    kept = move_aside(path) if path.exists() else _log_of(path)
    for part in (_log_of(path), path.with_name(path.name + "-shm")):
        if part.exists():
            move_aside(part)
    return kept


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
