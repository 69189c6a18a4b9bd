"""The central database as one SQLite file.

Promises: a writer gets WAL with `synchronous=FULL`; a reader changes nothing. One process writes rows at a time, so
that arrivals are committed in the order of their numbers.
Leaves out: statements (`write`, `read`).
Thread: whoever opens it; each transaction belongs to the thread that began it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.central.store.database import Cursor, Database, GoneError, Hold, Parameters, Transaction, closing_on_failure
from edge.central.store.tables import check_version, upgrade
from edge.errors import DiskFullError, MissingExtraError, ProtocolError, StoreError
from edge.lock import Lock

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["SqliteDatabase"]

_BUSY_S = 30.0  # a backup or a second reader may hold the file for moments; longer is someone's mistake
# A full check reads the whole file: seconds for this much from an SD card. Larger files are checked as they are read.
_CHECKED_BYTES = 64 * 1024 * 1024
_DURABLE = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
_WRITING = "BEGIN IMMEDIATE"  # no reading first and finding the file busy after
_DAMAGED = ("malformed", "not a database", "file is encrypted", "corrupt")
_PART = 1000  # rows
_INSERT = """
INSERT INTO row (device, epoch, seq, class, type, pipeline, made_ms, arrival, got_ms, hash, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""


class SqliteDatabase(Database):
    """One file."""

    def __init__(self, path: Path, *, mode: str, pragmas: tuple[str, ...], begin: str) -> None:
        super().__init__(_engine(path, mode=mode, pragmas=pragmas, begin=begin), str(path))
        self._path = path
        self._begin = begin
        self._file: tuple[int, int] | None = None

    @classmethod
    def open_writer(cls, name: str) -> SqliteDatabase:
        """See `database.open_writer`."""
        path = Path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StoreError(f"central database {path}: its folder cannot be made: {err}") from err
        database = cls(path, mode="rwc", pragmas=_DURABLE, begin=_WRITING)
        with database.translating(), closing_on_failure(database):
            _check_content(database._engine, path)
            upgrade(database._engine, database.name)
        database._file = _file_of(path)
        return database

    @classmethod
    def open_existing(cls, name: str, *, is_reader: bool) -> SqliteDatabase:
        """See `database.open_reader` and `database.open_editor`."""
        path = Path(name)
        if not path.exists():
            raise StoreError(f"no central database at {path}; `edge central run` makes one, --database names another")
        pragmas, begin = (("query_only=ON",), "BEGIN") if is_reader else (_DURABLE, _WRITING)
        database = cls(path, mode="rw", pragmas=pragmas, begin=begin)
        with database.translating(), closing_on_failure(database):
            check_version(database._engine, database.name)
        return database

    def check(self) -> None:
        """See `database.Database`. A deleted file is kept for whoever has it open, and ends with the process."""
        if _file_of(self._path) != self._file:
            raise GoneError(f"central database {self._path} was deleted or replaced while in use; start anew")

    def horizon(self) -> int:
        """See `database.Database`."""
        with self.transaction() as transaction:
            return int(transaction.execute("SELECT coalesce(max(arrival), 0) FROM row").fetchone()[0])

    def hold(self, advice: str) -> Hold:
        """See `database.Database`. A lock file, which the kernel frees when its holder dies."""
        return _FileHold(
            Lock(self._path.with_name(f"{self._path.name}.lock"), what=f"central database {self.name}", advice=advice)
        )

    @contextmanager
    def translating(self) -> Iterator[None]:
        """See `database.Database`."""
        from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, SQLAlchemyError

        try:
            yield
        except (
            *(OverflowError, DataError, IntegrityError, InterfaceError),
            *(sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError),
        ) as err:
            raise ProtocolError(f"a value does not fit the tables: {getattr(err, 'orig', None) or err}") from err
        except (SQLAlchemyError, sqlite3.Error) as err:
            raise _translated(str(getattr(err, "orig", None) or err), self._path) from err

    @contextmanager
    def _within(self, connection: sqlite3.Connection) -> Iterator[Transaction]:
        connection.execute(self._begin)
        try:
            yield _SqliteTransaction(connection)
        except BaseException:
            with suppress(sqlite3.Error):  # it may have ended by itself; what failed first is told
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


class _SqliteTransaction:
    """Implements `database.Transaction`. The driver's own connection: a small statement costs 5 us."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Parameters = (), /) -> Cursor:
        return self._connection.execute(statement, parameters)

    def ask_each(self, statement: str, parameters: Sequence[Parameters], /) -> list[list[Any]]:
        return [self._connection.execute(statement, each).fetchall() for each in parameters]

    def executemany(self, statement: str, parameters: Iterable[Parameters], /) -> object:
        return self._connection.executemany(statement, parameters)

    def lock_devices(self, keys: Sequence[int]) -> None:
        """Nothing to do: nobody else writes before this transaction has ended."""

    def next_arrival(self) -> int:
        return int(self._connection.execute("SELECT coalesce(max(arrival), 0) + 1 FROM row").fetchone()[0])

    def insert_rows(self, rows: Sequence[tuple[Any, ...]], _highest: Mapping[tuple[int, int], int], /) -> int:
        return self._connection.executemany(_INSERT, rows).rowcount

    def stream(self, statement: str) -> Iterator[list[tuple[Any, ...]]]:
        found = self._connection.execute(statement)
        while part := found.fetchmany(_PART):
            yield part

    def load(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        places = ", ".join("?" * len(columns))
        self._connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)  # noqa: S608 - our own names

    def number_on(self, columns: Mapping[str, str]) -> None:
        """Nothing to do: numbers are always the next after the highest."""


class _FileHold:
    """Implements `database.Hold`."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    def check(self) -> None:
        """Nothing to do: the kernel takes it from nobody."""

    def close(self) -> None:
        self._lock.close()


def _file_of(path: Path) -> tuple[int, int] | None:
    """Which file `path` names now, None when it names none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _translated(text: str, path: Path) -> StoreError:
    if any(word in text for word in _DAMAGED):
        return StoreError(
            f"central database {path} is damaged ({text}); nothing was changed. Stop the service, copy the file "
            f"with its -wal, then restore a backup, or try `sqlite3 {path.name} .recover | sqlite3 recovered.db`, "
            "or move it away to begin anew: devices send again what they still hold"
        )
    if "disk is full" in text:  # the text, because Python 3.10 gives no code
        return DiskFullError(f"central database {path}: the disk is full; make room, nothing is lost meanwhile")
    if "readonly" in text:
        return StoreError(
            f"central database {path}: {text}, and reading it beside the service writes too; "
            "run this as the service's own user"
        )
    return StoreError(f"central database {path}: {text}")


def _engine(path: Path, *, mode: str, pragmas: tuple[str, ...], begin: str) -> Engine:
    try:
        from sqlalchemy import create_engine, event
        from sqlalchemy.pool import QueuePool
    except ImportError as err:
        raise MissingExtraError("SQLAlchemy", "central") from err

    def connect() -> sqlite3.Connection:
        # Not autocommitting behind our back: the BEGINs here are the only ones.
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=2)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _check_content(engine: Engine, path: Path) -> None:
    """Notice damage now, in one sentence, and not in the middle of a night."""
    if not path.exists() or path.stat().st_size > _CHECKED_BYTES:
        return
    with engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise sqlite3.DatabaseError(f"malformed: {' '.join(str(found).split())}")
