"""How commands name a central database.

Promises: a bare path is an SQLite file.
Leaves out: opening it (`central.store`).
Thread: main.
"""

from __future__ import annotations

import click

__all__ = ["database_option", "database_url"]

database_option = click.option(
    "--database",
    default="central.db",
    help="A path, sqlite:///PATH or postgresql://USER@HOST/NAME.  [default: central.db in this folder]",
)


def database_url(text: str) -> str:
    """A URL, as the store takes it."""
    return text if "://" in text else f"sqlite:///{text}"
