"""Folders of signed releases: `slots/<pipeline>/<sha256 of the manifest>/`.

Promises: a slot's folder is there whole or not at all; nothing in it is used before its bytes were hashed, and the
bytes that were hashed are the bytes that run; the factory's model lies elsewhere and is never touched.
Leaves out: which release shall run (`machine`), where files come from (`fetch`), signatures (`receipt`).
Thread: `updates`; `load` also from a pipeline's thread. A folder is not changed once it is in place, its choice
and its number aside.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from edge.contract.ids import check_name
from edge.contract.manifest import BundleFile, Manifest, Variant, decode_manifest
from edge.device.updates.choice import Choice, decode_choice, encode_choice
from edge.device.updates.record import Release
from edge.durable import Disk
from edge.errors import EdgeError, ManifestError, TrustError
from edge.reading import open_file, read_whole

__all__ = ["MANIFEST_NAME", "SLOTS_NAME", "CheckReceipt", "HeldModel", "Slots", "needed_files"]

_log = logging.getLogger(__name__)

SLOTS_NAME = "slots"  # of the folder of all of them, in the data folder
MANIFEST_NAME = "manifest.json"
_RECEIPT_NAME = "receipt"
_RELEASE_NAME = "release.json"
_CHOICE_NAME = "choice.json"
_INCOMING_NAME = ".incoming"
_OURS = frozenset({MANIFEST_NAME, _RECEIPT_NAME, _RELEASE_NAME, _CHOICE_NAME})

_LARGEST_MANIFEST_BYTES = 16 << 20  # labels of a recommender are the largest that was seen: 2 MB
_LARGEST_MODEL_BYTES = 2 << 30  # a flatbuffer's and a protobuf's own limit
_PIECE_BYTES = 1 << 20

# Verify that the manifest with these bytes was signed, by the receipt that came with it; raises TrustError.
CheckReceipt: TypeAlias = Callable[[bytes, bytes], object]

# What a device needs of a bundle besides a variant.
_ROLES = frozenset({"labels", "vocabulary", "golden"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldModel:
    """What a slot holds, read once and verified: `content` is the model of `variant`."""

    folder: Path
    manifest: Manifest
    variant: Variant
    content: bytes


def needed_files(manifest: Manifest, variants: Collection[Variant]) -> tuple[Variant | BundleFile, ...]:
    """The files of a bundle that a slot holds, each name once.

    Raises:
        ManifestError: a name that leads elsewhere, or that is ours.
    """
    listed: tuple[Variant | BundleFile, ...] = (*variants, *(each for each in manifest.files if each.role in _ROLES))
    for each in listed:
        parts = Path(each.file).parts
        if each.file.startswith("/") or ".." in parts or not parts or each.file in _OURS:
            raise ManifestError(f"manifest.json names {each.file!r}, which is no name for a file of a bundle")
    return tuple({each.file: each for each in listed}.values())


class Slots:
    """All slots of one device."""

    def __init__(self, folder: Path, check_receipt: CheckReceipt, disk: Disk | None = None) -> None:
        """`folder` is made when the first slot is written."""
        self._folder = folder
        self._check_receipt = check_receipt
        self._disk = disk or Disk()

    def path(self, slot: str, release: Release) -> Path:
        """Where a release lies, or would."""
        return self._folder / check_name("slot", slot) / release.sha256

    def has(self, slot: str, release: Release) -> bool:
        """Whether its folder is there; `check` says whether it is sound."""
        return self.path(slot, release).is_dir()

    def releases(self, slot: str) -> tuple[Release, ...]:
        """Those that lie here, in no order."""
        found = []
        for file in sorted((self._folder / slot).glob(f"*/{_RELEASE_NAME}")):
            try:
                release = msgspec.json.decode(file.read_bytes(), type=Release)
            except (OSError, msgspec.DecodeError):
                continue  # a spoilt one cannot be chosen; `check` would refuse it as well
            if release.sha256 == file.parent.name:
                found.append(release)
        return tuple(found)

    def find_file(self, sha256: str) -> Path | None:
        """A file of any slot that has this digest by its manifest, to make another one of; None: none has."""
        for path in sorted(self._folder.glob(f"*/*/{MANIFEST_NAME}")):
            try:
                manifest = decode_manifest(path.read_bytes())
            except (OSError, ManifestError):
                continue
            named: tuple[Variant | BundleFile, ...] = (*manifest.variants, *manifest.files)
            for listed in named:
                if listed.sha256 == sha256 and (path.parent / listed.file).is_file():
                    return path.parent / listed.file
        return None

    def incoming(self, slot: str) -> Path:
        """Where files of a slot grow, each under its digest; made here.

        Raises:
            OSError: the disk.
        """
        folder = self._folder / check_name("slot", slot) / _INCOMING_NAME
        self._disk.make_folder(folder)
        return folder

    def keep_incoming(self, slot: str, digests: Collection[str]) -> None:
        """Remove what grows for other files than these.

        Raises:
            OSError: the disk.
        """
        for path in sorted(self.incoming(slot).iterdir()):
            if not any(digest in path.name for digest in digests):
                path.unlink()

    def write(
        self, slot: str, release: Release, manifest_raw: bytes, receipt: bytes, files: Mapping[str, Path]
    ) -> None:
        """Make a slot of files that lie elsewhere (by name in the manifest); they stay there.

        Every byte is hashed on its way. When this returns, the slot outlives a power cut.

        Raises:
            TrustError: a file is not the one that the manifest describes. Nothing was changed.
            OSError: the disk. Nothing was changed.
        """
        target = self.path(slot, release)
        part = target.with_name(f".{release.sha256}.part")
        manifest = decode_manifest(manifest_raw)
        variants = [each for each in manifest.variants if each.file in files]
        self._disk.remove(part)
        self._disk.make_folder(part)
        try:
            for listed in needed_files(manifest, variants):
                self._disk.make_folder((part / listed.file).parent)
                self._disk.write(part / listed.file, _checked(files[listed.file], listed))
            self._disk.write(part / MANIFEST_NAME, [manifest_raw])
            self._disk.write(part / _RECEIPT_NAME, [receipt])
            self._disk.write(part / _RELEASE_NAME, [msgspec.json.encode(release)])
            for folder in sorted({part, *((part / each).parent for each in files)}):
                self._disk.sync_folder(folder)
            self._disk.remove(target)  # one that was there and did not pass its check
            self._disk.put_in_place(part, target)
        except BaseException:
            self._disk.remove(part)
            raise

    def manifest(self, slot: str, release: Release) -> bytes:
        """The bytes of a release's manifest, as they were signed.

        Raises:
            TrustError: they are not, or nothing lies here.
        """
        folder = self.path(slot, release)
        try:
            raw = read_whole(folder / MANIFEST_NAME, most_bytes=_LARGEST_MANIFEST_BYTES)
            receipt = read_whole(folder / _RECEIPT_NAME, most_bytes=_LARGEST_MANIFEST_BYTES)
        except OSError as err:
            raise TrustError(f"{folder}: {err.strerror or err}") from err
        if hashlib.sha256(raw).hexdigest() != release.sha256:
            raise TrustError(f"{folder / MANIFEST_NAME} is not the one that was signed")
        self._check_receipt(receipt, raw)
        return raw

    def check(self, slot: str, release: Release) -> Manifest:
        """Hash everything that lies in a slot again, and its signature's chain.

        Raises:
            TrustError: something is missing or not what it was.
        """
        folder = self.path(slot, release)
        manifest = decode_manifest(self.manifest(slot, release))
        present = [each for each in manifest.variants if (folder / each.file).is_file()]
        if not present:
            raise TrustError(f"{folder} holds no variant of its bundle")
        for listed in needed_files(manifest, present):
            for _ in _checked(folder / listed.file, listed):
                pass
        return manifest

    def variants(self, slot: str, release: Release, manifest: Manifest) -> tuple[Variant, ...]:
        """Those whose files lie in the slot, in the manifest's order."""
        folder = self.path(slot, release)
        return tuple(each for each in manifest.variants if (folder / each.file).is_file())

    def load(self, slot: str, release: Release) -> HeldModel:
        """Read what shall run: once, and only what is as it was signed. Needs neither network nor clock.

        Raises:
            TrustError: it is not.
        """
        folder = self.path(slot, release)
        manifest = decode_manifest(self.manifest(slot, release))
        variant = self._chosen(slot, release, manifest)
        try:
            content = read_whole(folder / variant.file, most_bytes=_LARGEST_MODEL_BYTES)
        except OSError as err:
            raise TrustError(f"{folder / variant.file}: {err.strerror or err}") from err
        if hashlib.sha256(content).hexdigest() != variant.sha256:
            raise TrustError(f"{folder / variant.file} is not the file that was signed")
        return HeldModel(folder=folder, manifest=manifest, variant=variant, content=content)

    def renumber(self, slot: str, release: Release) -> None:
        """Note by which path a release that lies here is known now: the same bytes may be signed under a new number.

        Raises:
            OSError: the disk.
        """
        if release not in self.releases(slot):
            self._disk.replace(self.path(slot, release) / _RELEASE_NAME, msgspec.json.encode(release))

    def choice(self, slot: str, release: Release) -> Choice | None:
        """What was measured here when the release was probed; None: nothing, or it cannot be read."""
        try:
            return decode_choice((self.path(slot, release) / _CHOICE_NAME).read_bytes())
        except (OSError, EdgeError):
            return None

    def keep_choice(self, slot: str, release: Release, choice: Choice) -> None:
        """Lay it beside the model.

        Raises:
            OSError: the disk.
        """
        self._disk.replace(self.path(slot, release) / _CHOICE_NAME, encode_choice(choice))

    def keep_only(self, slot: str, releases: Collection[Release | None]) -> None:
        """Remove every other release of a slot, and what was left half made of one.

        Raises:
            OSError: the disk.
        """
        kept = {each.sha256 for each in releases if each is not None}
        folder = self._folder / check_name("slot", slot)
        for each in sorted(folder.iterdir()) if folder.is_dir() else ():
            if each.name not in {*kept, _INCOMING_NAME}:
                self._disk.remove(each)

    def _chosen(self, slot: str, release: Release, manifest: Manifest) -> Variant:
        """What was measured decides; where it was never kept, the manifest's order."""
        present = self.variants(slot, release, manifest)
        choice = self.choice(slot, release)
        found = [each for each in present if choice is None or choice.file == each.file]
        if not found:
            raise TrustError(f"{self.path(slot, release)} lacks the variant that it is to run")
        if choice is None:
            _log.warning("%s: no choice is kept beside %s; taking %s", slot, release.target, found[0].file)
        return found[0]


def _checked(path: Path, listed: Variant | BundleFile) -> Iterator[bytes]:
    """The pieces of a file; after the last one it has turned out to be the one that is listed.

    Raises:
        TrustError: it is not, or cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with open_file(path) as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
                yield piece
    except OSError as err:
        raise TrustError(f"{path}: {err.strerror or err}") from err
    if digest.hexdigest() != listed.sha256:
        raise TrustError(
            f"{path} is not the {listed.file} that was signed: {size} bytes with sha256 {digest.hexdigest()[:12]}..., "
            f"expected {listed.size_bytes} with {listed.sha256[:12]}..."
        )
