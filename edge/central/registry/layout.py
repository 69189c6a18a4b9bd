"""Where everything lies in a repository: static files, so that a web server or a USB stick is one too.

Promises: paths are relative, with `/` between their parts, and made of checked names and digests only.
Leaves out: what the files hold.
Thread: any; pure.
"""

from __future__ import annotations

from edge.contract.asks import check_digest
from edge.contract.trust import target_path

__all__ = ["TIMESTAMP", "TRUST", "blob_path", "metadata_name", "metadata_path", "offers_path", "target_file"]

TIMESTAMP = "metadata/timestamp.json"  # the one file of metadata that is replaced; all others have a version
TRUST = "trust.bin"  # all metadata that a device needs, in one file


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
    """A file of a bundle. Raises `ProtocolError` for what is no sha256."""
    return f"blobs/{check_digest(digest)[:2]}/{digest}"


def offers_path(digest: str) -> str:
    """The other ways to get that file. Raises `ProtocolError` for what is no sha256."""
    return f"offers/{check_digest(digest)}.json"
