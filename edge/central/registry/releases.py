"""What is signed, as people and rollouts see it: families, releases, floors.

Promises: reads only; a target that another tool signed is an error, never half understood.
Leaves out: changes (`registry`).
Thread: any; pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from edge.central.registry.roles import Held, floor_of, last_of
from edge.contract.trust import TargetNote, Wanted, decode_note, parse_target, target_path
from edge.errors import InputError, RefusedError

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

__all__ = ["Release", "custom_of", "last_release", "note_of", "release_named", "releases_of", "wanted_of"]


class Release(Struct, frozen=True, kw_only=True):
    """One signed target. `sha256` and `size_bytes` are its manifest's."""

    family: str
    release: int
    name: str
    version: str
    made_ms: int  # wall clock of whoever signed it
    sha256: str
    size_bytes: int
    revoked: str  # why; empty: it may run
    floor: int  # of the family

    @property
    def is_startable(self) -> bool:
        """Whether a device may start it: neither revoked nor below the floor."""
        return not self.revoked and self.release >= self.floor


def releases_of(held: Held, family: str) -> tuple[Release, ...]:
    """The signed releases of a family by number; none of one that is not there.

    Raises:
        ProtocolError: another tool signed one.
    """
    if family not in held.families:
        return ()
    signed = held.families[family].signed
    found = []
    for path, target in signed.targets.items():
        note = note_of(target)
        found.append(
            Release(
                family=family,
                release=parse_target(path)[1],
                name=note.name,
                version=note.version,
                made_ms=note.made_ms,
                sha256=target.hashes["sha256"],
                size_bytes=target.length,
                revoked=note.revoked,
                floor=floor_of(signed),
            )
        )
    return tuple(sorted(found, key=lambda each: each.release))


def release_named(held: Held, family: str, release: int) -> Release:
    """One of them.

    Raises:
        InputError: there is none of that number; the message has those that there are.
    """
    found = releases_of(held, family)
    for each in found:
        if each.release == release:
            return each
    if family not in held.families:
        there = ", ".join(sorted(held.families)) or "none"
        raise InputError(f"there is no family {family} in this registry; families: {there}")
    raise InputError(
        f"{family} has no release {release}; there {'is' if len(found) == 1 else 'are'} "
        f"{', '.join(str(each.release) for each in found) or 'none'}"
        + (f", and {release} was withdrawn" if 0 < release <= last_release(held, family) else "")
    )


def last_release(held: Held, family: str) -> int:
    """The last number that was given away, withdrawn or not; 0 for a family that is not there."""
    return last_of(held.families[family].signed) if family in held.families else 0


def note_of(target: TargetFile) -> TargetNote:
    """What was signed beside the digest. Raises `ProtocolError` for another tool's."""
    return decode_note(target.custom)


def custom_of(note: TargetNote) -> dict[str, str | int]:
    """The same as plain values, as TUF's `custom` holds it."""
    plain: dict[str, str | int] = msgspec.to_builtins(note)
    return plain


def wanted_of(held: Held, family: str, release: int | None = None) -> Wanted:
    """What an assignment says of a release; the newest that may be started where none is named.

    Raises:
        InputError: there is no such release.
        RefusedError: it is revoked, or below the floor.
    """
    if release is None:
        startable = [each.release for each in releases_of(held, family) if each.is_startable]
        release = startable[-1] if startable else last_release(held, family)
    chosen = release_named(held, family, release)
    if not chosen.is_startable:
        why = chosen.revoked or f"it is below the floor, {chosen.floor}"
        raise RefusedError(f"{family} release {release} must not be started: {why}")
    return Wanted(target=target_path(family, release), sha256=chosen.sha256, size_bytes=chosen.size_bytes)
