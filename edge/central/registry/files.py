"""The files of a bundle on their way into a repository, and the shorter ways to get them.

Promises: every file that a manifest lists becomes a blob under its sha256, read once and hashed as it was read. A file
that is there already is not written again. A shorter way is offered where it has at most `MOST_SHARE` of the bytes; one
that cannot be made is not offered, and nothing else comes of it: devices take the whole file.
Leaves out: making deltas (an `OfferMaker`), what is signed.
Thread: any; blocks as long as compressing does.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from edge.central.registry.place import Place
from edge.contract.asks import Offer, Offers, decode_offers, encode_offers
from edge.contract.layout import blob_path, offers_path
from edge.contract.manifest import BundleFile, Manifest, Variant
from edge.dropin.bundle import path_inside
from edge.errors import EdgeError, ManifestError, NotInRepositoryError, ProtocolError
from edge.reading import read_whole
from edge.zstd import pack

__all__ = ["MOST_SHARE", "OfferMaker", "listed_in", "offer_deltas", "put_files", "read_offers"]

# Writes to `out` what makes `new` from `base` (contract.delta), and returns its size in bytes. It runs in a process of
# its own and is bounded; an `EdgeError` says that it gave up.
OfferMaker: TypeAlias = Callable[[Path, Path, Path], int]

MOST_SHARE = 0.7  # of the whole file; a way that saves less is not worth a second file and its failures

_LARGEST_BYTES = 2 << 30
_LEVEL = 19  # of zstd: made once, fetched by a fleet
# Weights that level 3 leaves at 0.89 level 19 leaves there too, and needs a minute for 50 MB to say so.
_WORTH_TRYING = 0.8

_log = logging.getLogger(__name__)


def put_files(place: Place, folder: Path, manifest: Manifest) -> int:
    """Store all files of a bundle, and each compressed where that pays. Returns the bytes written.

    Raises:
        ManifestError: a file is missing, or is not the one that the manifest lists.
        DiskFullError, RepositoryError: it cannot be written; doing the same again goes on.
    """
    size_bytes = 0
    for listed in listed_in(manifest):
        content = _read(folder, listed)
        if place.size(blob_path(listed.sha256)) != len(content):
            place.write(blob_path(listed.sha256), content)
            size_bytes += len(content)
        if not _is_offered(place, listed.sha256, "") and len(pack(content)) <= _WORTH_TRYING * len(content):
            size_bytes += _offer(place, listed.sha256, len(content), pack(content, level=_LEVEL), base=None)
    return size_bytes


def listed_in(manifest: Manifest) -> tuple[Variant | BundleFile, ...]:
    """Every file of a bundle but the manifest itself."""
    return (*manifest.variants, *manifest.files)


def offer_deltas(place: Place, manifest: Manifest, bases: Sequence[Manifest], makers: Sequence[OfferMaker]) -> int:
    """Offer each variant as a delta from the same variant (engine, precision) of each of `bases`.

    Returns the bytes written.

    Raises:
        DiskFullError, RepositoryError: as `put_files`.
    """
    size_bytes = 0
    for variant in manifest.variants:
        for base in bases:
            size_bytes += sum(
                _offer_delta(place, old, variant, make)
                for old in base.variants
                if (old.engine, old.precision) == (variant.engine, variant.precision) and old.sha256 != variant.sha256
                for make in makers
            )
    return size_bytes


def read_offers(place: Place, digest: str) -> Offers:
    """The ways to get a file other than its blob; none where nothing readable is there: they are only hints.

    Raises:
        RepositoryError: the repository cannot be read.
    """
    try:
        return decode_offers(place.read(offers_path(digest)))
    except (NotInRepositoryError, ProtocolError):
        return Offers()


def _offer_delta(place: Place, old: Variant, new: Variant, make: OfferMaker) -> int:
    if _is_offered(place, new.sha256, old.sha256):
        return 0
    with tempfile.TemporaryDirectory(prefix="edge-delta-") as folder:
        before, after, out = (Path(folder) / name for name in ("base", "new", "delta"))
        try:
            before.write_bytes(place.read(blob_path(old.sha256)))
            after.write_bytes(place.read(blob_path(new.sha256)))
            make(before, after, out)
        except EdgeError as err:
            _log.warning("%s: no delta from %s: %s; devices take the whole file", new.file, old.sha256[:12], err)
            return 0
        content = out.read_bytes()
    # Devices that have the base take the smallest offer, so one that another undercuts would never be fetched.
    known = read_offers(place, new.sha256).offers
    least = min((offer.size_bytes for offer in known if offer.kind == "zstd"), default=new.size_bytes)
    return _offer(place, new.sha256, new.size_bytes, content, base=old.sha256) if len(content) < least else 0


def _is_offered(place: Place, digest: str, base: str) -> bool:
    """Whether a shorter way is offered, from `base` or compressed where that is empty, and is there."""
    return any(
        offer.base == base and place.size(blob_path(offer.sha256)) == offer.size_bytes
        for offer in read_offers(place, digest).offers
    )


def _offer(place: Place, digest: str, whole_bytes: int, content: bytes, *, base: str | None) -> int:
    """Store a shorter way, then say so; `base` is the base of a delta, None for zstd. Returns the bytes written."""
    if len(content) > MOST_SHARE * whole_bytes:
        return 0
    sha256 = hashlib.sha256(content).hexdigest()
    if place.size(blob_path(sha256)) != len(content):
        place.write(blob_path(sha256), content)
    offer = Offer(kind="zstd" if base is None else "delta", sha256=sha256, size_bytes=len(content), base=base or "")
    offers = {(each.kind, each.base): each for each in (*read_offers(place, digest).offers, offer)}
    ordered = Offers(offers=tuple(offers[key] for key in sorted(offers)))
    place.write(offers_path(digest), encode_offers(ordered))
    return len(content)


def _read(folder: Path, listed: Variant | BundleFile) -> bytes:
    path = path_inside(folder, listed.file)
    try:
        content = read_whole(path, most_bytes=_LARGEST_BYTES)
    except OSError as err:
        raise ManifestError(f"{folder / 'manifest.json'} names {listed.file}: {err.strerror or err}") from err
    if hashlib.sha256(content).hexdigest() != listed.sha256 or len(content) != listed.size_bytes:
        raise ManifestError(f"{path} is not the file that its manifest.json describes; make the bundle again")
    return content
