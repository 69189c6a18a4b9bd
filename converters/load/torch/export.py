"""From a PyTorch module to float files: the one exporter for PyTorch and for Keras on PyTorch.

Promises: batch and sizes are those of the example; tensors in, tensors out, in their order; a format that its exporter
cannot make is a note with the exporter's reason, so that another way can be tried.
Leaves out: opening a module (`source`, `load.keras`), cleaning what was written (`converters.graph`).
Thread: main, in a child process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from converters.load.exported import exported, where
from converters.load.messages import Converted, ConvertRequest
from converters.load.onnx_names import name_tensors
from converters.spec import FloatFile, Format, Note, Signature
from converters.usercode import first_line
from edge.engines.open import open_engine
from edge.errors import MissingExtraError, ModelError, UnsupportedSourceError

__all__ = ["export", "has_converter_wheel", "no_converter_here"]

_OPSET = 18
_FLOAT_BYTES = 4
_LARGE_BYTES = 200_000_000


def export(
    module: Any, examples: tuple[Any, ...], signature: Signature, request: ConvertRequest, *, parameters: int
) -> Converted:
    """Write the wanted formats.

    Args:
        module: an `nn.Module` in evaluation mode that takes and gives flat tensors in the signature's order.
        examples: one tensor for each input, of its frozen shape.
        signature: names and shapes.
        request: formats and where to.
        parameters: of the model, counted; with many of them memory comes first.

    Raises:
        MissingExtraError: an exporter is not installed, and could be.
        MemoryError: it ran out.
    """
    is_large = parameters * _FLOAT_BYTES > _LARGE_BYTES
    writers: dict[Format, Callable[..., str]] = {"tflite": partial(_tflite, is_large=is_large), "onnx": _onnx}
    files: list[FloatFile] = []
    notes: list[Note] = []
    for wanted in request.formats:
        path = where(request.folder, wanted)
        _give_memory_back()
        try:
            made_by = writers[wanted](module, examples, path, signature)
            files.append(exported(path, wanted, made_by, signature))
        except UnsupportedSourceError as err:
            code, _, message = str(err).partition(" ")
            notes.append(Note(code=f"W{code[1:]}", message=message))
    return Converted(files=tuple(files), notes=tuple(notes))


def has_converter_wheel() -> bool:
    """Whether litert-converter is published for this machine: Linux on x86-64 and macOS on ARM."""
    return (sys.platform, platform.machine()) in {("linux", "x86_64"), ("darwin", "arm64")}


def no_converter_here() -> str:
    """Why PyTorch and Keras do not become TFLite on this machine."""
    return (
        f"E601 litert-converter has no wheel for {platform.machine()}; convert on an x86-64 PC "
        "(edge convert --float-only), then quantize and verify here"
    )


def _give_memory_back() -> None:
    """What was freed, to the system: loading takes twice what it keeps."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def _tflite(module: Any, examples: tuple[Any, ...], path: Path, _signature: Signature, *, is_large: bool) -> str:
    if importlib.util.find_spec("litert_torch") is None:
        if has_converter_wheel():
            raise MissingExtraError("litert-torch", "torch")
        raise UnsupportedSourceError(no_converter_here())
    import litert_torch

    try:
        # Constants stay outside the graph: VGG16 takes 3.0 GB in place of 3.5, EfficientNet keeps two multiplications.
        made = litert_torch.convert(module, examples, strict_export="auto", lightweight_conversion=is_large)
        made.export(str(path))
    except MemoryError:
        raise
    except Exception as err:
        raise UnsupportedSourceError(f"E505 litert-torch cannot make TFLite of it: {_reason(err)}") from err
    return f"litert-torch {metadata.version('litert-torch')}"


def _onnx(module: Any, examples: tuple[Any, ...], path: Path, signature: Signature) -> str:
    import torch

    if importlib.util.find_spec("onnxscript") is None:
        raise MissingExtraError("onnxscript", "torch")
    try:
        torch.onnx.export(
            module,
            examples,
            str(path),
            dynamo=True,
            external_data=False,
            opset_version=_OPSET,
            input_names=[port.name for port in signature.inputs],
            output_names=[port.name for port in signature.outputs],
            verbose=False,
        )
    except MemoryError:
        raise
    except Exception as err:
        raise UnsupportedSourceError(f"E505 PyTorch cannot make ONNX of it: {_reason(err)}") from err
    name_tensors(path)
    try:
        open_engine(path.read_bytes()).close()
    except ModelError as err:  # a float times an integer has been seen to come out without a Cast
        raise UnsupportedSourceError(f"E505 PyTorch makes an ONNX file that does not open: {first_line(err)}") from err
    return f"torch {torch.__version__.partition('+')[0]}"


def _reason(err: BaseException) -> str:
    """The innermost exception's words: exporters wrap them in advice about themselves."""
    while err.__cause__ is not None:
        err = err.__cause__
    return first_line(err)
