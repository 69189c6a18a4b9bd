"""Bundles: a folder with a `manifest.json`, or a model file beside one that lists it.

Promises: a file of a bundle is the one that its manifest describes, by sha256; names in a manifest never lead out of
its folder.
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

__all__ = ["Bundle", "beside", "check_variant", "open_bundle", "override"]

_NAME = "manifest.json"


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
    path = folder / _NAME
    if not path.is_file():
        raise ModelError(f"{folder} is a folder without a {_NAME}; name the model file itself")
    manifest = decode_manifest(path.read_bytes())
    if not manifest.variants:
        raise ManifestError(f"{path} lists no variants")
    if len({variant.engine for variant in manifest.variants}) == 1:
        return _with_variant(folder, manifest, manifest.variants[0])
    runnable = {status.kind for status in available() if status.runtime is not None}
    for variant in manifest.variants:
        if variant.engine in runnable:
            return _with_variant(folder, manifest, variant)
    wanted = ", ".join(sorted({variant.engine for variant in manifest.variants}))
    raise ModelError(f"{path} has variants for {wanted}, and no such engine works here")


def beside(model: Path) -> Bundle | None:
    """The bundle that a model file belongs to, or None: a manifest beside it that lists other files is not its own."""
    path = model.parent / _NAME
    if not path.is_file():
        return None
    manifest = decode_manifest(path.read_bytes())
    for variant in manifest.variants:
        if variant.file == model.name:
            return _with_variant(model.parent, manifest, variant)
    return None


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
        if variant.file == path.name and hashlib.sha256(content).hexdigest() != variant.sha256:
            raise ModelError(
                f"{path} is not the file that its {_NAME} describes: {len(content)} bytes, expected "
                f"{variant.size_bytes} with sha256 {variant.sha256[:12]}...; fetch it again"
            )


def _with_variant(folder: Path, manifest: Manifest, variant: Variant) -> Bundle:
    model = _inside(folder, variant.file)
    files = {}
    if isinstance(manifest.input, TextInput) and not isinstance(manifest.input.tokenizer, HashedNgrams):
        name = manifest.input.tokenizer.vocabulary
        try:
            files[name] = _inside(folder, name).read_bytes()
        except OSError as err:
            raise ManifestError(f"{folder / _NAME} names the vocabulary {name}: {err.strerror or err}") from err
    return Bundle(manifest=manifest, model=model, files=files)


def _inside(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ManifestError(f"{folder / _NAME} names {name!r}, which lies outside its folder")
    return folder / name
