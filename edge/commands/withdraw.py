"""`edge withdraw`: offer a release to no device any more.

Promises: devices that run it go on; doing it again changes nothing.
Leaves out: making devices leave it (`edge revoke`).
Thread: main.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.registry_options import keys_options, open_registry

if TYPE_CHECKING:
    from edge.central.registry.ring import Ask

__all__ = ["command"]


@click.command("withdraw")
@keys_options
@click.argument("family")
@click.argument("release", type=click.IntRange(min=1))
def command(where: str, keys: Path, ask: Ask, family: str, release: int) -> None:
    """Offer RELEASE of FAMILY to no device any more; those that run it go on, and report it."""
    done = open_registry(where, keys, ask).withdraw(family, release)
    print(f"{family} release {release} " + ("is withdrawn" if done.is_new else "was withdrawn before"))
    if done.is_waiting:
        print("devices learn of it after: edge registry refresh, where the online keys are")
