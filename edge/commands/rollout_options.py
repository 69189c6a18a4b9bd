"""What the commands about rollouts and fleets share: the central database, a signed release, and tables.

Promises: the database is closed again; what a registry does not hold is one sentence.
Leaves out: what is done with them (`commands.rollout`, `commands.fleet`).
Thread: main.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from edge.clock import SystemClock
from edge.commands.database_option import database_option, database_url

if TYPE_CHECKING:
    from edge.central.store.rollouts import Rollouts
    from edge.contract.trust import Wanted

__all__ = ["database_option", "lines_of", "moment", "opened", "wanted_release"]


@contextmanager
def opened(database: str) -> Iterator[Rollouts]:
    """The rollouts of a central database that exists. Raises as `Rollouts.open`."""
    from edge.central.store.rollouts import Rollouts

    rollouts = Rollouts.open(database_url(database))
    try:
        yield rollouts
    finally:
        rollouts.close()


def wanted_release(where: str, family: str, release: int | None) -> Wanted:
    """A release of the registry at `where`, the newest that may be started by None. Raises as `wanted_of`.

    That devices take nothing new of it now is told on stderr: whoever asks for it sees nothing happen.
    """
    from edge.central.registry.place import open_place
    from edge.central.registry.releases import wanted_of
    from edge.central.registry.roles import load, utc

    held = load(open_place(where))
    wanted = wanted_of(held, family, release)
    if due := held.due(utc(SystemClock().wall_ms())):
        click.echo(f"note: {due}", err=True)
    return wanted


def moment(at_ms: int) -> str:
    """A wall time for people, to the second, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


def lines_of(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows with their columns below one another."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
