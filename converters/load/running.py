"""What loaders of finished files share: such a source speaks through the engine that a device runs it on.

Promises: sizes come from real runs, never from what a file declares; real numbers go in and come out.
Leaves out: the formats (`onnx`, `tflite`).
Thread: the loader's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from converters.load.messages import OpenRequest, Predicted, PredictRequest
from converters.samples.arrays import read_arrays, write_arrays
from converters.spec import FloatFile, Format, Port, Signature
from edge.compute.tensors import Array, TensorSpec, dequantize, quantize
from edge.durable import write_atomic
from edge.engines.api import Engine
from edge.errors import InputError, UnsupportedSourceError

__all__ = ["MOST_THREADS", "float_file", "predict_by", "settle", "sha256_of", "signature_of"]

MOST_THREADS = min(4, os.cpu_count() or 1)  # of a source that is asked for its answers
_SEED = 9


def sha256_of(content: bytes) -> str:
    """Lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def settle(name: str, sizes: Sequence[int | str | None], place: int, request: OpenRequest) -> tuple[int, ...]:
    """The shape of input number `place`, with nothing left free.

    Args:
        name: of the input.
        sizes: what the file declares; a free size is its symbol, or None.
        place: of the input in the model's order.
        request: has the batch, and shapes that a person gave.

    Raises:
        InputError: a given shape that does not fit what the file declares.
        UnsupportedSourceError: a size besides the batch is free, and nobody gave it.
    """
    if request.input_shapes:
        given = request.input_shapes[place] if place < len(request.input_shapes) else ()
        if len(given) != len(sizes) or any(
            isinstance(size, int) and size != mine for size, mine in zip(sizes, given, strict=True)
        ):
            raise InputError(f"E521 input {name!r} is {_words(sizes)}, and the shape given is {_words(given)}")
        return tuple(given)
    batch = sizes[0] if sizes and not isinstance(sizes[0], int) else None
    settled: list[int] = []
    for axis, size in enumerate(sizes):
        is_batch = axis == 0 or (isinstance(size, str) and size == batch)
        if isinstance(size, int):
            settled.append(size)
        elif is_batch:
            settled.append(request.batch)
        else:
            raise UnsupportedSourceError(
                f"E521 input {name!r} is {_words(sizes)}: a device wants sizes that are fixed; give them all, batch "
                f"included, with: --input-shape {','.join('N' if axis else '1' for axis, _ in enumerate(sizes))}"
            )
    return tuple(settled)


def signature_of(engine: Engine) -> Signature:
    """Inputs and outputs of an opened model, from two runs on different numbers.

    A quantised tensor counts as float32: real numbers are what goes in and comes out.

    Raises:
        UnsupportedSourceError: an output has another size with other numbers.
        InferenceError: it does not run.
    """
    random = np.random.default_rng(_SEED)
    zeros = engine.run([np.zeros(spec.shape, spec.dtype) for spec in engine.inputs])
    others = engine.run([_drawn(random, spec) for spec in engine.inputs])
    for spec, one, other in zip(engine.outputs, zeros, others, strict=True):
        if one.shape != other.shape or 0 in one.shape:
            raise UnsupportedSourceError(
                f"E523 output {spec.name!r} has another size with other inputs ({one.shape}, {other.shape}); "
                "export the model without its last step (box suppression, search), which the device does itself"
            )
    return Signature(
        inputs=tuple(_port(spec, spec.shape) for spec in engine.inputs),
        outputs=tuple(_port(spec, array.shape) for spec, array in zip(engine.outputs, zeros, strict=True)),
    )


def predict_by(engine: Engine, request: PredictRequest) -> Predicted:
    """Run every sample through an opened model.

    Raises:
        InferenceError: a sample does not fit.
    """
    stacks = read_arrays(Path(request.inputs))
    answers: list[tuple[Array, ...]] = []
    for sample in zip(*stacks, strict=True):
        given = [quantize(np.asarray(one), spec) for one, spec in zip(sample, engine.inputs, strict=True)]
        answers.append(engine.run(given))
    outputs = [
        dequantize(np.stack([answer[place] for answer in answers]), spec) for place, spec in enumerate(engine.outputs)
    ]
    write_arrays(Path(request.outputs), outputs, "output")
    return Predicted(samples=len(answers))


def float_file(content: bytes, folder: str, wanted: Format, made_by: str, axes: Sequence[Sequence[int]]) -> FloatFile:
    """Write a float file into `folder` under its usual name."""
    path = Path(folder) / f"model.fp32.{wanted}"
    write_atomic(path, content)
    return FloatFile(
        format=wanted,
        path=str(path),
        sha256=sha256_of(content),
        size_bytes=len(content),
        made_by=made_by,
        axes=tuple(tuple(each) for each in axes),
    )


def _drawn(random: np.random.Generator, spec: TensorSpec) -> Array:
    if spec.dtype.kind == "f":
        return random.random(spec.shape).astype(spec.dtype)
    return random.integers(0, 2, spec.shape).astype(spec.dtype)


def _port(spec: TensorSpec, shape: Sequence[int]) -> Port:
    dtype = "float32" if spec.quantization is not None else spec.dtype.name
    return Port(name=spec.name, shape=tuple(int(size) for size in shape), dtype=dtype)


def _words(sizes: Sequence[int | str | None]) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in sizes) + "]"
