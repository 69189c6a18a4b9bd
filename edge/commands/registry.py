"""`edge registry`: list what is signed, check every byte of it, and keep it fresh.

Promises: `list` and `verify` change nothing and need no key; with --json one object a line is on stdout.
Leaves out: the checks (`central.registry.audit`).
Thread: main.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from edge.commands.registry_options import keys_options, open_registry, registry_option
from edge.errors import TrustError

if TYPE_CHECKING:
    from edge.central.registry.releases import Release
    from edge.central.registry.ring import Ask

__all__ = ["command"]

_MEGABYTE = 1_000_000


@click.group()
def command() -> None:
    """List what is signed, check every byte of it, and keep it fresh."""


@command.command("list")
@registry_option
@click.option("--json", "is_json", is_flag=True, help="One JSON object a release and line.")
def list_(where: str, *, is_json: bool) -> None:
    """Show every release: when it was signed, and whether it may be started."""
    from edge.central.registry.place import open_place
    from edge.central.registry.releases import releases_of
    from edge.central.registry.roles import load

    held = load(open_place(where))
    releases = [each for family in sorted(held.families) for each in releases_of(held, family)]
    for each in releases:
        print(msgspec.json.encode(each).decode() if is_json else _line(each))
    if not releases and not is_json:
        print(f"{where} has no releases yet; make one with: edge publish BUNDLE")


@command.command()
@registry_option
@click.option("--root", type=click.Path(path_type=Path), help="The 1.root.json that devices have, to compare with.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object on stdout, and nothing else.")
def verify(where: str, root: Path | None, *, is_json: bool) -> None:
    """Check signatures, dates and every byte, as devices would and more."""
    from edge.central.registry.audit import audit
    from edge.central.registry.place import open_place
    from edge.clock import SystemClock

    done = audit(open_place(where), SystemClock(), first_root=None if root is None else root.read_bytes())
    if is_json:
        print(msgspec.json.encode(done).decode())
    else:
        print(f"{where}: {done.releases} releases, {done.blobs} files, {done.size_bytes / _MEGABYTE:.2f} MB read")
        for note in done.notes:
            print(note)
    if done.problems:
        raise TrustError("\n".join(done.problems))


@command.command()
@keys_options
@click.option("--offline", "is_offline", is_flag=True, help="Root, targets and families too, with the offline keys.")
def refresh(where: str, keys: Path, ask: Ask, *, is_offline: bool) -> None:
    """Sign snapshot and timestamp for another week; run it daily where the online keys are."""
    done = open_registry(where, keys, ask).refresh(is_offline=is_offline)
    print(f"{where}: signed anew: {', '.join(done)}")


def _line(release: Release) -> str:
    from edge.central.registry.roles import utc

    state = "revoked: " + release.revoked if release.revoked else "" if release.is_startable else "below the floor"
    return (
        f"{release.family:<20} {release.release:>5}  {utc(release.made_ms):%Y-%m-%d %H:%M}  {release.version:<12} "
        f"{release.sha256[:12]}  {state}"
    ).rstrip()
