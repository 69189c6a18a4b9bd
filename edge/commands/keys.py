"""`edge keys`: make the keys of a fleet, replace them, and see which there are.

Promises: no private key is ever printed or written over; what is done is said in a line or two on stdout.
Leaves out: the keys (`central.registry.ring`) and what they sign (`central.registry.rotation`).
Thread: main.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from edge.commands.registry_options import keys_options
from edge.errors import InputError

if TYPE_CHECKING:
    from edge.central.registry.ring import Ask, KeyRing
    from edge.central.registry.roles import Held

__all__ = ["command"]


@click.group()
def command() -> None:
    """Make the keys of a fleet, replace them, and see which there are."""


@command.command()
@keys_options
@click.option("--root-keys", type=click.IntRange(min=1), default=3, help="Keys of the root role.")
@click.option("--root-threshold", type=click.IntRange(min=1), default=2, help="How many of them must sign a new root.")
@click.option("--targets-keys", type=click.IntRange(min=1), default=1, help="Keys that name families.")
@click.option("--targets-threshold", type=click.IntRange(min=1), default=1, help="How many of them must sign.")
@click.option(
    "--family", "families", multiple=True, help="Make this family's key at once; may be given more than once."
)
@click.option(
    "--key",
    "uris",
    multiple=True,
    metavar="NAME=URI",
    help="A key that exists: root-1=env:VARIABLE, a PEM file; root-1=pkcs11:token=T;id=%02, a token.",
)
@click.option("--demo", "is_demo", is_flag=True, help="One root key of one, for trying things out.")
def init(
    *,
    where: str,
    keys: Path,
    ask: Ask,
    root_keys: int,
    root_threshold: int,
    targets_keys: int,
    targets_threshold: int,
    families: tuple[str, ...],
    uris: tuple[str, ...],
    is_demo: bool,
) -> None:
    """Make all keys, and a registry without models that they sign for.

    Devices get the file metadata/1.root.json of the registry: all their trust begins with it.
    """
    from edge.central.registry.place import open_place
    from edge.central.registry.ring import KeyRing
    from edge.central.registry.rotation import Plan, begin
    from edge.clock import SystemClock

    plan = Plan(
        root_keys=1 if is_demo else root_keys,
        root_threshold=1 if is_demo else root_threshold,
        targets_keys=targets_keys,
        targets_threshold=targets_threshold,
        families=families,
        uris=_uris(uris),
    )
    place = open_place(where)
    held = begin(place, KeyRing.create(keys, ask), plan, SystemClock())
    print(f"{where}: a registry; root needs {plan.root_threshold} of {plan.root_keys} keys to change")
    print(f"give devices {where}/{held.root.path}; keep {keys}/offline away from machines that are on a network,")
    print(f"and give the centre {keys}/keys.json and {keys}/online only")


@command.command()
@keys_options
@click.option("--uri", help="Where the new key is, if it exists: env:VARIABLE or pkcs11:token=T;id=%02.")
@click.argument("what")
def rotate(where: str, keys: Path, ask: Ask, what: str, uri: str | None) -> None:
    """Replace the keys of WHAT: root, targets, online, a role, a family, or one key by its name."""
    from edge.central.registry.place import open_place
    from edge.central.registry.ring import KeyRing
    from edge.central.registry.rotation import rotate as rotating
    from edge.clock import SystemClock

    done = rotating(open_place(where), KeyRing.open(keys, ask), what, SystemClock(), uri=uri)
    for old, new in zip(done.old, done.new, strict=True):
        print(f"{new.name} ({new.uri}) takes the place of {old.name}")
    if done.is_waiting:
        print("devices learn of it after: edge registry refresh, where the online keys are")


@command.command()
@keys_options
@click.option("--json", "is_json", is_flag=True, help="One JSON object on stdout, and nothing else.")
def show(where: str, keys: Path, ask: Ask, *, is_json: bool) -> None:
    """Show each role's keys, how many of them must sign, and until when what they signed is good."""
    from edge.central.registry.place import open_place
    from edge.central.registry.ring import KeyRing
    from edge.central.registry.roles import load

    roles = _roles(load(open_place(where)), KeyRing.open(keys, ask))
    if is_json:
        print(msgspec.json.encode(roles).decode())
        return
    for role, said in roles.items():
        until = f", good until {said['expires'][:10]}" if said["expires"] else ""
        print(f"{role}: {said['threshold']} of {len(said['keys'])}{until}")
        for key in said["keys"]:
            state = "" if key["is_here"] else ", not here"
            print(f"  {key['name']:<20} {key['keyid'][:12]}  {key['uri']}{state}")


def _roles(held: Held, ring: KeyRing) -> dict[str, dict[str, Any]]:
    from edge.central.registry.rotation import delegator_of, roles_of

    pieces = {each.role: each for each in (held.root, held.targets, held.snapshot, held.timestamp)}
    pieces |= {each.role: each for each in held.families.values()}
    found = {}
    for role in roles_of(held):
        delegated = delegator_of(held, role).get_delegated_role(role)
        known = {entry.keyid: entry for entry in ring.entries}
        keys = [
            {
                "name": known[keyid].name if keyid in known else "unknown",
                "keyid": keyid,
                "uri": known[keyid].uri if keyid in known else "",
                "is_here": keyid in known and ring.is_at_hand(known[keyid]),
            }
            for keyid in delegated.keyids
        ]
        expires = pieces[role].signed.expires.isoformat() if role in pieces else ""
        found[role] = {"threshold": delegated.threshold, "expires": expires, "keys": keys}
    return found


def _uris(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for each in given:
        name, equals, uri = each.partition("=")
        if not equals or not name or not uri:
            raise InputError(f"--key {each}: expected NAME=URI, such as root-1=env:ROOT_KEY_FILE")
        found[name] = uri
    return found
