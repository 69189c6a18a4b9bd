"""Cleans a float file, in a child process: the largest ones need several times their size in memory.

Promises: see `graph.tflite.canonical` and `graph.onnx.canonical`; the cleaned file is written whole or not at all.
Leaves out: comparing it with its source (`floats`).
Thread: main, in a process of its own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec import Struct

from converters.graph import onnx, tflite
from converters.spec import Format, Signature
from edge.durable import write_atomic

__all__ = ["CleanRequest", "Cleaned", "clean"]


class CleanRequest(Struct, frozen=True, kw_only=True):
    """A float file, and the signature that it gets, in the file's own axes."""

    path: str
    format: Format
    signature: Signature
    output: str


class Cleaned(Struct, frozen=True, kw_only=True):
    """The file is written."""

    sha256: str
    size_bytes: int


def clean(request: CleanRequest) -> Cleaned:
    """Make a float file canonical.

    Raises:
        ModelError, RefusedError, MissingExtraError: as the cleaner of its format.
    """
    canonical = tflite.canonical if request.format == "tflite" else onnx.canonical
    content = canonical(Path(request.path).read_bytes(), request.signature)
    write_atomic(Path(request.output), content)
    return Cleaned(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
