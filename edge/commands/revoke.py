"""`edge revoke`: make devices leave a release, or start none below one.

Promises: the reason is signed with it; doing it again changes nothing.
Leaves out: what a device runs instead (`device.updates`).
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


@click.command("revoke")
@keys_options
@click.option("--why", default="", help="The reason, for the people who look after the devices.")
@click.option("--below", type=click.IntRange(min=1), help="Forbid to start any release below this one.")
@click.argument("family")
@click.argument("release", type=click.IntRange(min=1), required=False)
def command(where: str, keys: Path, ask: Ask, why: str, below: int | None, family: str, release: int | None) -> None:
    """Make devices leave RELEASE of FAMILY, even where it runs; needs --why, or --below and no RELEASE."""
    done = open_registry(where, keys, ask).revoke(family, release, why=why, below=below)
    said = [] if release is None else [f"release {release} is revoked"]
    said += [] if below is None else [f"no release below {below} may start"]
    print(f"{family}: {' and '.join(said)}" + ("" if done.is_new else ", as before"))
    if done.is_waiting:
        print("devices learn of it after: edge registry refresh, where the online keys are")
