"""Check a whole repository, down to the last blob.

Promises: signatures, versions, digests and dates are checked as a device checks them, and then every file that a
release names; all that is wrong is told at once. Nothing is changed and no key is needed.
Leaves out: whether the models are any good (`edge selftest`).
Thread: any; reads every byte.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from edge.central.registry.files import listed_in, read_offers
from edge.central.registry.place import Place
from edge.central.registry.releases import Release, releases_of
from edge.central.registry.roles import Held, load, utc
from edge.clock import Clock
from edge.contract.layout import MAX_TRUST_BYTES, TRUST_FILE, blob_path, metadata_path, target_file
from edge.contract.manifest import decode_manifest
from edge.contract.trust import decode_trust_update
from edge.errors import EdgeError, NotInRepositoryError, ProtocolError, RepositoryError, TrustError
from edge.zstd import unpack

__all__ = ["Audit", "audit"]


class Audit(Struct, frozen=True, kw_only=True):
    """What was looked at, and what is wrong with it, a sentence each."""

    releases: int
    blobs: int
    size_bytes: int
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()  # nothing is wrong, and something is to be done


def audit(place: Place, clock: Clock, *, first_root: bytes | None = None) -> Audit:
    """Read everything.

    Args:
        place: of the repository.
        clock: what is held against the dates.
        first_root: the root that devices were given; the repository's own first one where it is not at hand.

    Raises:
        TrustError, RepositoryError: the metadata already is not what it must be, so nothing else means anything.
    """
    held = load(place)
    if first_root is not None and place.read(metadata_path("root", 1)) != first_root:
        raise TrustError(f"{place.name} begins with another root than the one given: it belongs to another fleet")
    problems: list[str] = []
    try:
        held.check_dates(utc(clock.wall_ms()), is_online_too=True)
    except TrustError as err:
        problems.append(str(err))
    seen: dict[str, int] = {}
    releases = [each for family in sorted(held.families) for each in releases_of(held, family)]
    for release in releases:
        _check_release(place, release, seen, problems)
    notes = _check_trust(place, held, problems)
    return Audit(
        releases=len(releases),
        blobs=len(seen),
        size_bytes=sum(seen.values()),
        problems=tuple(problems),
        notes=notes,
    )


def _check_release(place: Place, release: Release, seen: dict[str, int], problems: list[str]) -> None:
    path = target_file(release.family, release.release, release.sha256)
    try:
        raw = place.read(path)
        _check_bytes(raw, path, release.sha256, release.size_bytes)
        manifest = decode_manifest(raw)
    except EdgeError as err:
        problems.append(str(err))
        return
    for listed in listed_in(manifest):
        _check_blob(place, listed.sha256, listed.size_bytes, seen, problems)
        for offer in read_offers(place, listed.sha256).offers:
            _check_blob(place, offer.sha256, offer.size_bytes, seen, problems)


def _check_blob(place: Place, digest: str, size_bytes: int, seen: dict[str, int], problems: list[str]) -> None:
    if digest in seen:
        return
    seen[digest] = size_bytes
    try:
        _check_bytes(place.read(blob_path(digest)), blob_path(digest), digest, size_bytes)
    except RepositoryError as err:
        problems.append(str(err))


def _check_bytes(content: bytes, path: str, digest: str, size_bytes: int) -> None:
    if len(content) != size_bytes or hashlib.sha256(content).hexdigest() != digest:
        raise RepositoryError(
            f"{path} is damaged: {len(content)} bytes, expected {size_bytes} with sha256 {digest[:12]}...; remove it "
            "and publish its bundle again, or restore a copy"
        )


def _check_trust(place: Place, held: Held, problems: list[str]) -> tuple[str, ...]:
    """The trust update must be the metadata, byte for byte."""
    if not held.is_complete:
        return ("offline keys signed what no snapshot names yet; where the online keys are: edge registry refresh",)
    try:
        files = decode_trust_update(unpack(place.read(TRUST_FILE), most_bytes=MAX_TRUST_BYTES, what=TRUST_FILE)).files
    except NotInRepositoryError:
        files = {}
    except ProtocolError as err:
        problems.append(f"{TRUST_FILE} is damaged ({err}); make it again with: edge registry refresh")
        return ()
    if files != held.files():
        return (f"{TRUST_FILE} is behind the metadata; make it again with: edge registry refresh",)
    return ()
