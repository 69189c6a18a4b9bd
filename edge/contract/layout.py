"""Where things stand in a repository of signed models, the same in a folder, on a web server and in a bucket.

Promises: a path that passed `check_path` names a small file of the repository and nothing outside it, whatever joins it
to a folder or a URL.

    metadata/<n>.<role>.json, metadata/timestamp.json     signed by the roles
    targets/models/<family>/<sha256>.<release>.json       manifests
    offers/<sha256>.json                                  other ways to get a blob
    blobs/<first two of sha256>/<sha256>                  everything else, by content
    trust.bin                                             all metadata that a device needs, in one piece

Leaves out: reading and writing (`central.registry`, `device.updates.repositories`).
Thread: any; pure.
"""

from __future__ import annotations

import re

from edge.contract.asks import check_digest
from edge.contract.trust import target_path
from edge.errors import ProtocolError

__all__ = [
    "MAX_TRUST_BYTES",
    "TIMESTAMP_FILE",
    "TRUST_FILE",
    "blob_path",
    "check_path",
    "metadata_name",
    "metadata_path",
    "offers_path",
    "target_file",
]

TIMESTAMP_FILE = "metadata/timestamp.json"  # the one file of metadata that is replaced; all others have a version
TRUST_FILE = "trust.bin"
MAX_TRUST_BYTES = 4 * 1024 * 1024  # unpacked: 30,000 targets and 256 roots; anything above is an attack

_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_PATH = re.compile(rf"(?:metadata|targets|offers)(?:/{_PART}){{1,4}}")
_MAX_PATH = 255


def metadata_name(role: str, version: int) -> str:
    """The file of a role in one version: "7.models-digits.json"; the timestamp's has no version."""
    return "timestamp.json" if role == "timestamp" else f"{version}.{role}.json"


def metadata_path(role: str, version: int) -> str:
    """The same, within the repository."""
    return f"metadata/{metadata_name(role, version)}"


def target_file(family: str, release: int, digest: str) -> str:
    """The manifest of a release, under its digest: "targets/models/digits/<sha256>.7.json".

    Raises:
        InputError, ProtocolError: no family, no release or no digest.
    """
    folder, _, name = target_path(family, release).rpartition("/")
    return f"targets/{folder}/{check_digest(digest)}.{name}"


def blob_path(digest: str) -> str:
    """Where the file with this sha256 (hex) stands.

    Raises:
        ProtocolError: `digest` is none.
    """
    return f"blobs/{check_digest(digest)[:2]}/{digest}"


def offers_path(digest: str) -> str:
    """Where the other ways to get that file stand. Raises as `blob_path`."""
    return f"offers/{check_digest(digest)}.json"


def check_path(path: str) -> str:
    """Return `path` when it names a small file of a repository.

    Raises:
        ProtocolError: it leads elsewhere.
    """
    if len(path) > _MAX_PATH or _PATH.fullmatch(path) is None:
        raise ProtocolError(f"file {path[:80]!r}: expected a name under metadata/, targets/ or offers/")
    return path
