"""The releases that the demo publishes: one that is better, and those that must never run.

Promises: every bundle is whole and its manifest names every file as it is, so a registry takes and signs it: signed
says who, never how good. What is wrong with a bundle is its model or its golden samples.
Leaves out: publishing (`publisher`); what becomes of them (`updates`).
Thread: any.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from edge.contract.manifest import BundleFile, Manifest, Variant, decode_manifest, encode_manifest
from edge.demo.misbehaving import hanging_onnx, killing_tflite, slowed_onnx
from edge.durable import write_atomic
from edge.engines.tiny import protobuf

__all__ = ["BETTER", "EARLY", "another", "hanging", "killing", "slow", "wrong_answers"]

_MODELS = Path(__file__).with_name("models")
EARLY = _MODELS / "digits-early"  # what the demo's device left the factory with
BETTER = _MODELS / "digits"
_MANIFEST = "manifest.json"
_GOLDEN = "golden.npz"
_SHAPE = (1, 28, 28, 1)
_CLASSES = 10
_INPUT = "input"
_ROUNDS = 40_000  # a microsecond each
_DOC_STRING = 6  # of an ONNX ModelProto, which says nothing about what is computed


def wrong_answers(folder: Path) -> Path:
    """The better model, with the golden samples of another one: somebody mixed up two files."""
    manifest = _copy(folder)
    shutil.copyfile(EARLY / _GOLDEN, folder / _GOLDEN)
    return _write(folder, manifest, "1.1.0")


def hanging(folder: Path) -> Path:
    """A model that opens and never answers."""
    manifest = _copy(folder)
    return _write(folder, _with_model(folder, manifest, "hanging.onnx", hanging_onnx(_SHAPE, _CLASSES)), "1.2.0")


def killing(folder: Path) -> Path:
    """A model that kills the process that opens it."""
    manifest = _copy(folder)
    return _write(folder, _with_model(folder, manifest, "killing.tflite", killing_tflite(_SHAPE, _CLASSES)), "1.3.0")


def slow(folder: Path) -> Path:
    """The better model, which takes its time: every answer is right, and comes after some 40 ms."""
    manifest = _copy(folder)
    onnx = next(variant for variant in manifest.variants if variant.engine == "onnx")
    content = slowed_onnx((folder / onnx.file).read_bytes(), _INPUT, _SHAPE, _ROUNDS)
    return _write(folder, _with_model(folder, manifest, onnx.file, content, onnx.precision), "1.4.0")


def another(folder: Path, version: str) -> Path:
    """The better model once more, with a note in its file: bytes of its own, the same answers."""
    manifest = _copy(folder)
    onnx = next(variant for variant in manifest.variants if variant.engine == "onnx")
    content = (folder / onnx.file).read_bytes() + protobuf(_DOC_STRING, version.encode())
    return _write(folder, _with_model(folder, manifest, onnx.file, content, onnx.precision), version)


def _copy(folder: Path) -> Manifest:
    shutil.copytree(BETTER, folder)
    return decode_manifest((folder / _MANIFEST).read_bytes())


def _with_model(folder: Path, manifest: Manifest, file: str, content: bytes, precision: str = "fp32") -> Manifest:
    """The bundle with this one model in place of its own."""
    for variant in manifest.variants:
        (folder / variant.file).unlink()
    (folder / file).write_bytes(content)
    engine: Literal["onnx", "tflite"] = "onnx" if file.endswith(".onnx") else "tflite"
    like = next(variant for variant in manifest.variants if variant.engine == engine)
    only = Variant(file=file, engine=engine, precision=precision, sha256="", size_bytes=0, tolerance=like.tolerance)
    return replace(manifest, variants=(only,))


def _write(folder: Path, manifest: Manifest, version: str) -> Path:
    """Put the manifest beside its files, with their digests as they are now."""
    whole = replace(
        manifest,
        version=version,
        variants=tuple(_measured(folder, each) for each in manifest.variants),
        files=tuple(_measured(folder, each) for each in manifest.files),
    )
    write_atomic(folder / _MANIFEST, encode_manifest(whole))
    return folder


def _measured(folder: Path, listed: Variant | BundleFile) -> Variant | BundleFile:
    content = (folder / listed.file).read_bytes()
    return replace(listed, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
