"""The registry: what a fleet may run, and who signed it.

Promises: every change is checked and signed before anything is written; wherever the writing stops, devices find the
old state or the new one, and doing the same again goes on. A release's number is given away once, also when the release
is withdrawn; a floor never falls.
Leaves out: keys' making and changing (`rotation`), which device runs what (`central.rollout`).
Thread: any, one call at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, final

from msgspec import Struct
from msgspec.structs import replace

from edge.central.registry.edition import Edition, Signed, delegate, write_trust
from edge.central.registry.files import OfferMaker, offer_deltas, put_files
from edge.central.registry.place import Place
from edge.central.registry.releases import (
    Release,
    custom_of,
    last_release,
    note_of,
    release_named,
    releases_of,
    wanted_of,
)
from edge.central.registry.ring import KeyRing, signature
from edge.central.registry.roles import LAST_FIELD, Held, floor_of, load, utc
from edge.clock import Clock
from edge.contract.ids import check_name
from edge.contract.layout import TRUST_FILE, target_file
from edge.contract.manifest import Manifest, decode_manifest
from edge.contract.trust import (
    ASSIGNMENTS_ROLE,
    FLOOR_FIELD,
    TIME_ROLE,
    Assignment,
    TargetNote,
    TimeToken,
    Wanted,
    encode_assignment,
    encode_signed,
    encode_time_token,
    family_role,
    target_path,
)
from edge.contract.trust import Signed as SignedMessage
from edge.errors import InputError, RefusedError
from edge.selftest import check_files

if TYPE_CHECKING:
    from tuf.api.metadata import Targets

__all__ = ["Outcome", "Published", "Registry"]

_BASES = 3  # releases back that a delta is made from; a device further behind takes the whole file


class Outcome(Struct, frozen=True, kw_only=True):
    """What a change came to. `is_waiting`: signed, and nobody sees it before the online keys do: `refresh`."""

    is_new: bool
    is_waiting: bool = False


class Published(Outcome, frozen=True, kw_only=True):
    """A release, and the bytes that were written for it."""

    family: str
    release: int
    floor: int
    size_bytes: int = 0


@final
class Registry:
    """One repository and its keys. Each call reads what is there: another process may have changed it."""

    def __init__(self, place: Place, ring: KeyRing, clock: Clock) -> None:
        self._place = place
        self._ring = ring
        self._clock = clock

    @property
    def place(self) -> Place:
        """Where the repository lies."""
        return self._place

    def publish(
        self, bundle: Path, *, family: str | None = None, floor: int | None = None, makers: Sequence[OfferMaker] = ()
    ) -> Published:
        """Sign a bundle as the next release of its family, and put its files into the repository.

        A family that is new here gets a key of its own, signed for by `targets`. A bundle that is a release already
        changes nothing; files of it that got lost are written again.

        Args:
            bundle: a folder with a `manifest.json`.
            family: the name under which it is published; the manifest's own by default.
            floor: the lowest release of the family that may still be started; it stays as it is by default.
            makers: of deltas, from the last releases of the family.

        Raises:
            ModelError, ManifestError: no bundle, or a damaged one.
            InputError: keys are missing, a passphrase is wrong, or the floor would fall or rise above the release.
            RefusedError: this very bundle was revoked.
            TrustError, RepositoryError: the registry is damaged, expired, or not there.
            DiskFullError: no room.
        """
        manifest = check_files(bundle)
        raw = (bundle / "manifest.json").read_bytes()
        family = check_name("family", manifest.name if family is None else family)
        digest = hashlib.sha256(raw).hexdigest()
        with self._place.lock():
            held = self._load()
            known = next((each for each in releases_of(held, family) if each.sha256 == digest), None)
            if known is not None:
                _refuse_revoked(known)
                size_bytes = self._put(bundle, manifest, raw, (family, known.release), held, makers)
                return replace(self._publish_again(held, known, floor), size_bytes=size_bytes)
            release = last_release(held, family) + 1
            edition = self._edition(held)
            signed_family = self._delegated(held, edition, family)
            lowest = _raise_floor(signed_family, family, floor, most=release)
            note = TargetNote(name=manifest.name, version=manifest.version, made_ms=self._clock.wall_ms())
            _add_target(signed_family, target_path(family, release), raw, note)
            signed_family.unrecognized_fields[LAST_FIELD] = release
            signed = edition.sign()
            size_bytes = self._put(bundle, manifest, raw, (family, release), held, makers)
            signed.write(self._place)
        return Published(
            family=family,
            release=release,
            floor=lowest,
            is_new=True,
            is_waiting=signed.is_waiting,
            size_bytes=size_bytes,
        )

    def withdraw(self, family: str, release: int) -> Outcome:
        """Offer a release to nobody any more; devices that run it go on, and say so.

        Raises:
            InputError: there is no such release, or keys are missing.
            RefusedError: it is revoked, which ends with its entry: devices that were off would go on with it.
            TrustError, RepositoryError, DiskFullError: as `publish`.
        """
        with self._place.lock():
            held = self._load()
            if all(each.release != release for each in releases_of(held, family)) and 0 < release <= last_release(
                held, family
            ):
                return self._finish(held)
            known = release_named(held, family, release)
            if known.revoked:
                raise RefusedError(
                    f"{family} release {release} is revoked ({known.revoked}) and cannot be withdrawn: devices that "
                    "did not hear of it yet would go on"
                )
            edition = self._edition(held)
            del edition.family(family).targets[target_path(family, release)]
            return self._write(edition.sign())

    def revoke(self, family: str, release: int | None = None, *, why: str = "", below: int | None = None) -> Outcome:
        """Make devices leave a release that they run, or forbid to start any release below one.

        Args:
            family: of the release.
            release: the one to leave, None for none.
            why: for people; signed, and shown on every device.
            below: the family's new floor.

        Raises:
            InputError: nothing to do, no reason, no such release, a floor that would fall, or keys are missing.
            TrustError, RepositoryError, DiskFullError: as `publish`.
        """
        if release is None and below is None:
            raise InputError("revoke what? name a release, or the lowest one that may still start with --below")
        if release is not None and not why.strip():
            raise InputError("a release is revoked for a reason, which every device shows; give it with --why")
        with self._place.lock():
            held = self._load()
            if family not in held.families:
                release_named(held, family, release or 0)  # which says what there is
            is_revoked = release is None or release_named(held, family, release).revoked == why
            if is_revoked and below in {None, floor_of(held.families[family].signed)}:
                return self._finish(held)
            edition = self._edition(held)
            signed_family = edition.family(family)
            _raise_floor(signed_family, family, below, most=last_release(held, family) + 1)
            if release is not None:
                target = signed_family.targets[target_path(family, release)]
                target.unrecognized_fields["custom"] = custom_of(replace(note_of(target), revoked=why))
            return self._write(edition.sign())

    def refresh(self, *, is_offline: bool = False) -> tuple[str, ...]:
        """Sign snapshot and timestamp anew, with all that offline keys have signed since: the centre's daily job.

        Args:
            is_offline: sign root, targets and families anew too, for another year or two; needs the offline keys.

        Returns:
            The roles that have a new version.

        Raises:
            InputError: keys are missing.
            TrustError, RepositoryError, DiskFullError: as `publish`.
        """
        with self._place.lock():
            held = load(self._place)
            edition = self._edition(held)
            if is_offline:
                edition.root()
                edition.targets()
                for family in held.families:
                    edition.family(family)
            signed = edition.sign(is_renewing=True)
            signed.write(self._place)
        return tuple(piece.role for piece in signed.pieces)

    def releases(self) -> tuple[Release, ...]:
        """Every release that is signed now, by family and number, revoked ones included.

        Raises:
            TrustError, RepositoryError: the registry is damaged or not there; a date that has passed is no obstacle.
        """
        held = load(self._place)
        return tuple(each for family in sorted(held.families) for each in releases_of(held, family))

    def wanted(self, family: str, release: int | None = None) -> Wanted:
        """What an assignment says of a release; the newest that may be started where none is named.

        Raises:
            InputError: there is no such release.
            RefusedError: it is revoked, or below the floor.
            TrustError, RepositoryError: as `releases`.
        """
        return wanted_of(load(self._place), family, release)

    def manifest(self, family: str, release: int) -> Manifest:
        """The manifest of a release.

        Raises:
            InputError: there is no such release.
            ManifestError: a newer version wrote it.
            TrustError, RepositoryError: as `releases`.
        """
        return self._manifest(release_named(load(self._place), family, release))

    def due(self, within_ms: int) -> str:
        """What devices take no more by then, and what to do about it, in one sentence; empty: nothing.

        Raises:
            TrustError, RepositoryError: as `releases`.
        """
        return load(self._place).due(utc(self._clock.wall_ms() + within_ms))

    def trust(self) -> bytes:
        """The content of the retained trust message, as it lies in the repository.

        Raises:
            NotInRepositoryError, RepositoryError: there is none.
        """
        return self._place.read(TRUST_FILE)

    def sign_assignment(self, assignment: Assignment) -> bytes:
        """What `dn/want` retains: an encoded `contract.trust.Signed`.

        Raises:
            InputError: the online key is not here, or its passphrase is wrong.
        """
        return self._message(ASSIGNMENTS_ROLE, encode_assignment(assignment))

    def sign_time(self, nonce: bytes, now_ms: int) -> bytes:
        """The answer to a device that asks what o'clock it is: `now_ms` over its `nonce`, encoded.

        Raises:
            InputError: as `sign_assignment`.
        """
        return self._message(TIME_ROLE, encode_time_token(TimeToken(nonce=nonce, time_ms=now_ms)))

    def _message(self, role: str, payload: bytes) -> bytes:
        entries = self._ring.current(role)
        keyids = [entry.keyid for entry in entries]
        signers = self._ring.signers_at_hand(keyids, len(keyids)) or self._ring.signers(keyids, 1, role)
        signatures = {signer.public_key.keyid: signature(signer, payload, role).signature for signer in signers}
        return encode_signed(SignedMessage(payload=payload, signatures=signatures))

    def _load(self) -> Held:
        held = load(self._place)
        held.check_dates(self._now(), is_online_too=False)
        return held

    def _now(self) -> datetime:
        return utc(self._clock.wall_ms())

    def _edition(self, held: Held) -> Edition:
        return Edition(held, self._ring, self._now())

    def _finish(self, held: Held) -> Outcome:
        """Nothing to change; what an earlier change left undone is done."""
        if held.is_complete:
            write_trust(self._place, held)
            return Outcome(is_new=False)
        signed = self._edition(held).sign()
        signed.write(self._place)
        return Outcome(is_new=False, is_waiting=signed.is_waiting)

    def _publish_again(self, held: Held, known: Release, floor: int | None) -> Published:
        """A bundle that is a release already; its floor may rise."""
        if floor in {None, known.floor}:
            outcome, lowest = self._finish(held), known.floor
        else:
            edition = self._edition(held)
            lowest = _raise_floor(edition.family(known.family), known.family, floor, most=known.release)
            outcome = self._write(edition.sign())
        return Published(
            family=known.family,
            release=known.release,
            floor=lowest,
            is_new=outcome.is_new,
            is_waiting=outcome.is_waiting,
        )

    def _write(self, signed: Signed) -> Outcome:
        signed.write(self._place)
        return Outcome(is_new=True, is_waiting=signed.is_waiting)

    def _delegated(self, held: Held, edition: Edition, family: str) -> Targets:
        """The family's next metadata; `targets` delegates it first where it is new."""
        if family not in held.families:
            role = held.root.signed.get_delegated_role("targets")
            self._ring.signers(role.keyids, role.threshold, "targets")  # before a key is made that nobody signs for
            name = family_role(family)
            entries = self._ring.current(name) or (self._ring.make(name),)
            keys = [self._ring.public(entry.keyid) for entry in entries]
            delegate(edition.targets(), name, f"models/{family}/*", keys)
        return edition.family(family)

    def _put(
        self,
        bundle: Path,
        manifest: Manifest,
        raw: bytes,
        release: tuple[str, int],
        held: Held,
        makers: Sequence[OfferMaker],
    ) -> int:
        """Write what is not there: files, the manifest that names them, then deltas. Returns the bytes written."""
        family, number = release
        size_bytes = put_files(self._place, bundle, manifest)
        path = target_file(family, number, hashlib.sha256(raw).hexdigest())
        if self._place.size(path) != len(raw):
            self._place.write(path, raw)
            size_bytes += len(raw)
        before = [each for each in releases_of(held, family) if each.release < number] if makers else []
        bases = [self._manifest(each) for each in before[-_BASES:]]
        return size_bytes + offer_deltas(self._place, manifest, bases, makers)

    def _manifest(self, release: Release) -> Manifest:
        return decode_manifest(self._place.read(target_file(release.family, release.release, release.sha256)))


def _refuse_revoked(known: Release) -> None:
    if known.revoked:
        raise RefusedError(
            f"this bundle is {known.family} release {known.release}, which was revoked: {known.revoked}; publish "
            "another one"
        )


def _raise_floor(signed: Targets, family: str, floor: int | None, *, most: int) -> int:
    """Set a family's floor where one is given; returns what it is then."""
    before = floor_of(signed)
    if floor is None:
        return before
    if not before <= floor <= most:
        raise InputError(
            f"the floor of {family} can be {before} to {most}, not {floor}: it never falls, and the next "
            "release must be above it"
        )
    signed.unrecognized_fields[FLOOR_FIELD] = floor
    return floor


def _add_target(signed: Targets, path: str, raw: bytes, note: TargetNote) -> None:
    from tuf.api.metadata import TargetFile

    target = TargetFile.from_data(path, raw, ["sha256"])
    target.unrecognized_fields["custom"] = custom_of(note)
    signed.targets[path] = target
