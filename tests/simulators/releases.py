"""Signed releases without signatures: bundles whose receipt is the digest of their manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.device.updates.record import Release
from edge.errors import TrustError
from tests.simulators.bundles import write_bundle


def receipt_for(manifest: bytes) -> bytes:
    return b"signed:" + hashlib.sha256(manifest).hexdigest().encode()


def check_receipt(receipt: bytes, manifest: bytes) -> None:
    if receipt != receipt_for(manifest):
        raise TrustError("the receipt is for another manifest")


@dataclass(frozen=True)
class MadeRelease:
    """A release, and the files of its bundle by name."""

    release: Release
    manifest: bytes
    files: Mapping[str, Path]

    @property
    def receipt(self) -> bytes:
        return receipt_for(self.manifest)


def make_release(folder: Path, number: int, models: Mapping[str, bytes], family: str = "larger", **more) -> MadeRelease:
    write_bundle(folder, models, **more)
    manifest = (folder / "manifest.json").read_bytes()
    release = Release(
        target=f"models/{family}/{number}.json",
        sha256=hashlib.sha256(manifest).hexdigest(),
    )
    files = {path.name: path for path in folder.iterdir() if path.name != "manifest.json"}
    return MadeRelease(release, manifest, files)
