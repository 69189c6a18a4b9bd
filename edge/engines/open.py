"""Opens a model from its bytes.

Promises: the kind of a file is told by its content, never by its name; what was hashed is what runs, because a path
is never handed to a runtime; a file of another tool is named in the refusal.
Leaves out: opening safely (`probe`), what the model means (`dropin`).
Thread: the one that will run the engine.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from edge.engines.api import Engine
from edge.engines.onnx import OnnxEngine
from edge.engines.protobuf import fields
from edge.engines.tflite import TfliteEngine
from edge.errors import InputError, ModelError

__all__ = ["MOST_THREADS", "EngineKind", "kind_of", "open_engine"]

MOST_THREADS = 64  # past every board; with many thousands LiteRT kills the process

EngineKind: TypeAlias = Literal["tflite", "onnx"]

_IDENT = slice(4, 8)  # a flatbuffer's file identifier
_GRAPH = 7  # ModelProto.graph

# First bytes of what people hand over instead of a model, and what to do about it.
_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "a Keras HDF5 file; convert it to .tflite or .onnx first"),
    (b"PK\x03\x04", "a zip archive (Keras, PyTorch or a download); unpack or convert it to .tflite or .onnx first"),
    (b"\x80\x02", "a Python pickle (PyTorch); export it to .onnx first"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x7fELF", "a program"),
    (b"<", "an HTML or XML page; was the download refused?"),
    (b"{", "a JSON file"),
)


def kind_of(content: bytes) -> EngineKind:
    """Which engine runs this file.

    Raises:
        ModelError: none; the message says what the file is instead, where it can be told.
    """
    if not content:
        raise ModelError("the model file is empty")
    if content[_IDENT] == b"TFL3":
        return "tflite"
    for start, what in _STRANGERS:
        if content.startswith(start):
            raise ModelError(f"not a model: this is {what}")
    if _is_onnx(content):
        return "onnx"
    raise ModelError("not a model: expected a .tflite or .onnx file, and this is neither (or it was cut short)")


def open_engine(content: bytes, *, threads: int = 1) -> Engine:
    """Open a model for running.

    Args:
        content: the whole file.
        threads: processor threads that one inference may use, 1 to `MOST_THREADS`.

    Raises:
        InputError: a number of threads that cannot be.
        ModelError: no model, or the runtime refuses it. A harmful file can still kill the process here; see `probe`.
        MissingExtraError: the engine is not installed.
    """
    if not 1 <= threads <= MOST_THREADS:
        raise InputError(f"threads {threads}: expected 1 to {MOST_THREADS}")
    match kind_of(content):
        case "tflite":
            return TfliteEngine(content, threads=threads)
        case "onnx":
            return OnnxEngine(content, threads=threads)


def _is_onnx(content: bytes) -> bool:
    """An ONNX file has no magic number: it is protobuf from end to end, with a graph in field 7."""
    try:
        # All of it is walked, so that a file which was cut short after its graph is noticed too.
        return _GRAPH in [number for number, value in fields(memoryview(content)) if not isinstance(value, int)]
    except ValueError:
        return False
