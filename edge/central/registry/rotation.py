"""Begin a registry, and give its roles new keys.

Promises: new private keys are on disk before anything says that they count; a new root is signed by the old root keys
and by the new ones; what the old keys signed stays valid until what the new ones signed is there.
Leaves out: releases (`registry`), how keys are kept (`ring`).
Thread: any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from edge.central.registry.edition import OFFLINE_DAYS, ROOT_DAYS, Edition, Signed, delegate, first_held, sign
from edge.central.registry.place import FolderPlace, Place
from edge.central.registry.ring import ONLINE_ROLES, KeyEntry, KeyRing
from edge.central.registry.roles import FAMILY_PREFIX, Held, load, utc
from edge.clock import Clock
from edge.contract.ids import check_name
from edge.contract.layout import TIMESTAMP_FILE
from edge.contract.trust import ASSIGNMENTS_ROLE, TIME_ROLE, family_role
from edge.errors import InputError

if TYPE_CHECKING:
    from tuf.api.metadata import Root, Targets

__all__ = ["Plan", "Rotated", "begin", "delegator_of", "roles_of", "rotate"]

_TOP = ("root", "targets", "snapshot", "timestamp")
_NOWHERE = "-"  # the path of roles that sign messages and no targets
_MOST_KEYS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many keys the offline roles have, and how many of them must sign.

    `uris` has keys that are elsewhere already, by the name they get: `root-1`.
    """

    root_keys: int = 3
    root_threshold: int = 2
    targets_keys: int = 1
    targets_threshold: int = 1
    families: tuple[str, ...] = ()  # delegated at once; others are when they are first published
    uris: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raises `InputError` where nobody could ever sign."""
        for role, threshold, keys in (
            ("root", self.root_threshold, self.root_keys),
            ("targets", self.targets_threshold, self.targets_keys),
        ):
            if not 1 <= threshold <= keys <= _MOST_KEYS:
                raise InputError(f"{threshold} of {keys} {role} keys: expected 1 to {_MOST_KEYS} keys, and at most all")
        for family in self.families:
            check_name("family", family)
        names = [f"{role}-{number + 1}" for role, count in self.counts().items() for number in range(count)]
        if unknown := sorted(set(self.uris) - set(names)):
            raise InputError(f"there is no key {unknown[0]} to be made; names are {', '.join(names)}")

    def counts(self) -> dict[str, int]:
        """Keys of each role, in the order in which they are made."""
        families = {family_role(family): 1 for family in self.families}
        return {"root": self.root_keys, "targets": self.targets_keys, **families, **dict.fromkeys(ONLINE_ROLES, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """Keys that sign no more, and those in their places. `is_waiting`: as in `registry.Outcome`."""

    old: tuple[KeyEntry, ...]
    new: tuple[KeyEntry, ...]
    is_waiting: bool


def begin(place: Place, ring: KeyRing, plan: Plan, clock: Clock) -> Held:
    """Make all keys, and the first metadata of a registry without releases.

    Raises:
        InputError: there is a registry already, keys would lie in the folder that is served, or a key is of no use.
        DiskFullError, RepositoryError: it cannot be written; nobody has seen anything.
        MissingExtraError: python-tuf or cryptography is not installed.
    """
    plan.check()
    _check_apart(place, ring)
    with place.lock():
        if place.size(TIMESTAMP_FILE) is not None:
            raise InputError(f"{place.name} is a registry already, with keys of its own; name another place")
        now = utc(clock.wall_ms())
        keys = {
            role: [ring.make(role, plan.uris.get(f"{role}-{number + 1}")).keyid for number in range(count)]
            for role, count in plan.counts().items()
        }
        signed = _first(ring, plan, keys, now)
        signed.write(place)
    return signed.held


def _first(ring: KeyRing, plan: Plan, keys: Mapping[str, Sequence[str]], now: datetime) -> Signed:
    """The first metadata: no releases, all delegations."""
    from tuf.api.metadata import Root, Targets

    root = Root(expires=now + timedelta(days=ROOT_DAYS), consistent_snapshot=True)
    for role in _TOP:
        for keyid in keys[role]:
            root.add_key(ring.public(keyid), role)
    root.roles["root"].threshold = plan.root_threshold
    root.roles["targets"].threshold = plan.targets_threshold
    expires = now + timedelta(days=OFFLINE_DAYS)
    targets = Targets(expires=expires)
    families = {}
    for role in (ASSIGNMENTS_ROLE, TIME_ROLE):
        delegate(targets, role, _NOWHERE, [ring.public(keyid) for keyid in keys[role]])
    for family in plan.families:
        role = family_role(family)
        delegate(targets, role, f"models/{family}/*", [ring.public(keyid) for keyid in keys[role]])
        families[family] = sign(role, Targets(expires=expires), ring.signers(keys[role], 1, role))
    return first_held(
        sign("root", root, ring.signers(keys["root"], plan.root_threshold, "root")),
        sign("targets", targets, ring.signers(keys["targets"], plan.targets_threshold, "targets")),
        families,
        ring,
        now,
    )


def rotate(place: Place, ring: KeyRing, what: str, clock: Clock, *, uri: str | None = None) -> Rotated:
    """Replace keys: of a role, of a family (by its name), of all the centre's roles ("online"), or one by its name.

    Args:
        place: of the registry.
        ring: with the old root keys for "root"; see `docs/reference/registry.md` for which change wants which keys.
        what: "root", "targets", "online", "snapshot", ..., a family, or the name of a key such as "root-2".
        clock: for dates.
        uri: where the new key is, if it exists already and only one is replaced.

    Raises:
        InputError: no such role or key, or keys are missing.
        TrustError, RepositoryError, DiskFullError: as `Registry.publish`.
    """
    _check_apart(place, ring)
    with place.lock():
        held = load(place)
        old = _chosen(held, ring, what)
        if uri is not None and len(old) != 1:
            raise InputError(f"{what} has {len(old)} keys, and one URI names one key; replace them by name")
        _check_signers(held, ring, old)
        now = utc(clock.wall_ms())
        edition = Edition(held, ring, now)
        new = tuple(ring.make(entry.role, uri) for entry in old)
        for before, after in zip(old, new, strict=True):
            _replace(edition, ring, before, after)
        signed = edition.sign()
        signed.write(place)
        ring.retire(entry.keyid for entry in old)
    return Rotated(old=old, new=new, is_waiting=signed.is_waiting)


def _chosen(held: Held, ring: KeyRing, what: str) -> tuple[KeyEntry, ...]:
    """The keys that `what` names, out of those that may sign now."""
    signing = {role: delegator_of(held, role).get_delegated_role(role).keyids for role in roles_of(held)}
    entries = [each for each in ring.entries if each.keyid in signing.get(each.role, ())]
    family = family_role(what) if what in held.families else ""
    wanted = ONLINE_ROLES if what == "online" else (what, family)
    chosen = tuple(each for each in entries if each.role in wanted or each.name == what)
    if not chosen:
        names = ", ".join(each.name for each in entries)
        raise InputError(f"{what!r} is no role, no family and no key of {ring.folder} that signs; keys are {names}")
    return chosen


def roles_of(held: Held) -> tuple[str, ...]:
    """Every role that has keys, root first."""
    return (*_TOP, ASSIGNMENTS_ROLE, TIME_ROLE, *(family_role(family) for family in held.families))


def delegator_of(held: Held, role: str) -> Root | Targets:
    """Who says which keys a role has."""
    return held.root.signed if role in _TOP else held.targets.signed


def _check_signers(held: Held, ring: KeyRing, old: Sequence[KeyEntry]) -> None:
    """Before a key is made, see that what names keys can be signed."""
    for delegating in {"root" if each.role in _TOP else "targets" for each in old}:
        role = held.root.signed.get_delegated_role(delegating)
        ring.signers(role.keyids, role.threshold, delegating)


def _replace(edition: Edition, ring: KeyRing, old: KeyEntry, new: KeyEntry) -> None:
    """Name the new key in place of the old one, and have signed anew what the old one signed."""
    delegator = edition.root() if old.role in _TOP else edition.targets()
    delegator.revoke_key(old.keyid, old.role)
    delegator.add_key(ring.public(new.keyid), old.role)
    if old.role == "targets":
        edition.targets()
    elif old.role.startswith(FAMILY_PREFIX):
        edition.family(old.role.removeprefix(FAMILY_PREFIX))


def _check_apart(place: Place, ring: KeyRing) -> None:
    """Private keys never lie in what is served."""
    if isinstance(place, FolderPlace):
        served, keys = place.folder.resolve(), ring.folder.resolve()
        if served == keys or served in keys.parents:
            raise InputError(f"{ring.folder} lies in {place.name}, which is served to devices; keep keys elsewhere")
