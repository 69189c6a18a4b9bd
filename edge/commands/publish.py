"""`edge publish`: sign a bundle as the next release of its family.

Promises: publishing the same bundle again changes nothing, and says so; with --json one object is on stdout.
Leaves out: signing and storing (`central.registry`), sending it to devices (`edge rollout`).
Thread: main.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from edge.commands.registry_options import keys_options, open_registry

if TYPE_CHECKING:
    from edge.central.registry.ring import Ask

__all__ = ["command"]

_MEGABYTE = 1_000_000


@click.command("publish")
@keys_options
@click.option("--family", help="Name under which it is published.  [default: the name in its manifest]")
@click.option("--floor", type=click.IntRange(min=1), help="The lowest release that devices may still start.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object on stdout, and nothing else.")
@click.argument("bundle", type=click.Path(path_type=Path))
def command(
    where: str, keys: Path, ask: Ask, bundle: Path, family: str | None, floor: int | None, *, is_json: bool
) -> None:
    """Sign BUNDLE as the next release of its family, and put its files into the registry."""
    from edge.central.registry import deltas

    done = open_registry(where, keys, ask).publish(bundle, family=family, floor=floor, makers=(deltas.make,))
    if is_json:
        print(msgspec.json.encode(done).decode())
        return
    name = f"{done.family} release {done.release}"
    written = f"{done.size_bytes / _MEGABYTE:.2f} MB"
    if not done.is_new:
        print(
            f"{name} is this very bundle; "
            + (f"{written} of it were lost and are back" if done.size_bytes else "nothing was changed")
        )
    else:
        print(f"{name} is signed, {written} written; its floor is {done.floor}")
    if done.is_waiting:
        print("devices see it after: edge registry refresh, where the online keys are")
