"""Bundles made on the spot: a folder, its manifest, and golden samples of a model that takes the larger of x and 0."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edge.contract.manifest import BundleFile, Manifest, Regress, TensorInput, Variant, encode_manifest
from edge.golden import Golden, encode_golden

SAMPLES = np.array([[[-1.0, 2.0, -3.0, 4.0]], [[5.0, -6.0, 7.0, -8.0]], [[0.5, 0.25, -0.5, 1.0]]], np.float32)
RELU = Golden(inputs=(SAMPLES,), outputs=(np.maximum(SAMPLES, 0),))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_bundle(
    folder: Path,
    models: Mapping[str, bytes],
    *,
    golden: Golden | bytes | None = RELU,
    tolerance: Sequence[float] | Mapping[str, Sequence[float]] = (0.001,),
    others: Mapping[str, tuple[str, bytes]] | None = None,
) -> Path:
    """Write it. `others` are files by name: (role, content); `golden` None: the manifest lists none."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = dict(others or {})
    if golden is not None:
        listed["golden.npz"] = ("golden", golden if isinstance(golden, bytes) else encode_golden(golden))
    for name, content in {**models, **{name: content for name, (_, content) in listed.items()}}.items():
        (folder / name).write_bytes(content)
    variants = tuple(
        Variant(
            file=name,
            engine="onnx" if name.endswith(".onnx") else "tflite",
            precision="float32",
            sha256=digest(content),
            size_bytes=len(content),
            tolerance=tuple(tolerance.get(name, ()) if isinstance(tolerance, Mapping) else tolerance),
        )
        for name, content in models.items()
    )
    files = tuple(
        BundleFile(file=name, role=role, sha256=digest(content), size_bytes=len(content))
        for name, (role, content) in listed.items()
    )
    manifest = Manifest(name="larger", input=TensorInput(), output=Regress(), variants=variants, files=files)
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return folder
