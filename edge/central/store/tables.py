"""Brings the tables of the central database up to date, and tells of which version they are.

Promises: all steps are one transaction, on PostgreSQL too; two processes that start at once take turns. Tables of a
newer version or of another program are refused, and nothing is changed.
Leaves out: the tables (`schema`), their history (`migrations`).
Thread: the one that opens the database.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import MissingExtraError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["check_version", "upgrade"]

_log = logging.getLogger(__name__)


def upgrade(engine: Engine, name: str, *, lock: str | None = None) -> None:
    """Make the tables or bring them up to date. `lock` is a statement that lets processes take turns.

    Raises:
        StoreError: they are of a newer version, or another program's.
    """
    from alembic import command

    config, script = _scripts()
    with engine.begin() as connection:
        if lock is not None:
            connection.exec_driver_sql(lock)
        found, newest = _found(connection), script.get_current_head()
        if found == newest:
            return
        known = {step.revision for step in script.walk_revisions()}
        if found is not None and found not in known:
            raise StoreError(
                f"central database {name} was written by a newer version (tables {found}, this program knows {newest})"
                "; update this program, or restore the backup made before the update"
            )
        if found is None:
            _refuse_strangers(connection, name)
        else:
            _log.info("central database %s: tables go from %s to %s", name, found, newest)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_version(engine: Engine, name: str) -> None:
    """Make sure that the tables are this program's.

    Raises:
        StoreError: they are not there, or of another version.
    """
    _, script = _scripts()
    newest = script.get_current_head()
    with engine.connect() as connection:
        found = _found(connection)
    if found != newest:
        raise StoreError(
            f"central database {name} has tables of version {found or 'none'}, this program reads {newest}; "
            "start `edge central run` of this version once, or use the program that wrote it"
        )


def _found(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def _refuse_strangers(connection: Connection, name: str) -> None:
    from sqlalchemy import inspect

    strangers = inspect(connection).get_table_names()
    if strangers:
        raise StoreError(
            f"{name} is the database of another program (tables {', '.join(strangers[:3])}); nothing was changed; "
            "name another one with --database"
        )


def _scripts() -> tuple[Any, Any]:
    try:
        from alembic.config import Config
        from alembic.script import ScriptDirectory
    except ImportError as err:
        raise MissingExtraError("Alembic", "central") from err
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config, ScriptDirectory.from_config(config)
