"""Opens the central database.

Promises: a writer gets WAL with `synchronous=FULL` and the newest tables; a reader changes nothing. A file that is
damaged, newer than us or no database is refused with what to do about it, and is never touched.
Leaves out: statements (`write`, `read`).
Thread: whoever opens it; an engine's connections may be used from any one thread at a time.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import ConfigError, DiskFullError, MissingExtraError, ProtocolError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = [
    "GoneError",
    "closing_on_failure",
    "file_of",
    "open_editor",
    "open_reader",
    "open_writer",
    "path_of",
    "translating",
]

_log = logging.getLogger(__name__)

_PREFIX = "sqlite:///"
_BUSY_S = 30.0  # a backup or a second reader may hold the file for moments; longer is someone's mistake
# A full check reads the whole file: seconds for this much from an SD card. Larger files are checked as they are read.
_CHECKED_BYTES = 64 * 1024 * 1024
_DURABLE = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
_BEGIN_WRITING = "BEGIN IMMEDIATE"  # no reading first and finding the file busy after
_DAMAGED = ("malformed", "not a database", "file is encrypted", "corrupt")


class GoneError(StoreError):
    """The file has been deleted or replaced while it was open; only opening anew helps."""


def file_of(path: Path) -> tuple[int, int] | None:
    """Which file `path` names now, None when it names none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def path_of(url: str) -> Path:
    """The file behind `sqlite:///relative/path` or `sqlite:////absolute/path`.

    Raises:
        ConfigError: any other URL.
    """
    if not url.startswith(_PREFIX) or url == _PREFIX or ":memory:" in url:
        raise ConfigError(
            (f"database {url!r}: expected sqlite:///PATH, for example sqlite:////var/lib/edge-central/central.db",)
        )
    return Path(url.removeprefix(_PREFIX))


def open_writer(url: str) -> Engine:
    """Create or open the database and bring its tables up to date.

    Raises:
        ConfigError: not a URL we know.
        StoreError: the file cannot be opened, is damaged, or was written by a newer version.
    """
    path = path_of(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StoreError(f"central database {path}: its folder cannot be made: {err}") from err
    engine = _engine(path, mode="rwc", pragmas=_DURABLE, begin=_BEGIN_WRITING)
    with translating(path), closing_on_failure(engine):
        _check(engine, path)
        _migrate(engine, path)
    return engine


def open_reader(url: str) -> Engine:
    """Open an existing database for queries only.

    Raises:
        ConfigError: not a URL we know.
        StoreError: it is not there, not readable, damaged, or of another version.
    """
    return _open_existing(url, pragmas=("query_only=ON",), begin="BEGIN")


def open_editor(url: str) -> Engine:
    """Open an existing database for short transactions beside the service that runs on it.

    Raises:
        ConfigError: not a URL we know.
        StoreError: it is not there, not readable, damaged, or of another version.
    """
    return _open_existing(url, pragmas=_DURABLE, begin=_BEGIN_WRITING)


def _open_existing(url: str, *, pragmas: tuple[str, ...], begin: str) -> Engine:
    path = path_of(url)
    if not path.exists():
        raise StoreError(f"no central database at {path}; `edge central run` makes one, --database names another")
    engine = _engine(path, mode="rw", pragmas=pragmas, begin=begin)
    with translating(path), closing_on_failure(engine):
        found, newest = _revisions(engine)
        if found != newest:
            raise StoreError(
                f"central database {path} has tables of version {found or 'none'}, this program reads {newest}; "
                "start `edge central run` of this version once, or use the program that wrote it"
            )
    return engine


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Put the database's complaints into our own words: ProtocolError where values are to blame, else StoreError."""
    from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, SQLAlchemyError

    try:
        yield
    except (
        *(OverflowError, DataError, IntegrityError, InterfaceError),
        *(sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError),
    ) as err:
        raise ProtocolError(f"a value does not fit the tables: {getattr(err, 'orig', None) or err}") from err
    except (SQLAlchemyError, sqlite3.Error) as err:
        cause = getattr(err, "orig", None) or err
        text = str(cause)
        if any(word in text for word in _DAMAGED):
            raise StoreError(
                f"central database {path} is damaged ({text}); nothing was changed. Stop the service, copy the file "
                f"with its -wal, then restore a backup, or try `sqlite3 {path.name} .recover | sqlite3 recovered.db`, "
                "or move it away to begin anew: devices send again what they still hold"
            ) from err
        if "disk is full" in text:  # the text, because Python 3.10 gives no code
            raise DiskFullError(
                f"central database {path}: the disk is full; make room, nothing is lost meanwhile"
            ) from err
        if "readonly" in text:
            raise StoreError(
                f"central database {path}: {text}, and reading it beside the service writes too; "
                "run this as the service's own user"
            ) from err
        raise StoreError(f"central database {path}: {text}") from err


@contextmanager
def closing_on_failure(engine: Engine) -> Iterator[None]:
    """Let go of the file where what is done with it fails."""
    try:
        yield
    except BaseException:
        engine.dispose()
        raise


def _engine(path: Path, *, mode: str, pragmas: tuple[str, ...], begin: str) -> Engine:
    try:
        from sqlalchemy import create_engine, event
        from sqlalchemy.pool import QueuePool
    except ImportError as err:
        raise MissingExtraError("SQLAlchemy", "central") from err

    def connect() -> sqlite3.Connection:
        # Not autocommitting behind our back: SQLAlchemy's BEGIN below is the only one.
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


def _check(engine: Engine, path: Path) -> None:
    """Notice damage now, in one sentence, and not in the middle of a night."""
    if not path.exists() or path.stat().st_size > _CHECKED_BYTES:
        return
    with engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise sqlite3.DatabaseError(f"malformed: {' '.join(str(found).split())}")


def _revisions(engine: Engine) -> tuple[str | None, str]:
    """Version of the tables in the file, and of this program."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    newest = ScriptDirectory.from_config(_alembic()).get_current_head()
    return found, newest or ""


def _migrate(engine: Engine, path: Path) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    found, newest = _revisions(engine)
    if found == newest:
        return
    known = {step.revision for step in ScriptDirectory.from_config(_alembic()).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"central database {path} was written by a newer version (tables {found}, this program knows {newest}); "
            "update this program, or restore the backup made before the update"
        )
    strangers = _tables(engine) if found is None else []
    if strangers:
        raise StoreError(
            f"{path} is the database of another program (tables {', '.join(strangers[:3])}); nothing was changed; "
            "name another file with --database"
        )
    if found is not None:
        _log.info("central database %s: tables go from %s to %s", path, found, newest)
    config = _alembic()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _tables(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())


def _alembic() -> Any:
    try:
        from alembic.config import Config
    except ImportError as err:
        raise MissingExtraError("Alembic", "central") from err
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config
