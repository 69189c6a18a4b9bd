"""From trained files to a bundle: measured, described, written.

Promises: accuracy is measured on the files themselves, in the engines the device uses; the same input gives the same
bytes.
Leaves out: training.
Thread: main.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from edge.compute.tensors import Array
from edge.contract.manifest import Manifest, Variant, encode_manifest
from edge.durable import write_atomic
from edge.engines.open import open_engine

__all__ = ["accuracies", "accuracy", "answers", "write"]


def accuracies(files: Mapping[str, bytes], held: Mapping[str, tuple[Array, Array]]) -> dict[str, float]:
    """`accuracy` of every file on every held-out part (inputs, classes), by "file_part", as the cards name them."""
    return {
        f"{name}_{part}": accuracy(content, inputs, classes)
        for part, (inputs, classes) in held.items()
        for name, content in files.items()
    }


def answers(content: bytes, inputs: Array) -> Array:
    """The best class of each input, (n,) int64. `inputs` (n, ...) float32, without the batch axis of the model."""
    engine = open_engine(content)
    try:
        return np.array([int(np.argmax(engine.run((one[None],))[0])) for one in inputs], np.int64)
    finally:
        engine.close()


def accuracy(content: bytes, inputs: Array, classes: Array) -> float:
    """Share of `inputs` whose best class is right, 0..1."""
    return float(np.mean(answers(content, inputs) == classes))


def write(folder: Path, manifest: Manifest, files: Mapping[str, bytes], card: str) -> None:
    """Write the files, `labels.txt`, `MODEL_CARD.md`, and last the `manifest.json` that names them by hash."""
    folder.mkdir(parents=True, exist_ok=True)
    variants = tuple(
        Variant(
            file=name,
            engine="tflite" if name.endswith(".tflite") else "onnx",
            precision="int8",
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
        )
        for name, content in files.items()
    )
    for name, content in files.items():
        write_atomic(folder / name, content)
    write_atomic(folder / "labels.txt", "".join(f"{label}\n" for label in manifest.labels).encode())
    write_atomic(folder / "MODEL_CARD.md", card.encode())
    write_atomic(folder / "manifest.json", encode_manifest(msgspec.structs.replace(manifest, variants=variants)))
