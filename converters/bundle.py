"""Writes bundles: a folder that a device can trust.

Promises: the same content gives the same bytes; every file is named in `manifest.json` by sha256 and size; the manifest
is taken away first and written last, so that a bundle that was being written is never one that can be opened; what an
earlier bundle left behind in the folder is removed, and nothing else is.
Leaves out: choosing variants (`choose`), signing.
Thread: main.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import replace

from converters.spec import Format
from edge.compute.tensors import Array
from edge.contract.manifest import BundleFile, Manifest, Variant, decode_manifest, encode_manifest
from edge.durable import write_atomic
from edge.errors import InputError, ManifestError
from edge.golden import Golden, distance, encode_golden, is_counted

__all__ = ["BundleVariant", "tolerance", "withdraw", "write_bundle", "write_card"]

_MANIFEST = "manifest.json"
_CARD = "MODEL_CARD.md"
_Role: TypeAlias = Literal["labels", "vocabulary", "golden", "validation", "card"]
# Twice the error that was seen, for other processors round differently, and a share of the outputs' size on top.
_MARGIN = 2.0
_MOST = 0.5  # of the outputs' size: a margin beyond it would let another model's answers pass
_SLACK = {True: 0.01, False: 0.0005}  # of integers and of float files
_COUNTED_SLACK = 0.1  # a list or a mask may differ in one place of ten where scores are close


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleVariant:
    """A file that goes into a bundle."""

    content: bytes
    name: str  # of the file
    format: Format
    precision: str
    tolerance: tuple[float, ...]
    axes: tuple[tuple[int, ...], ...] = ()  # see `edge.contract.manifest.Variant`


def tolerance(golden: Golden, answers: Sequence[Sequence[Array]], *, is_integer: bool) -> tuple[float, ...]:
    """How far each output of a variant may be from the golden ones on any processor.

    The margin ends where it would be half of the outputs' size; what was seen, with some slack, always passes.

    Args:
        golden: inputs and the source's own outputs.
        answers: what the variant said to these inputs, on each engine that ran it.
        is_integer: whether it computes or stores integers.
    """
    allowed = []
    for place, expected in enumerate(golden.outputs):
        seen = max((distance(expected, outputs[place]) for outputs in answers), default=0.0)
        if is_counted(expected):
            allowed.append(min(1.0, _MARGIN * seen + _COUNTED_SLACK))
        else:
            size = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0))
            slack = _SLACK[is_integer] * size
            allowed.append(_rounded(max(seen + slack, min(_MARGIN * seen + slack, _MOST * size))))
    return tuple(allowed)


def write_bundle(
    folder: Path,
    manifest: Manifest,
    variants: Sequence[BundleVariant],
    *,
    golden: Golden | None = None,
    vocabularies: Mapping[str, bytes] | None = None,
    validation: bytes = b"",
    card: str = "",
) -> Manifest:
    """Write the files, and last the manifest that names them; returns it.

    Raises:
        InputError: no variants, or two files of one name.
        OSError: the disk took no more; the folder holds no manifest then.
    """
    parts: list[tuple[str, _Role, bytes]] = []
    if manifest.labels:
        parts.append(("labels.txt", "labels", "".join(f"{label}\n" for label in manifest.labels).encode()))
    parts += [(name, "vocabulary", content) for name, content in sorted((vocabularies or {}).items())]
    if golden is not None:
        parts.append(("golden.npz", "golden", encode_golden(golden)))
    if validation:
        parts.append(("validation.json", "validation", validation))
    if card:
        parts.append((_CARD, "card", card.encode()))
    contents = {variant.name: variant.content for variant in variants} | {name: raw for name, _, raw in parts}
    if not variants or len(contents) != len(variants) + len(parts) or _MANIFEST in contents:
        raise InputError(f"a bundle needs variants, and files of different names; got {', '.join(contents) or 'none'}")
    complete = replace(
        manifest,
        variants=tuple(_variant(variant) for variant in variants),
        files=tuple(
            BundleFile(file=name, role=role, sha256=hashlib.sha256(raw).hexdigest(), size_bytes=len(raw))
            for name, role, raw in parts
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    for name, raw in contents.items():
        write_atomic(folder / name, raw)
    write_atomic(folder / _MANIFEST, encode_manifest(complete))
    return complete


def withdraw(folder: Path) -> None:
    """Make a bundle one that cannot be opened: its manifest goes, and its files stay, for they may be somebody's own.

    Raises:
        InputError: the manifest is none of ours.
    """
    if _earlier(folder) is not None:
        (folder / _MANIFEST).unlink()


def write_card(folder: Path, text: str) -> None:
    """Put a model card into a bundle that is there, in place of the one it has; its manifest is written anew.

    Raises:
        OSError: the folder cannot be written; the bundle is as it was, or has no manifest.
        ManifestError: it is no bundle.
    """
    path = folder / _MANIFEST
    manifest, raw = decode_manifest(path.read_bytes()), text.encode()
    card = BundleFile(file=_CARD, role="card", sha256=hashlib.sha256(raw).hexdigest(), size_bytes=len(raw))
    path.unlink()
    write_atomic(folder / _CARD, raw)
    others = (listed for listed in manifest.files if listed.role != "card")
    write_atomic(path, encode_manifest(replace(manifest, files=(*others, card))))


def _variant(variant: BundleVariant) -> Variant:
    return Variant(
        file=variant.name,
        engine=variant.format,
        precision=variant.precision,
        sha256=hashlib.sha256(variant.content).hexdigest(),
        size_bytes=len(variant.content),
        tolerance=variant.tolerance,
        axes=variant.axes,
    )


def _clear(folder: Path) -> None:
    """Take an earlier bundle away: its manifest first, then the files that the manifest names."""
    old = _earlier(folder)
    if old is None:
        return
    (folder / _MANIFEST).unlink()
    for name in [*(variant.file for variant in old.variants), *(listed.file for listed in old.files)]:
        if Path(name).name == name:  # a name that leads elsewhere was not written by us
            (folder / name).unlink(missing_ok=True)


def _earlier(folder: Path) -> Manifest | None:
    """The manifest that is there."""
    path = folder / _MANIFEST
    try:
        return decode_manifest(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ManifestError, msgspec.DecodeError) as err:
        raise InputError(f"{path} is no manifest of ours ({err}); give another folder") from err


def _rounded(value: float) -> float:
    """Three digits: enough for a bound, and the same on every run."""
    return float(f"{value:.3g}")
