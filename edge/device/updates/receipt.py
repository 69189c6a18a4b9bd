"""The load receipt: why a file in a slot may run, provable without network and clock.

Promises: made once, when a release is installed, from metadata that was fresh then; `check_receipt` verifies it at each
load, from the factory's root to the bytes of the manifest. Expiry plays no part: expired means "no new offer", never
"stop what runs".
Leaves out: where it lies (beside the slot), the manifest's other files (each hangs on it by sha256), floors and
revocations that came later (`trust`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from edge.contract.trust import family_role, parse_target
from edge.device.updates.signed import SignedTarget, find_target
from edge.device.updates.trust_tuf import HISTORY, Chain, file_name
from edge.errors import TrustError

__all__ = ["check_receipt", "make_receipt"]

_VERSION = 1


class _Receipt(Struct, frozen=True, kw_only=True):
    """`files`: the roots after the factory's, `targets` and the family's role, as they were signed."""

    version: int
    path: str
    files: dict[str, bytes]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Receipt)


def make_receipt(root: bytes, files: Mapping[str, bytes], path: str) -> bytes:
    """Collect what proves that `path` is signed; `files` is what is trusted now, by name.

    Raises:
        TrustError: it proves nothing of the kind.
    """
    family, _ = parse_target(path)
    kept = {file_name("targets"), file_name(family_role(family))}
    proof = {name: body for name, body in files.items() if name in kept or name.startswith(HISTORY)}
    _find(root, proof, path)
    return _encoder.encode(_Receipt(version=_VERSION, path=path, files=proof))


def check_receipt(root: bytes, receipt: bytes, manifest: bytes) -> SignedTarget:
    """What these bytes of a manifest are signed as. `root`: the factory's.

    Raises:
        TrustError: the receipt cannot be read, does not hold, or is for other bytes.
        MissingExtraError: python-tuf is not installed.
    """
    try:
        held = _decoder.decode(receipt)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        raise TrustError(f"load receipt of {len(receipt)} bytes: {err}; install the release again") from err
    if held.version != _VERSION:
        raise TrustError(f"load receipt of version {held.version}: expected {_VERSION}; install the release again")
    signed = _find(root, held.files, held.path)
    signed.check(manifest)
    return signed


def _find(root: bytes, files: Mapping[str, bytes], path: str) -> SignedTarget:
    signed = find_target(Chain(root, files), path)
    if signed is None:
        raise TrustError(f"{path}: the role of its family signs nothing there")
    return signed
