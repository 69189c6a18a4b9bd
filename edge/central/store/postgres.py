"""The central database on a PostgreSQL server.

Promises: a commit is on the server's disk when it returns, also where the server's default is to answer before. Several
processes may write: whoever writes for a device holds that device's row, locked in the order of keys, so that books and
numbers are judged by one at a time. Texts may hold a NUL character, which PostgreSQL cannot keep: it becomes U+FFFD.

Arrivals are numbered by a sequence, and transactions may commit in another order than they were numbered. Before it
takes its number, a transaction therefore registers the last number given so far (an advisory lock, shared, which ends
with it): its own will be above that. A reader looks at the highest arrival there is, and after that at the lowest
number registered; nothing at or below the lower of the two can still be committed. `horizon` is that number.

Leaves out: statements (`write`, `read`), months (`partitions`).
Thread: whoever opens it; each transaction belongs to the thread that began it.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edge.central.store.database import ROW_COLUMNS, Cursor, Database, Hold, Parameters, Transaction, closing_on_failure
from edge.central.store.partitions import month_of
from edge.central.store.placeholders import to_format
from edge.central.store.tables import check_version, upgrade
from edge.errors import ConfigError, DiskFullError, MissingExtraError, ProtocolError, StoreError

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Engine

__all__ = ["PostgresDatabase"]

_log = logging.getLogger(__name__)

_PART = 1000  # rows
# Keys of advisory locks. Those of arrivals lie above all others.
_UPGRADING, _SERVING, _CUTTING = ((0x65646765 << 16) | number for number in (1, 2, 3))
_ARRIVALS = 1 << 62

_REGISTER = b"""
SELECT pg_advisory_xact_lock_shared(%s + last_value - CASE WHEN is_called THEN 0 ELSE 1 END) FROM row_arrival
"""
_NUMBER = b"SELECT nextval('row_arrival')"
_LOCKS = """
WITH held AS (
  SELECT pid, (classid::bigint << 32) | objid::bigint AS key FROM pg_locks
  WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_UNFINISHED = _LOCKS + "SELECT min(key) - :arrivals FROM held WHERE key >= :arrivals"  # noqa: S608 - constants
_HOLDER = _LOCKS + "SELECT application_name FROM pg_stat_activity JOIN held USING (pid) WHERE key = %s"  # noqa: S608 - constants
_LOCK_DEVICES = b"SELECT id FROM device WHERE id = ANY(%b::int[]) ORDER BY id FOR NO KEY UPDATE"
# LATERAL and LIMIT: one look into each month's key for each number, whatever the planner thinks of the tables' sizes.
_HELD = b"""
SELECT k.device, k.epoch, k.seq FROM unnest(%b::int[], %b::bigint[], %b::bigint[]) AS k(device, epoch, seq)
CROSS JOIN LATERAL (
  SELECT 1 FROM row r WHERE r.device = k.device AND r.epoch = k.epoch AND r.seq = k.seq LIMIT 1) AS held
"""
# Not to_regclass, which may answer from a cache that does not know yet what another process has just made.
_MONTH = b"""
SELECT 1 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'row'::regclass AND c.relname = %s
"""
# What is the same in all rows of a transaction is sent once.
_INSERT = b"""
INSERT INTO row (device, epoch, seq, class, type, pipeline, made_ms, arrival, got_ms, hash, body)
SELECT device, epoch, seq, class, type, pipeline, made_ms, %b::bigint, %b::bigint, hash, body
FROM unnest(
  %b::int[], %b::bigint[], %b::bigint[], %b::int[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bytea[]
) AS v(device, epoch, seq, class, type, pipeline, made_ms, hash, body)
ON CONFLICT DO NOTHING
"""
_ARRIVAL, _GOT_MS = ROW_COLUMNS.index("arrival"), ROW_COLUMNS.index("got_ms")
_SETTINGS = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SELECT set_config('idle_in_transaction_session_timeout', '60s', false);
"""


class PostgresDatabase(Database):
    """One database of a server."""

    def __init__(self, url: str, *, is_reader: bool, is_tested: bool) -> None:
        self._url = url
        name = _name_of(url)
        super().__init__(self._open_engine(is_reader=is_reader, is_tested=is_tested), name)
        self._months: set[str] = set()

    @classmethod
    def open_writer(cls, url: str) -> PostgresDatabase:
        """See `database.open_writer`. The database must be there, empty or ours: making one needs rights of its own."""
        database = cls(url, is_reader=False, is_tested=False)
        with database.translating(), closing_on_failure(database):
            database._check_server(is_reader=False)
            upgrade(database._engine, database.name, lock=f"SELECT pg_advisory_xact_lock({_UPGRADING})")
        return database

    @classmethod
    def open_existing(cls, url: str, *, is_reader: bool) -> PostgresDatabase:
        """See `database.open_reader` and `database.open_editor`."""
        database = cls(url, is_reader=is_reader, is_tested=True)
        with database.translating(), closing_on_failure(database):
            database._check_server(is_reader=is_reader)
            check_version(database._engine, database.name)
        return database

    def check(self) -> None:
        """Nothing to do: a server that lost its database ends our connections."""

    def horizon(self) -> int:
        """See `database.Database`. Two transactions, in this order: the second may not see less than the first."""
        with self.transaction() as transaction:
            highest = int(transaction.execute("SELECT coalesce(max(arrival), 0) FROM row").fetchone()[0])
        with self.transaction() as transaction:
            unfinished = transaction.execute(_UNFINISHED, {"arrivals": _ARRIVALS}).fetchone()[0]
        return highest if unfinished is None else min(highest, int(unfinished))

    def hold(self, advice: str) -> Hold:
        """See `database.Database`. An advisory lock, which the server frees when its holder's connection ends."""
        return _ServerHold(self, self._connect, advice)

    @contextmanager
    def translating(self) -> Iterator[None]:
        """See `database.Database`."""
        import psycopg
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (psycopg.Error, SQLAlchemyError, OverflowError) as err:
            cause = getattr(err, "orig", None) or err
            if isinstance(cause, psycopg.errors.CheckViolation):
                self._months.clear()  # someone took a month away; it is made anew
            elif isinstance(cause, OverflowError | psycopg.DataError | psycopg.IntegrityError):
                raise ProtocolError(f"a value does not fit the tables: {_line(cause)}") from err
            if isinstance(cause, psycopg.errors.DiskFull):
                raise DiskFullError(
                    f"central database {self.name}: the server's disk is full ({_line(cause)}); make room, nothing is "
                    "lost meanwhile"
                ) from err
            raise StoreError(f"central database {self.name}: {_line(cause)}{_advice(cause)}") from err

    @contextmanager
    def _within(self, connection: psycopg.Connection) -> Iterator[Transaction]:
        import psycopg

        try:
            yield _PostgresTransaction(connection, self._months)
        except BaseException:
            with suppress(psycopg.Error):  # it may be gone; what failed first is told
                connection.rollback()
            raise
        connection.commit()

    def _connect(self) -> psycopg.Connection:
        import psycopg

        connection = psycopg.connect(
            self._url,
            application_name=f"edge {socket.gethostname()} {os.getpid()}"[:63],
            client_encoding="UTF8",
            connect_timeout=10,
            # A server that fell silent is noticed in half a minute, and not when the kernel gives up.
            keepalives_idle=10,
            tcp_user_timeout=30_000,
        )
        _take_any_text(connection)
        connection.execute(_SETTINGS)
        connection.commit()
        return connection

    def _open_engine(self, *, is_reader: bool, is_tested: bool) -> Engine:
        try:
            import psycopg
            from sqlalchemy import create_engine
        except ImportError as err:
            raise MissingExtraError("psycopg, which speaks to PostgreSQL,", "postgres") from err

        def connect() -> psycopg.Connection:
            connection = self._connect()
            if is_reader:
                connection.read_only = True
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            return connection

        return create_engine(
            "postgresql+psycopg://",
            creator=connect,
            pool_size=2,
            pool_pre_ping=is_tested,  # not a writer's: whoever writes must know that it is a new connection
            use_native_hstore=False,
        )

    def _check_server(self, *, is_reader: bool) -> None:
        with self.transaction() as transaction:
            encoding, is_standby, syncs = transaction.execute(
                "SELECT current_setting('server_encoding'), pg_is_in_recovery(), current_setting('fsync')"
            ).fetchone()
        if encoding != "UTF8":
            raise StoreError(
                f"central database {self.name} holds texts as {encoding}; make it anew with ENCODING 'UTF8'"
            )
        if is_standby:
            raise StoreError(
                f"central database {self.name} is on a standby, which knows of no writer; name its primary"
            )
        if syncs == "off" and not is_reader:
            _log.warning("central database %s: its server runs with fsync=off; a power cut may lose it", self.name)


class _PostgresTransaction:
    """Implements `database.Transaction`."""

    def __init__(self, connection: psycopg.Connection, months: set[str]) -> None:
        self._connection = connection
        self._months = months

    def execute(self, statement: str, parameters: Parameters = (), /) -> Cursor:
        return self._connection.execute(to_format(statement), parameters)

    def ask_each(self, statement: str, parameters: Sequence[Parameters], /) -> list[list[Any]]:
        written = to_format(statement)
        with self._connection.pipeline():
            cursors = [self._connection.execute(written, each) for each in parameters]
        return [cursor.fetchall() for cursor in cursors]

    def executemany(self, statement: str, parameters: Iterable[Parameters], /) -> object:
        with self._connection.cursor() as cursor:
            cursor.executemany(to_format(statement), parameters)
        return None

    def lock_devices(self, keys: Sequence[int]) -> None:
        with self._connection.pipeline():  # together with the BEGIN before it
            cursor = self._connection.execute(_LOCK_DEVICES, (list(keys),))
        found = cursor.fetchall()
        if len(found) < len(set(keys)):
            raise StoreError("central database: devices that were known are not there any more; was it restored?")

    def next_arrival(self) -> int:
        with self._connection.pipeline():
            self._connection.execute(_REGISTER, (_ARRIVALS,))
            found = self._connection.execute(_NUMBER)
        number = found.fetchone()
        assert number is not None  # noqa: S101 - a sequence has always a next
        return int(number[0])

    def insert_rows(self, rows: Sequence[tuple[Any, ...]], highest: Mapping[tuple[int, int], int], /) -> int:
        self._make_months({rows[0][_GOT_MS]})
        held = self._held([row[:3] for row in rows if row[2] <= highest.get(row[:2], 0)])
        fresh = [row for row in rows if row[:3] not in held] if held else rows
        if not fresh:
            return 0
        columns = _columns(fresh)
        del columns[_ARRIVAL : _GOT_MS + 1]
        return self._connection.execute(_INSERT, (fresh[0][_ARRIVAL], fresh[0][_GOT_MS], *columns)).rowcount

    def stream(self, statement: str) -> Iterator[list[tuple[Any, ...]]]:
        with self._connection.cursor(name="stream") as cursor:
            cursor.execute(to_format(statement))
            while part := cursor.fetchmany(_PART):
                yield part

    def load(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        if table == "row":
            place = columns.index("got_ms")
            self._make_months({row[place] for row in rows})
        command = f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()
        with self._connection.cursor() as cursor, cursor.copy(command) as copy:
            for row in rows:
                copy.write_row(row)

    def number_on(self, columns: Mapping[str, str]) -> None:
        sequences = [(f"pg_get_serial_sequence('{table}', '{key}')", key, table) for table, key in columns.items()]
        for sequence, column, table in (*sequences, ("'row_arrival'", "arrival", "row")):
            highest = f"SELECT setval({sequence}, max({column})) FROM {table} HAVING max({column}) > 0"  # noqa: S608 - our own names
            self._connection.execute(highest.encode())

    def _held(self, numbers: Sequence[tuple[int, int, int]]) -> set[tuple[int, int, int]]:
        """Those that have a row, in whatever month."""
        return set(self._connection.execute(_HELD, _columns(numbers)).fetchall()) if numbers else set()

    def _make_months(self, moments: set[int]) -> None:
        """Make what is missing. A month is known once it was seen: one made here may yet be rolled back."""
        for month in {month_of(got_ms) for got_ms in moments}:
            if month.table in self._months:
                continue
            if self._has(month.table):
                self._months.add(month.table)
                continue
            self._connection.execute(b"SELECT pg_advisory_xact_lock(%s)", (_CUTTING,))
            if not self._has(month.table):
                for statement in month.statements:
                    self._connection.execute(statement.encode())

    def _has(self, table: str) -> bool:
        return self._connection.execute(_MONTH, (table,)).fetchone() is not None


class _ServerHold:
    """Implements `database.Hold` by a connection of its own."""

    def __init__(self, database: Database, connect: Callable[[], psycopg.Connection], advice: str) -> None:
        self._database = database
        self._connect = connect
        self._advice = advice
        with database.translating():
            self._connection = self._taken()

    def check(self) -> None:
        """After the server was away, take it again: another process may have come first."""
        import psycopg

        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            self._connection.close()
            with suppress(psycopg.Error):  # still away: nobody can have taken it
                self._connection = self._taken()

    def close(self) -> None:
        self._connection.close()

    def _taken(self) -> psycopg.Connection:
        connection = self._connect()
        connection.autocommit = True
        found = connection.execute("SELECT pg_try_advisory_lock(%s)", (_SERVING,)).fetchone()
        if found is not None and found[0]:
            return connection
        holder = connection.execute(_HOLDER.encode(), (_SERVING,)).fetchone()
        connection.close()
        raise StoreError(
            f"central database {self._database.name} is in use by {'another' if holder is None else holder[0]}: "
            f"stop that one first, or {self._advice}"
        )


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _take_any_text(connection: psycopg.Connection) -> None:
    from psycopg.types.string import StrBinaryDumper, StrDumperUnknown

    class Text(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd"))

    class BinaryText(StrBinaryDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd"))

    connection.adapters.register_dumper(str, BinaryText)
    connection.adapters.register_dumper(str, Text)


def _name_of(url: str) -> str:
    """The URL without passwords and options. Raises ConfigError for one that is none."""
    try:
        parts = urlsplit(url)
    except ValueError as err:
        raise ConfigError((f"database: not a URL ({err}); expected postgresql://USER@HOST/NAME",)) from err
    user, at, place = parts.netloc.rpartition("@")
    return f"postgresql://{user.partition(':')[0]}{at}{place}{parts.path}"


def _line(cause: BaseException) -> str:
    return " ".join(str(cause).split())


def _advice(cause: BaseException) -> str:
    text = str(cause)
    if "does not exist" in text and "database" in text:
        return "; make it with createdb, its tables are made here"
    if "permission denied" in text:
        return "; its user must own the database, or at least the schema"
    return ""
