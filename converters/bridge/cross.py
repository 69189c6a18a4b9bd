"""From one format to the other, where a source's own framework has no way: ONNX to TFLite, TFLite to ONNX.

Promises: each tool runs in a process of its own with a cap on time and memory, its chatter in a log; a file comes out
only after the engines ran it beside its source and it answered alike; its outputs keep the source's order of axes, and
`axes` says where its inputs do not.
Leaves out: cleaning the file (`converters.graph`).
Thread: any; a call blocks until the file is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.bridge.layout import Aligned, AlignRequest
from converters.bridge.onnx2tf import Onnx2tfAnswer, Onnx2tfRequest
from converters.bridge.tf2onnx import Tf2onnxAnswer, Tf2onnxRequest
from converters.environments.making import Environment, Ready
from converters.spec import FloatFile, Format, Note
from edge.child import Child

__all__ = ["Bridged", "onnx_to_tflite", "tflite_to_onnx"]

_MEMORY_MB = 8192
_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridged:
    """The float file in the other format, and what a person should know of it."""

    file: FloatFile
    notes: tuple[Note, ...] = ()


def onnx_to_tflite(
    source: Path,
    folder: Path,
    *,
    ready: Ready | None = None,
    axes: Sequence[Sequence[int]] | None = None,
    memory_mb: int = _MEMORY_MB,
    timeout_s: float = _TIMEOUT_S,
    log: Path | None = None,
) -> Bridged:
    """Convert an ONNX file, all its sizes fixed, by onnx2tf.

    Args:
        source: the ONNX file.
        folder: exists; `model.fp32.tflite` is written into it.
        ready: the environment "onnx2tf"; by default it is made.
        axes: `FloatFile.axes` of `source`, where it has some of its own.
        memory_mb: private memory of each process, in units of 2^20 bytes.
        timeout_s: wall seconds for each step.
        log: what the tool says is appended to it.

    Raises:
        EnvironmentFailedError: onnx2tf's environment cannot be made.
        UnsupportedSourceError: onnx2tf cannot convert the model.
        RefusedError: it did, and the file answers differently.
        ChildError: it did not come back.
    """
    found = ready or Environment("onnx2tf").ensure()
    output = folder / "model.fp32.tflite"
    with Child(
        "converters.bridge.onnx2tf",
        what="onnx2tf",
        python=found.python,
        path=found.path,
        memory_mb=memory_mb,
        log=log,
    ) as child:
        request = Onnx2tfRequest(path=str(source), output=str(output))
        made = child.call("convert", request, Onnx2tfAnswer, timeout_s=timeout_s)
    aligned = _aligned(source, output, "onnx2tf", memory_mb, timeout_s, log)
    return Bridged(file=_file("tflite", output, made.made_by, aligned, axes), notes=_notes(made, aligned))


def tflite_to_onnx(
    source: Path,
    folder: Path,
    *,
    axes: Sequence[Sequence[int]] | None = None,
    memory_mb: int = _MEMORY_MB,
    timeout_s: float = _TIMEOUT_S,
    log: Path | None = None,
) -> Bridged:
    """Convert a TFLite file by tf2onnx, into `model.fp32.onnx`; for the rest see `onnx_to_tflite`.

    Raises:
        MissingExtraError: the extra "tensorflow" is not installed.
        UnsupportedSourceError, RefusedError, ChildError: as there.
    """
    output = folder / "model.fp32.onnx"
    with Child("converters.bridge.tf2onnx", what="tf2onnx", memory_mb=memory_mb, log=log) as child:
        request = Tf2onnxRequest(path=str(source), output=str(output))
        made = child.call("convert", request, Tf2onnxAnswer, timeout_s=timeout_s)
    aligned = _aligned(source, output, "tf2onnx", memory_mb, timeout_s, log)
    return Bridged(file=_file("onnx", output, made.made_by, aligned, axes))


def _aligned(source: Path, output: Path, what: str, memory_mb: int, timeout_s: float, log: Path | None) -> Aligned:
    """What does not answer alike does not stay."""
    try:
        with Child(
            "converters.bridge.layout", what=f"the check of {what}'s file", memory_mb=memory_mb, log=log
        ) as child:
            request = AlignRequest(reference=str(source), file=str(output), what=what)
            return child.call("align", request, Aligned, timeout_s=timeout_s)
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def _file(
    wanted: Format, path: Path, made_by: str, aligned: Aligned, axes: Sequence[Sequence[int]] | None
) -> FloatFile:
    content = path.read_bytes()
    before = axes or [range(len(order)) for order in aligned.axes]
    return FloatFile(
        format=wanted,
        path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        made_by=made_by,
        axes=tuple(tuple(earlier[axis] for axis in order) for earlier, order in zip(before, aligned.axes, strict=True)),
        parity_db=aligned.parity_db,
    )


def _notes(made: Onnx2tfAnswer, aligned: Aligned) -> tuple[Note, ...]:
    notes = []
    if made.narrowed:
        names = ", ".join(made.narrowed)
        notes.append(Note(code="I212", message=f"{names}: int64 in the ONNX file, int32 in the TFLite file"))
    for place, order in enumerate(aligned.axes):
        if list(order) != sorted(order):
            message = f"input {place} of the TFLite file has the axes {order} of the ONNX file's (channels last)"
            notes.append(Note(code="I213", message=message))
    return tuple(notes)
