"""One change of a repository's metadata: prepared, signed, then written.

Promises: every signature is there before the first byte is written, so a key that is missing changes nothing. Files are
written in such an order that a device, and the next change, find a valid repository wherever the writing stops: the
old one until `timestamp.json` (or the new root) is there, then the new one. What is replaced is signed by old keys and
new ones where both are here.
Leaves out: what to change (`registry`, `rotation`), blobs.
Thread: any.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, final

from edge.central.registry.place import Place
from edge.central.registry.ring import KeyRing, signature
from edge.central.registry.roles import Held, Piece, parse
from edge.contract.layout import TRUST_FILE
from edge.contract.trust import TrustUpdate, encode_trust_update, family_role
from edge.errors import NotInRepositoryError
from edge.zstd import pack

if TYPE_CHECKING:
    from securesystemslib.signer import Signer, SSlibKey
    from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

__all__ = [
    "OFFLINE_DAYS",
    "ONLINE_DAYS",
    "ROOT_DAYS",
    "Edition",
    "Signed",
    "delegate",
    "first_held",
    "sign",
    "write_trust",
]

# Devices take nothing new from an expired role. The centre's own are signed again each day; a week bridges an outage.
ROOT_DAYS = 730
OFFLINE_DAYS = 365
ONLINE_DAYS = 7

_TRUST_LEVEL = 19  # of zstd; a few kilobytes
_S = TypeVar("_S", "Root", "Snapshot", "Targets", "Timestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What is to be written, in this order, and what the repository holds then."""

    held: Held
    pieces: tuple[Piece[Any], ...]
    is_waiting: bool  # no snapshot names it yet: the online keys are elsewhere

    def write(self, place: Place) -> None:
        """Write all of it, the trust update last.

        Raises:
            DiskFullError, RepositoryError: the repository is as it was, or one step further, and valid.
        """
        for piece in self.pieces:
            place.write(piece.path, piece.raw)
        if not self.is_waiting:
            write_trust(place, self.held)


@final
class Edition:
    """The next version of the roles that are asked for; those of which nothing is asked stay as they are."""

    def __init__(self, held: Held, ring: KeyRing, now: datetime) -> None:
        self._held = held
        self._ring = ring
        self._now = now
        self._root: Root | None = None
        self._targets: Targets | None = None
        self._families: dict[str, Targets] = {}

    def root(self) -> Root:
        """The next root, to be changed at will."""
        if self._root is None:
            self._root = self._next(self._held.root.signed, ROOT_DAYS)
        return self._root

    def targets(self) -> Targets:
        """The next `targets`, to be changed at will."""
        if self._targets is None:
            self._targets = self._next(self._held.targets.signed, OFFLINE_DAYS)
        return self._targets

    def family(self, family: str) -> Targets:
        """The next version of a family, or its first one, to be changed at will."""
        from tuf.api.metadata import Targets

        if family not in self._families:
            held = self._held.families.get(family)
            expires = self._now + timedelta(days=OFFLINE_DAYS)
            self._families[family] = Targets(expires=expires) if held is None else self._next(held.signed, OFFLINE_DAYS)
        return self._families[family]

    def sign(self, *, is_renewing: bool = False) -> Signed:
        """Sign what was asked for, and a snapshot and a timestamp where that or `is_renewing` calls for it.

        Without the online keys the offline roles are signed all the same and wait for the next `refresh`.

        Raises:
            InputError: keys are missing, or a passphrase is wrong; nothing was written.
        """
        held = self._held
        roots = [held.root.signed, *([self._root] if self._root is not None else [])]
        delegators = [held.targets.signed, *([self._targets] if self._targets is not None else [])]
        families = {
            family: self._signed(signed, family_role(family), delegators) for family, signed in self._families.items()
        }
        targets = held.targets if self._targets is None else self._signed(self._targets, "targets", roots)
        root = () if self._root is None else (self._signed_root(held.root.signed, self._root),)
        after = replace(held, roots=(*held.roots, *root), targets=targets, families={**held.families, **families})
        pieces = (*families.values(), *(() if targets is held.targets else (targets,)))
        if after.is_complete and not is_renewing and not self._changes_online_keys():
            return Signed(held=after, pieces=(*pieces, *root), is_waiting=False)
        if not is_renewing and not root and not self._has_online_keys(roots[-1]):
            return Signed(held=after, pieces=pieces, is_waiting=True)
        after = self._with_snapshot(after, roots)
        return Signed(held=after, pieces=(*pieces, after.snapshot, after.timestamp, *root), is_waiting=False)

    def _changes_online_keys(self) -> bool:
        old, new = self._held.root.signed, self._root or self._held.root.signed
        return any(old.roles[role].keyids != new.roles[role].keyids for role in ("snapshot", "timestamp"))

    def _has_online_keys(self, root: Root) -> bool:
        roles = (root.get_delegated_role("snapshot"), root.get_delegated_role("timestamp"))
        return all(len(self._ring.signers_at_hand(role.keyids, role.threshold)) >= role.threshold for role in roles)

    def _with_snapshot(self, held: Held, roots: Sequence[Root]) -> Held:
        from tuf.api.metadata import MetaFile

        snapshot = self._next(held.snapshot.signed, ONLINE_DAYS)
        for each in (held.targets, *held.families.values()):
            snapshot.meta[f"{each.role}.json"] = MetaFile.from_data(each.version, each.raw, ["sha256"])
        signed = self._signed(snapshot, "snapshot", roots)
        timestamp = self._next(held.timestamp.signed, ONLINE_DAYS)
        timestamp.snapshot_meta = MetaFile.from_data(signed.version, signed.raw, ["sha256"])
        return replace(held, snapshot=signed, timestamp=self._signed(timestamp, "timestamp", roots))

    def _signed(self, payload: _S, role: str, delegators: Sequence[Root] | Sequence[Targets]) -> Piece[_S]:
        """By the keys of the last delegator, and by those of the one before where they are here."""
        *before, last = (each.get_delegated_role(role) for each in delegators if _delegates(each, role))
        signers = list(self._ring.signers(last.keyids, last.threshold, role))
        for old in before:
            signers += self._ring.signers_at_hand(old.keyids, old.threshold)
        return sign(role, payload, signers)

    def _signed_root(self, old: Root, new: Root) -> Piece[Root]:
        """By a threshold of the old keys and of the new ones (TUF 1.0, section 6.1)."""
        signers: list[Signer] = []
        for each in (old, new):
            role = each.get_delegated_role("root")
            signers += self._ring.signers(role.keyids, role.threshold, "root")
        return sign("root", new, signers)

    def _next(self, signed: _S, days: int) -> _S:
        following = copy.deepcopy(signed)
        following.version += 1
        following.expires = self._now + timedelta(days=days)
        return following


def _delegates(delegator: Root | Targets, role: str) -> bool:
    try:
        delegator.get_delegated_role(role)
    except ValueError:
        return False
    return True


def sign(role: str, payload: _S, signers: Sequence[Signer]) -> Piece[_S]:
    """One file of metadata.

    Raises:
        InputError: a token refused.
    """
    from tuf.api.metadata import Metadata

    metadata = Metadata(payload)
    payload_bytes = metadata.signed_bytes
    for signer in signers:
        if signer.public_key.keyid not in metadata.signatures:
            metadata.signatures[signer.public_key.keyid] = signature(signer, payload_bytes, role)
    return parse(role, metadata.to_bytes(), role)


def delegate(targets: Targets, role: str, path: str, keys: Sequence[SSlibKey], *, threshold: int = 1) -> None:
    """Let `keys` sign as `role`, and what lies under `path`; the role is looked for nowhere else (terminating)."""
    from tuf.api.metadata import DelegatedRole, Delegations

    if targets.delegations is None:
        targets.delegations = Delegations(keys={}, roles={})
    roles = targets.delegations.roles or {}
    roles[role] = DelegatedRole(name=role, keyids=[], threshold=threshold, terminating=True, paths=[path])
    targets.delegations.roles = roles
    for key in keys:
        targets.add_key(key, role)


def first_held(
    root: Piece[Root], targets: Piece[Targets], families: Mapping[str, Piece[Targets]], ring: KeyRing, now: datetime
) -> Signed:
    """The first snapshot and timestamp of a new repository."""
    from tuf.api.metadata import MetaFile, Snapshot, Timestamp

    def signers(role: str) -> tuple[Signer, ...]:
        delegated = root.signed.get_delegated_role(role)
        return ring.signers(delegated.keyids, delegated.threshold, role)

    expires = now + timedelta(days=ONLINE_DAYS)
    meta = {
        f"{each.role}.json": MetaFile.from_data(each.version, each.raw, ["sha256"])
        for each in (targets, *families.values())
    }
    snapshot = sign("snapshot", Snapshot(expires=expires, meta=meta), signers("snapshot"))
    named = MetaFile.from_data(snapshot.version, snapshot.raw, ["sha256"])
    timestamp = sign("timestamp", Timestamp(expires=expires, snapshot_meta=named), signers("timestamp"))
    held = Held(roots=(root,), targets=targets, families=families, snapshot=snapshot, timestamp=timestamp)
    return Signed(held=held, pieces=(root, *families.values(), targets, snapshot, timestamp), is_waiting=False)


def write_trust(place: Place, held: Held) -> bool:
    """Write the trust update where it is not this one already; true when it was not."""
    content = pack(encode_trust_update(TrustUpdate(files=held.files())), level=_TRUST_LEVEL)
    try:
        if place.read(TRUST_FILE) == content:
            return False
    except NotInRepositoryError:
        pass
    place.write(TRUST_FILE, content)
    return True
