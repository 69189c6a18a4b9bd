"""What signatures stand for: names of roles and targets, and what is signed.

Promises: one signed target per release of a bundle, its `manifest.json`; every other file of the bundle is named there
by sha256. A release is a whole number that grows, so that "older" means the same everywhere. Bytes that carry a
signature are kept and passed on as they were signed, never encoded anew.
Leaves out: keys and signing (`central.registry`), verifying (`device.updates.trust`), cryptography.
Thread: any; pure.

Roles, after The Update Framework 1.0: `root` and `targets` offline, one delegated role per family offline, `snapshot`
and `timestamp` online. Two more are delegated by `targets` to online keys and sign no targets: `assignments` says which
release a device shall run, `time` what o'clock it is, over the asking device's own nonce.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec
from msgspec import Struct

from edge.contract.bodies import UNREADABLE
from edge.contract.ids import check_name
from edge.errors import InputError, ProtocolError

__all__ = [
    "ASSIGNMENTS_ROLE",
    "FLOOR_FIELD",
    "TIME_ROLE",
    "Assignment",
    "Signed",
    "TargetNote",
    "TimeToken",
    "TrustUpdate",
    "Wanted",
    "decode_assignment",
    "decode_note",
    "decode_signed",
    "decode_time_token",
    "decode_trust_update",
    "encode_assignment",
    "encode_signed",
    "encode_time_token",
    "encode_trust_update",
    "family_role",
    "parse_target",
    "role_family",
    "target_path",
]

ASSIGNMENTS_ROLE = "assignments"
TIME_ROLE = "time"
# Of a family's signed metadata: the lowest release that may still be started, a whole number. It never falls.
FLOOR_FIELD = "x-edge-floor"

_TARGET = re.compile(r"models/([A-Za-z0-9][A-Za-z0-9_.-]{0,62})/([1-9][0-9]{0,8})\.json")
_FAMILY_PREFIX = "models-"


def family_role(family: str) -> str:
    """The delegated role that signs the releases of a family.

    Raises:
        InputError: `family` is no name.
    """
    return f"{_FAMILY_PREFIX}{check_name('family', family)}"


def role_family(role: str) -> str | None:
    """The family whose releases this role signs; None for any other role."""
    family = role.removeprefix(_FAMILY_PREFIX)
    return family if role != family and _TARGET.fullmatch(f"models/{family}/1.json") else None


def target_path(family: str, release: int) -> str:
    """The path under which a release's manifest is signed.

    Raises:
        InputError: `family` is no name, or `release` is below 1.
    """
    path = f"models/{check_name('family', family)}/{release}.json"
    if _TARGET.fullmatch(path) is None:
        raise InputError(f"release {release}: expected a whole number from 1 to 999999999")
    return path


def parse_target(path: str) -> tuple[str, int]:
    """Family and release of a target's path.

    Raises:
        ProtocolError: no such path.
    """
    found = _TARGET.fullmatch(path)
    if found is None:
        raise ProtocolError(f"target {path!r}: expected models/<family>/<release>.json")
    return found[1], int(found[2])


class TargetNote(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The signed `custom` field of a target."""

    name: str  # the manifest's
    version: str  # the manifest's, as its maker counts
    made_ms: int = 0  # wall clock of whoever signed it
    revoked: str = ""  # why it must not run any more, even where it is active; empty: it may


class Wanted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one slot shall hold: the manifest of a release, by path, digest (sha256, hex) and size.

    An empty target (and digest) is the factory's model; a size of 0 means: as the signed metadata says.
    """

    target: str
    sha256: str
    size_bytes: int
    mode: Literal["run", "shadow"] = "run"  # shadow: beside the active one, and nothing is swapped
    share: float = 1.0  # of the items that a shadow sees, above 0 to 1


class Assignment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one device shall run, slot by slot (a slot bears the name of its pipeline). Signed by `assignments`.

    `rev` grows with each change for this device; a lower or equal one is old news.
    """

    fleet: str
    device: str
    rev: int
    slots: dict[str, Wanted] = {}
    rollout: str = ""  # what moved it last, for people


class TimeToken(Struct, frozen=True, kw_only=True):
    """The centre's clock in milliseconds since 1970, over the nonce (16 random bytes) that the device sent."""

    nonce: bytes
    time_ms: int


class Signed(Struct, frozen=True, kw_only=True):
    """Bytes, and who signed them: signature (hex) by key id."""

    payload: bytes
    signatures: dict[str, str]


class TrustUpdate(Struct, frozen=True, kw_only=True):
    """All metadata that a device needs to go from the first root to now, file name to signed bytes.

    Names are those of a TUF repository with consistent snapshots: "2.root.json", "timestamp.json", "5.snapshot.json",
    "4.targets.json", "7.models-digits.json".
    """

    files: dict[str, bytes]


_msgpack = msgspec.msgpack.Encoder()
_assignment_decoder = msgspec.msgpack.Decoder(Assignment)
_time_decoder = msgspec.msgpack.Decoder(TimeToken)
_signed_decoder = msgspec.msgpack.Decoder(Signed)
_update_decoder = msgspec.msgpack.Decoder(TrustUpdate)


def encode_assignment(assignment: Assignment) -> bytes:
    """MessagePack: what `Signed.payload` holds on `dn/want`."""
    return _msgpack.encode(assignment)


def decode_assignment(raw: bytes) -> Assignment:
    """Read an assignment, or raise `ProtocolError`."""
    try:
        return _assignment_decoder.decode(raw)
    except UNREADABLE as err:
        raise ProtocolError(f"assignment of {len(raw)} bytes: {err}") from err


def encode_time_token(token: TimeToken) -> bytes:
    """MessagePack: what `Signed.payload` holds in a `TimeReply`."""
    return _msgpack.encode(token)


def decode_time_token(raw: bytes) -> TimeToken:
    """Read a time token, or raise `ProtocolError`."""
    try:
        return _time_decoder.decode(raw)
    except UNREADABLE as err:
        raise ProtocolError(f"time token of {len(raw)} bytes: {err}") from err


def encode_signed(signed: Signed) -> bytes:
    """MessagePack."""
    return _msgpack.encode(signed)


def decode_signed(raw: bytes) -> Signed:
    """Read a signed message, or raise `ProtocolError`."""
    try:
        return _signed_decoder.decode(raw)
    except UNREADABLE as err:
        raise ProtocolError(f"signed message of {len(raw)} bytes: {err}") from err


def encode_trust_update(update: TrustUpdate) -> bytes:
    """MessagePack, not compressed."""
    return _msgpack.encode(update)


def decode_trust_update(raw: bytes) -> TrustUpdate:
    """Read a trust update, or raise `ProtocolError`."""
    try:
        return _update_decoder.decode(raw)
    except UNREADABLE as err:
        raise ProtocolError(f"trust update of {len(raw)} bytes: {err}") from err


def decode_note(custom: object) -> TargetNote:
    """Read a target's signed `custom` field.

    Raises:
        ProtocolError: another tool made it.
    """
    try:
        return msgspec.convert(custom, TargetNote)
    except msgspec.ValidationError as err:
        raise ProtocolError(f"custom field of a target: {err}; sign bundles with: edge publish") from err
