"""Samples through a model, one by one or several at once.

Promises: samples run together only where that was seen to change nothing; what comes out is one array for each output,
(samples, *the output's shape), in the samples' order.
Leaves out: the frameworks; a model here is a function from arrays to arrays.
Thread: the loader's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from converters.load.messages import Predicted, PredictRequest
from converters.samples.arrays import read_arrays, write_arrays
from converters.spec import Signature
from converters.usercode import first_line
from edge.compute.tensors import Array
from edge.errors import InferenceError, InputError

__all__ = ["Call", "example", "failing", "most_at_once", "predict_by_call"]

Call: TypeAlias = Callable[[Sequence[Array]], Sequence[Array]]

_SEED = 9
_SAME = 1e-4  # of the largest answer: other kernels run for other batches
_MOST_AT_ONCE = 64
_NUMBERS_AT_ONCE = 1 << 20  # of the inputs: VGG16 keeps 64 numbers for each while it runs


def example(shape: Sequence[int], dtype: str) -> Array:
    """Numbers to try a model on: floats uniform in 0..1, integers 0 or 1, which every embedding has."""
    random = np.random.default_rng(_SEED)
    kind = np.dtype(dtype)
    drawn = random.random(shape) if kind.kind == "f" else random.integers(0, 2, shape)
    return np.asarray(drawn).astype(kind)


def most_at_once(call: Call, examples: Sequence[Array], answers: Sequence[Array]) -> int:
    """How many samples may run together: 1 unless a batch of two says of the first what it says alone."""
    if any(array.ndim == 0 or len(array) != 1 for array in (*examples, *answers)):
        return 1
    # Another sample beside the first: a model that mixes the samples of a batch shows by it.
    doubled = [np.concatenate([array, np.zeros_like(array)]) for array in examples]
    try:
        both = call(doubled)
    except InferenceError:  # its batch is fixed
        return 1
    for alone, together in zip(answers, both, strict=True):
        if together.shape != (2, *alone.shape[1:]) or not _is_close(together[:1], alone):
            return 1
    return max(1, min(_MOST_AT_ONCE, _NUMBERS_AT_ONCE // max(array.size for array in examples)))


def predict_by_call(call: Call, signature: Signature, at_once: int, request: PredictRequest) -> Predicted:
    """Run the samples of a request.

    Raises:
        InputError: another number of arrays than inputs, or other shapes.
        InferenceError: the model fails on a sample.
    """
    stacks = _read(request.inputs, signature)
    count = len(stacks[0])
    pieces = [
        _piece(call, signature, [stack[start : start + at_once] for stack in stacks])
        for start in range(0, count, at_once)
    ]
    outputs = [
        np.concatenate([piece[place] for piece in pieces]) if pieces else np.zeros((0, *port.shape), port.dtype)
        for place, port in enumerate(signature.outputs)
    ]
    write_arrays(Path(request.outputs), outputs, "output")
    return Predicted(samples=count)


def _piece(call: Call, signature: Signature, given: Sequence[Array]) -> list[Array]:
    """Outputs of some samples, each (samples, *port's shape). Several at once are one batch."""
    count = len(given[0])
    batch = [
        part.reshape((count * port.shape[0], *port.shape[1:]) if port.shape else ())
        for part, port in zip(given, signature.inputs, strict=True)
    ]
    return [
        np.asarray(answer).reshape(count, *port.shape)
        for answer, port in zip(call(batch), signature.outputs, strict=True)
    ]


def _read(path: str, signature: Signature) -> list[Array]:
    arrays = read_arrays(Path(path))
    ports = signature.inputs
    if len(arrays) != len(ports):
        names = ", ".join(port.name for port in ports)
        raise InputError(f"the model has {len(ports)} inputs ({names}), and the samples have {len(arrays)} arrays")
    for array, port in zip(arrays, ports, strict=True):
        wanted = (len(arrays[0]), *port.shape)
        if array.shape != wanted:
            raise InputError(f"input {port.name!r} wants samples of shape {wanted}, and these are {array.shape}")
    return [np.ascontiguousarray(array, dtype=port.dtype) for array, port in zip(arrays, ports, strict=True)]


def _is_close(one: Array, other: Array) -> bool:
    if one.dtype.kind != "f":
        return bool((one == other).all())
    finite = np.abs(other[np.isfinite(other)])
    scale = float(finite.max()) if finite.size else 0.0
    return bool(np.isclose(one, other, rtol=_SAME, atol=_SAME * min(scale, 1e6), equal_nan=True).all())


def failing(err: Exception) -> InferenceError:
    """What a framework raises at a sample, as ours."""
    return InferenceError(f"the source fails on a sample: {type(err).__name__}: {first_line(err)}")
