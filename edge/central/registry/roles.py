"""Read the signed metadata of a repository, and check it as a device would.

Promises: what `load` returns is signed by whom its delegator names, from the first root to the last family; bytes are
kept as they were signed. Metadata that offline keys signed and no snapshot names yet, because the online keys are
elsewhere or the power went, is found and counts.
Leaves out: whether it has expired (`Held.check_dates`), blobs (`audit`), changes (`edition`).
Thread: any.

A snapshot names one version of each role; the version after it may lie beside, whole and signed, waiting for the next
snapshot. Files are written in such an order that each of these is valid with those before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edge.central.registry.place import Place
from edge.contract.layout import TIMESTAMP_FILE, metadata_name, metadata_path
from edge.contract.trust import FLOOR_FIELD, family_role
from edge.errors import MissingExtraError, NotInRepositoryError, RepositoryError, TrustError

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

__all__ = ["FAMILY_PREFIX", "LAST_FIELD", "Held", "Piece", "families_in", "floor_of", "last_of", "load", "parse", "utc"]

# Of a family's signed metadata: the last release that was given away. A release that was withdrawn keeps its number.
LAST_FIELD = "x-edge-last"

_S = TypeVar("_S", "Root", "Snapshot", "Targets", "Timestamp")
FAMILY_PREFIX = family_role("x").removesuffix("x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece(Generic[_S]):
    """One file of metadata: what it says, and its bytes as they were signed."""

    role: str
    metadata: Metadata[_S]
    raw: bytes

    @property
    def signed(self) -> _S:
        """What it says."""
        return self.metadata.signed

    @property
    def version(self) -> int:
        """Its version."""
        return self.metadata.signed.version

    @property
    def path(self) -> str:
        """Where it lies in the repository."""
        return metadata_path(self.role, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """All metadata of a repository in its newest version."""

    roots: tuple[Piece[Root], ...]  # from the first to the one that counts
    targets: Piece[Targets]
    families: Mapping[str, Piece[Targets]]  # by family
    snapshot: Piece[Snapshot]
    timestamp: Piece[Timestamp]

    @property
    def root(self) -> Piece[Root]:
        """The one that counts."""
        return self.roots[-1]

    @property
    def is_complete(self) -> bool:
        """Whether the snapshot names the newest version of every role."""
        meta = self.snapshot.signed.meta
        pieces = (self.targets, *self.families.values())
        return all(f"{each.role}.json" in meta and meta[f"{each.role}.json"].version == each.version for each in pieces)

    def files(self) -> dict[str, bytes]:
        """What a device needs to come from the first root to now, by file name."""
        pieces: tuple[Piece[Any], ...] = (
            *self.roots,
            self.timestamp,
            self.snapshot,
            self.targets,
            *self.families.values(),
        )
        return {metadata_name(each.role, each.version): each.raw for each in pieces}

    def check_dates(self, now: datetime, *, is_online_too: bool) -> None:
        """Refuse what has expired; the centre's own roles are signed anew with every change.

        Raises:
            TrustError: with the first role that has.
        """
        offline: tuple[Piece[Any], ...] = (self.root, self.targets, *self.families.values())
        for each in (*offline, *((self.snapshot, self.timestamp) if is_online_too else ())):
            if each.signed.is_expired(now):
                option = " --offline" if each in offline else ""
                raise TrustError(
                    f"{each.role} expired on {each.signed.expires:%Y-%m-%d}, and devices take nothing new; sign it "
                    f"again with: edge registry refresh{option}"
                )

    def due(self, until: datetime) -> str:
        """What devices take no longer than until then, and what to do about it; empty: nothing."""
        offline: tuple[Piece[Any], ...] = (self.root, self.targets, *self.families.values())
        for each in (*offline, self.snapshot, self.timestamp):
            if each.signed.is_expired(until):
                option = " --offline" if each in offline else ""
                return (
                    f"{each.role} is good until {each.signed.expires:%Y-%m-%d}, and devices take nothing new after "
                    f"that; sign it again with: edge registry refresh{option}"
                )
        return ""


def utc(wall_ms: int) -> datetime:
    """A stamp of `Clock.wall_ms` as TUF writes it: UTC, whole seconds."""
    return datetime.fromtimestamp(wall_ms // 1000, tz=timezone.utc)


def families_in(targets: Targets) -> tuple[str, ...]:
    """The families that a version of `targets` delegates."""
    roles = targets.delegations.roles if targets.delegations is not None else None
    return tuple(role.removeprefix(FAMILY_PREFIX) for role in roles or () if role.startswith(FAMILY_PREFIX))


def floor_of(family: Targets) -> int:
    """The lowest release of a family that may still be started."""
    return int(family.unrecognized_fields.get(FLOOR_FIELD, 1))


def last_of(family: Targets) -> int:
    """The last release of a family that was given away, 0 before the first."""
    return int(family.unrecognized_fields.get(LAST_FIELD, 0))


def load(place: Place) -> Held:
    """Read and check everything.

    Raises:
        NotInRepositoryError: there is no registry.
        RepositoryError: a file of it is missing or damaged.
        TrustError: a signature, version or digest is not what it must be.
        MissingExtraError: python-tuf is not installed.
    """
    try:
        stamp = place.read(TIMESTAMP_FILE)
    except NotInRepositoryError as err:
        raise NotInRepositoryError(f"{place.name} is no registry; make one with: edge keys init") from err
    roots = _load_roots(place)
    root = roots[-1].signed
    timestamp: Piece[Timestamp] = parse("timestamp", stamp, place.name)
    with _trusting(f"{place.name}/{TIMESTAMP_FILE}"):
        root.verify_delegate("timestamp", timestamp.metadata.signed_bytes, timestamp.metadata.signatures)
    snapshot = _load_snapshot(place, root, timestamp.signed)
    meta = snapshot.signed.meta
    targets = _load_newest(place, "targets", root, meta["targets.json"])
    families = {}
    for family in families_in(targets.signed):
        role = family_role(family)
        families[family] = _load_newest(place, role, targets.signed, meta.get(f"{role}.json"))
    return Held(roots=roots, targets=targets, families=families, snapshot=snapshot, timestamp=timestamp)


def parse(role: str, raw: bytes, where: str) -> Piece[_S]:
    """Read one file of metadata; signatures are not looked at.

    Raises:
        RepositoryError: it is damaged, or of another role.
        MissingExtraError: python-tuf is not installed.
    """
    try:
        from tuf.api.metadata import Metadata
        from tuf.api.serialization import DeserializationError
    except ImportError as err:
        raise MissingExtraError("python-tuf", "registry") from err
    try:
        metadata: Metadata[_S] = Metadata.from_bytes(raw)
    except DeserializationError as err:
        raise RepositoryError(f"{where}: metadata of {role} is damaged ({len(raw)} bytes); restore a copy") from err
    kind = role if role in {"root", "snapshot", "timestamp"} else "targets"
    if metadata.signed.type != kind:
        raise RepositoryError(f"{where}: expected metadata of {role}, found {metadata.signed.type}; restore a copy")
    return Piece(role=role, metadata=metadata, raw=raw)


def _load_roots(place: Place) -> tuple[Piece[Root], ...]:
    """Each signed by itself and by the one before (TUF 1.0, section 5.3)."""
    roots: list[Piece[Root]] = []
    while True:
        path = metadata_path("root", len(roots) + 1)
        try:
            raw = place.read(path)
        except NotInRepositoryError:
            if not roots:
                raise
            return tuple(roots)
        piece: Piece[Root] = parse("root", raw, f"{place.name}/{path}")
        with _trusting(f"{place.name}/{path}"):
            for signer in (*roots[-1:], piece):
                signer.signed.verify_delegate("root", piece.metadata.signed_bytes, piece.metadata.signatures)
        _check_version(place, piece, len(roots) + 1)
        roots.append(piece)


def _load_snapshot(place: Place, root: Root, timestamp: Timestamp) -> Piece[Snapshot]:
    path = metadata_path("snapshot", timestamp.snapshot_meta.version)
    raw = place.read(path)
    with _trusting(f"{place.name}/{path}"):
        timestamp.snapshot_meta.verify_length_and_hashes(raw)
        snapshot: Piece[Snapshot] = parse("snapshot", raw, f"{place.name}/{path}")
        root.verify_delegate("snapshot", snapshot.metadata.signed_bytes, snapshot.metadata.signatures)
    _check_version(place, snapshot, timestamp.snapshot_meta.version)
    return snapshot


def _load_newest(place: Place, role: str, delegator: Root | Targets, named: MetaFile | None) -> Piece[Targets]:
    """The version that the snapshot names, or the last one after it that its delegator's keys have signed."""
    first = named.version if named is not None else 1
    newest: Piece[Targets] | None = None
    for version in itertools.count(first):
        path = metadata_path(role, version)
        try:
            raw = place.read(path)
            piece: Piece[Targets] = parse(role, raw, f"{place.name}/{path}")
            _check_version(place, piece, version)
        except RepositoryError:
            if version == first:
                raise
            break  # what no snapshot names is there whole, or not at all
        if named is not None and version == first:
            with _trusting(f"{place.name}/{path}"):
                named.verify_length_and_hashes(raw)
        if _is_signed(delegator, piece):
            newest = piece
    if newest is None:
        raise TrustError(f"{place.name}: {role} is not signed by the keys that may sign it; restore a copy")
    return newest


def _is_signed(delegator: Root | Targets, piece: Piece[Any]) -> bool:
    metadata = piece.metadata
    return bool(delegator.get_verification_result(piece.role, metadata.signed_bytes, metadata.signatures))


def _check_version(place: Place, piece: Piece[Any], version: int) -> None:
    if piece.version != version:
        raise RepositoryError(
            f"{place.name}: {metadata_name(piece.role, version)} holds version {piece.version}; restore a copy"
        )


@contextmanager
def _trusting(what: str) -> Iterator[None]:
    """Put what python-tuf refuses into our own words."""
    from tuf.api.exceptions import LengthOrHashMismatchError, UnsignedMetadataError

    try:
        yield
    except UnsignedMetadataError as err:
        raise TrustError(f"{what} is not signed by the keys that may sign it ({err}); restore a copy") from err
    except LengthOrHashMismatchError as err:
        raise TrustError(f"{what} is not the file that was signed for ({err}); restore a copy") from err
