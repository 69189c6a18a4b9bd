"""A release of a family, as an offline role signed it.

Promises: what leaves here was read from verified metadata; the path, the family and the role that signed it agree.
Leaves out: verifying the metadata (`trust_tuf`), whether it may be started (`trust`).
Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.contract.asks import check_digest
from edge.contract.layout import target_file
from edge.contract.trust import TargetNote, decode_note, family_role, parse_target
from edge.device.updates.trust_tuf import Chain, Found
from edge.errors import InputError, ProtocolError, TrustError

__all__ = ["SignedTarget", "find_revoked", "find_target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTarget:
    """The manifest of one release. `sha256` in lower-case hexadecimal."""

    path: str
    family: str
    release: int
    sha256: str
    size_bytes: int
    note: TargetNote
    found: Found

    @property
    def file(self) -> str:
        """Where the static layout keeps it: what to hand to `Repository.read`, with `size_bytes`."""
        return target_file(self.family, self.release, self.sha256)

    def check(self, manifest: bytes) -> None:
        """Return when these are the signed bytes.

        Raises:
            TrustError: another size or digest.
        """
        self.found.check(manifest)


def find_revoked(chain: Chain, path: str, sha256: str) -> SignedTarget | None:
    """A revoked release of the same family with these very bytes, under whatever number; None where there is none.

    Raises:
        TrustError: as `find_target`.
    """
    family, _ = parse_target(path)
    for each in chain.paths(family_role(family)):
        found = find_target(chain, each)
        if found is not None and found.note.revoked and found.sha256 == sha256:
            return found
    return None


def find_target(chain: Chain, path: str) -> SignedTarget | None:
    """What the family's role signs under `path`; None where it signs nothing there (any more).

    Raises:
        TrustError: no path of a release, a family that nobody signs for, or signed by another tool.
    """
    try:
        family, release = parse_target(path)
        found = chain.target(family_role(family), path)
        if found is None:
            return None
        note = decode_note(found.custom)
        sha256 = check_digest(found.hashes.get("sha256", ""))
    except (InputError, ProtocolError) as err:
        raise TrustError(f"{path}: {err}") from err
    return SignedTarget(
        path=path,
        family=family,
        release=release,
        sha256=sha256,
        size_bytes=found.size_bytes,
        note=note,
        found=found,
    )
