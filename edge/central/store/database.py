"""The seam between statements and the database that they run on: SQLite (`sqlite`) or PostgreSQL (`postgres`).

Promises: a transaction is kept as a whole or not at all, on either; complaints come in our own words. A writer's commit
is durable when it returns. A database that is damaged, newer than us or another program's is refused with what to do
about it, and is never touched. Statements are written once: `?` and `:name` for values, and SQL that both understand.
Leaves out: statements (`write`, `read`), how tables came to be (`tables`).
Thread: whoever opens it; each transaction belongs to the thread that began it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from edge.errors import ConfigError, EdgeError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = [
    "ROW_COLUMNS",
    "Cursor",
    "Database",
    "GoneError",
    "Hold",
    "Parameters",
    "Transaction",
    "closing_on_failure",
    "is_postgres",
    "open_editor",
    "open_reader",
    "open_writer",
]

ROW_COLUMNS = (
    *("device", "epoch", "seq", "class", "type", "pipeline", "made_ms", "arrival", "got_ms", "hash", "body"),
)
Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]

_POSTGRES = ("postgresql://", "postgres://")
_SQLITE = "sqlite:///"


class GoneError(StoreError):
    """The file has been deleted or replaced while it was open; only opening anew helps."""


class Cursor(Protocol):
    """What a statement found."""

    @property
    def rowcount(self) -> int:
        """How many rows a statement changed."""
        ...

    def fetchone(self) -> Any:
        """Give the next row, None after the last."""
        ...

    def fetchall(self) -> list[Any]:
        """Give all that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Transaction(Protocol):
    """All of it or nothing."""

    def execute(self, statement: str, parameters: Parameters = ..., /) -> Cursor:
        """Run one statement."""
        ...

    def ask_each(self, statement: str, parameters: Sequence[Parameters], /) -> list[list[Any]]:
        """Run one query for each, and give what each found; on a server all are asked before the first is answered."""
        ...

    def executemany(self, statement: str, parameters: Iterable[Parameters], /) -> object:
        """Run one statement for each; what they find is dropped."""
        ...

    def lock_devices(self, keys: Sequence[int]) -> None:
        """Let no other transaction write rows or books of these devices before this one has ended.

        Raises:
            StoreError: one of them is not there.
        """
        ...

    def next_arrival(self) -> int:
        """A number for this transaction, above that of every transaction that a reader may have seen."""
        ...

    def insert_rows(self, rows: Sequence[tuple[Any, ...]], highest: Mapping[tuple[int, int], int], /) -> int:
        """Insert into `row` what has no row under its number yet, and say how many. Columns as in `ROW_COLUMNS`.

        The devices are locked, and all rows have the same `arrival` and `got_ms`. `highest` is the highest number that
        has a row, by device and epoch; one that is not there has none.
        """
        ...

    def stream(self, statement: str) -> Iterator[list[tuple[Any, ...]]]:
        """Run one query of any size and give what it finds in parts that fit memory."""
        ...

    def load(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Fill a table with rows that it does not hold yet."""
        ...

    def number_on(self, columns: Mapping[str, str]) -> None:
        """After loading: let arrivals, and keys in these columns, by table, go on above those that are there."""
        ...


class Hold(Protocol):
    """The right to be the one service on a database."""

    def check(self) -> None:
        """Make sure that it is still ours. StoreError: another process has it."""
        ...

    def close(self) -> None:
        """Let others have it."""
        ...


class Database(ABC):
    """A central database that is open. `name` is how messages call it, without passwords."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def close(self) -> None:
        """Let go of it."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Keep all that is done inside, or nothing when it raises.

        Raises:
            StoreError: the database failed; nothing was kept, and the same may succeed later.
            ProtocolError: a value does not fit the tables; nothing was kept.
        """
        with self.translating():
            pooled = self._engine.raw_connection()
            try:
                with self._within(pooled.driver_connection) as transaction:
                    yield transaction
            except EdgeError:
                raise  # ours, and rolled back
            except BaseException:
                pooled.invalidate()  # whatever state it is in, the next transaction does not begin with it
                raise
            finally:
                pooled.close()

    @abstractmethod
    def translating(self) -> AbstractContextManager[None]:
        """Put the driver's complaints into our own words."""

    @abstractmethod
    def check(self) -> None:
        """Raise GoneError when what we have open is not what the name means any more."""

    @abstractmethod
    def horizon(self) -> int:
        """Highest arrival that a reader may go on from: nothing at or below it is still to be committed."""

    @abstractmethod
    def hold(self, advice: str) -> Hold:
        """Become the one service on it. `advice` is what else to do when there is one already.

        Raises:
            StoreError: another process has it.
        """

    @abstractmethod
    def _within(self, connection: Any) -> AbstractContextManager[Transaction]:
        """Begin on the driver's own connection; commit in the end, or roll back."""


@contextmanager
def closing_on_failure(database: Database) -> Iterator[None]:
    """Let go of it where what is done with it fails."""
    try:
        yield
    except BaseException:
        database.close()
        raise


def is_postgres(url: str) -> bool:
    """Whether this names a database on a PostgreSQL server."""
    return url.startswith(_POSTGRES)


def open_writer(url: str) -> Database:
    """Create or open the database and bring its tables up to date.

    Raises:
        ConfigError: not a URL we know.
        MissingExtraError: what speaks to it is not installed.
        StoreError: it cannot be opened, is damaged, or was written by a newer version.
    """
    if is_postgres(url):
        from edge.central.store.postgres import PostgresDatabase

        return PostgresDatabase.open_writer(url)
    from edge.central.store.sqlite import SqliteDatabase

    return SqliteDatabase.open_writer(_path(url))


def open_reader(url: str) -> Database:
    """Open an existing database for queries only. Each transaction sees one moment.

    Raises:
        ConfigError: not a URL we know.
        MissingExtraError: what speaks to it is not installed.
        StoreError: it is not there, not readable, damaged, or of another version.
    """
    if is_postgres(url):
        from edge.central.store.postgres import PostgresDatabase

        return PostgresDatabase.open_existing(url, is_reader=True)
    from edge.central.store.sqlite import SqliteDatabase

    return SqliteDatabase.open_existing(_path(url), is_reader=True)


def open_editor(url: str) -> Database:
    """Open an existing database for short transactions beside the service that runs on it.

    Raises:
        ConfigError: not a URL we know.
        MissingExtraError: what speaks to it is not installed.
        StoreError: it is not there, not readable, damaged, or of another version.
    """
    if is_postgres(url):
        from edge.central.store.postgres import PostgresDatabase

        return PostgresDatabase.open_existing(url, is_reader=False)
    from edge.central.store.sqlite import SqliteDatabase

    return SqliteDatabase.open_existing(_path(url), is_reader=False)


def _path(url: str) -> str:
    if not url.startswith(_SQLITE) or url == _SQLITE or ":memory:" in url:
        raise ConfigError(
            (
                f"database {url!r}: expected sqlite:///PATH, as sqlite:////var/lib/central.db, or postgresql://USER@HOST/NAME",
            )
        )
    return url.removeprefix(_SQLITE)
