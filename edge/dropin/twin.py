"""The quantised twin of a float model, converted from the same network and left beside it.

Promises: a twin has the same name but for its precision and the same tensors but for their type; its input's
quantisation then says which range of pixels the float model was trained on, which the float file itself does not.
Leaves out: opening the twin; its flatbuffer is read, never run.
Thread: any.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from edge.compute.tensors import Quantization, TensorSpec
from edge.dropin.flatbuffer import Table, root
from edge.dropin.found import Candidate

__all__ = ["find_twin"]

_PRECISION = re.compile(r"[-_.](float(32|16)?|fp?(32|16)|quant(ized)?|u?int8|full|integer)(?=$|[-_.])")
_UINT8, _INT8 = 3, 9  # TensorType
_DTYPES = {_UINT8: np.dtype(np.uint8), _INT8: np.dtype(np.int8)}
_LARGEST_TWIN_BYTES = 256 << 20


def find_twin(candidate: Candidate) -> tuple[str, TensorSpec] | None:
    """File name and input of a quantised TFLite model beside this one with the same tensors, or None."""
    if candidate.kind != "tflite":
        return None
    wanted = _plain(candidate.path.stem)
    for path in sorted(candidate.path.parent.glob("*.tflite")):
        if path == candidate.path or _plain(path.stem) != wanted or not path.is_file():
            continue
        spec = _quantised_input(path, candidate)
        if spec is not None:
            return path.name, spec
    return None


def _plain(stem: str) -> str:
    """A file's name without the words for its precision."""
    return _PRECISION.sub("", stem.lower())


def _quantised_input(path: Path, candidate: Candidate) -> TensorSpec | None:
    try:
        if path.stat().st_size > _LARGEST_TWIN_BYTES:
            return None
        graph = root(path.read_bytes(), b"TFL3").tables(2)[0]
        inputs, outputs = graph.integers(1), graph.integers(2)
        tensors = graph.tables(0)
        shapes = [tensors[index].integers(0) for index in (*inputs, *outputs)]
        if shapes != [spec.shape for spec in (*candidate.report.inputs, *candidate.report.outputs)]:
            return None
        return _spec(tensors[inputs[0]])
    except (OSError, ValueError, IndexError):
        return None


def _spec(tensor: Table) -> TensorSpec | None:
    dtype, quantization = _DTYPES.get(tensor.integer(1, "b")), tensor.table(4)
    if dtype is None or quantization is None:
        return None
    scales, zero_points = quantization.reals(2), quantization.integers(3, "q")
    if len(scales) != 1 or len(zero_points) != 1:
        return None
    known = Quantization(scale=scales[0], zero_point=zero_points[0])
    return TensorSpec(name=tensor.text(3), shape=tensor.integers(0), dtype=dtype, quantization=known)
