"""Bundles: a folder with a `manifest.json`, or a model file beside one that lists it.

Promises: a file of a bundle is the one that its manifest describes, by sha256, labels and vocabularies included; names
in a manifest never lead out of its folder.
Leaves out: writing bundles (`converters`).
Thread: any.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from msgspec.structs import replace

from edge.contract.manifest import (
    Binary,
    BundleFile,
    Classify,
    Detect,
    HashedNgrams,
    Manifest,
    MultiLabel,
    TextInput,
    Variant,
    decode_manifest,
)
from edge.dropin.found import Overrides
from edge.dropin.labels import read_labels_file
from edge.engines.probe import available
from edge.errors import ManifestError, ModelError
from edge.reading import read_whole

__all__ = [
    "Bundle",
    "beside",
    "check_digest",
    "check_variant",
    "manifest_beside",
    "manifest_in",
    "open_bundle",
    "override",
    "path_inside",
    "read_listed",
    "with_variant",
]

_NAME = "manifest.json"
_LARGEST_BYTES = 256 << 20  # of a file that is no model; golden samples are the largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A manifest, the model file to run, and the vocabularies it names."""

    manifest: Manifest
    model: Path
    files: dict[str, bytes]


def open_bundle(folder: Path) -> Bundle:
    """The first variant of a folder that an engine here can run.

    Raises:
        ModelError: no manifest, or no variant for the engines at hand.
        ManifestError: the manifest is wrong, or names what is not there.
    """
    manifest = manifest_in(folder)
    path = folder / _NAME
    if not manifest.variants:
        raise ManifestError(f"{path} lists no variants")
    if len({variant.engine for variant in manifest.variants}) == 1:
        return with_variant(folder, manifest, manifest.variants[0])
    runnable = {status.kind for status in available() if status.runtime is not None}
    for variant in manifest.variants:
        if variant.engine in runnable:
            return with_variant(folder, manifest, variant)
    wanted = ", ".join(sorted({variant.engine for variant in manifest.variants}))
    raise ModelError(f"{path} has variants for {wanted}, and no such engine works here")


def beside(model: Path) -> Bundle | None:
    """The bundle that a model file belongs to, or None: a manifest beside it that lists other files is not its own.

    Raises:
        ManifestError: the manifest is wrong, or names what is not there.
    """
    manifest = manifest_beside(model)
    if manifest is None:
        return None
    variant = next(each for each in manifest.variants if each.file == model.name)
    return with_variant(model.parent, manifest, variant)


def manifest_in(folder: Path) -> Manifest:
    """The manifest of a bundle folder.

    Raises:
        ModelError: it has none.
        ManifestError: it is wrong.
    """
    path = folder / _NAME
    if not path.is_file():
        raise ModelError(f"{folder} is a folder without a {_NAME}; name the model file itself")
    return decode_manifest(path.read_bytes())


def manifest_beside(model: Path) -> Manifest | None:
    """The manifest in a model file's folder, if it lists that file.

    Raises:
        ManifestError: it is wrong.
    """
    path = model.parent / _NAME
    if not path.is_file():
        return None
    manifest = decode_manifest(path.read_bytes())
    return manifest if any(variant.file == model.name for variant in manifest.variants) else None


def override(manifest: Manifest, overrides: Overrides) -> Manifest:
    """Change what may be changed about a model that has a manifest.

    Raises:
        ManifestError: the flag contradicts how the manifest prepares or decodes.
    """
    fixed = {
        "--task": overrides.task,
        "--kind": overrides.kind,
        "--vocabulary": overrides.vocabulary,
        "--input-range": overrides.input_range,
        "--mean": overrides.mean,
        "--std": overrides.std,
        "--color": overrides.color,
        "--fit": overrides.fit,
    }
    if refused := [flag for flag, value in fixed.items() if value is not None]:
        raise ManifestError(f"the model has a manifest, which {refused[0]} cannot change; edit its {_NAME}")
    output = manifest.output
    if isinstance(output, Detect | MultiLabel | Binary) and overrides.threshold is not None:
        output = replace(output, threshold=overrides.threshold)
    if isinstance(output, Classify | MultiLabel | Binary) and overrides.scoring is not None:
        output = replace(output, scoring=overrides.scoring)
    if isinstance(output, Classify) and overrides.top_k is not None:
        output = replace(output, top_k=overrides.top_k)
    labels = manifest.labels
    if overrides.labels is not None:
        labels = read_labels_file(overrides.labels, classes=len(labels) or None)
    return replace(manifest, name=overrides.name or manifest.name, output=output, labels=labels)


def check_variant(content: bytes, path: Path, manifest: Manifest) -> None:
    """Compare a model with the entry that its manifest has for it.

    Raises:
        ModelError: size or sha256 differ.
    """
    for variant in manifest.variants:
        if variant.file == path.name:
            check_digest(content, path, variant)


def check_digest(content: bytes, path: Path, variant: Variant) -> None:
    """Compare a model with its entry. Raises as `check_variant`."""
    if complaint := _complaint(content, path, variant):
        raise ModelError(complaint)


def read_listed(folder: Path, listed: BundleFile) -> bytes:
    """A file of a bundle that is no model.

    Raises:
        ManifestError: it is not there, too large, or not the one that the manifest describes.
    """
    path = path_inside(folder, listed.file)
    try:
        content = read_whole(path, most_bytes=_LARGEST_BYTES)
    except OSError as err:
        raise ManifestError(f"{folder / _NAME} names the {listed.role} {listed.file}: {err.strerror or err}") from err
    if complaint := _complaint(content, path, listed):
        raise ManifestError(complaint)
    return content


def path_inside(folder: Path, name: str) -> Path:
    """The file that a manifest calls `name`.

    Raises:
        ManifestError: the name leads out of the folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ManifestError(f"{folder / _NAME} names {name!r}, which lies outside its folder")
    return folder / name


def with_variant(folder: Path, manifest: Manifest, variant: Variant) -> Bundle:
    """A bundle that runs `variant`; labels and vocabularies are read, and are the ones that the manifest describes.

    Raises:
        ManifestError: one of them is missing or another one.
    """
    model = path_inside(folder, variant.file)
    listed = {each.file: read_listed(folder, each) for each in manifest.files if each.role in {"labels", "vocabulary"}}
    files = {}
    if isinstance(manifest.input, TextInput) and not isinstance(manifest.input.tokenizer, HashedNgrams):
        name = manifest.input.tokenizer.vocabulary
        try:
            files[name] = listed[name] if name in listed else path_inside(folder, name).read_bytes()
        except OSError as err:
            raise ManifestError(f"{folder / _NAME} names the vocabulary {name}: {err.strerror or err}") from err
    return Bundle(manifest=manifest, model=model, files=files)


def _complaint(content: bytes, path: Path, listed: Variant | BundleFile) -> str:
    """What is wrong with a file, or "" for nothing."""
    if hashlib.sha256(content).hexdigest() == listed.sha256:
        return ""
    return (
        f"{path} is not the file that its {_NAME} describes: {len(content)} bytes, expected {listed.size_bytes} "
        f"with sha256 {listed.sha256[:12]}...; fetch it again"
    )
