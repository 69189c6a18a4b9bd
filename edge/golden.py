"""Golden samples: inputs and what the trained model itself said of them, and how far an answer is from that.

Promises: same arrays, same bytes, whatever the time (with the same zlib); reading holds no more than the file may have
and runs nothing in it; an answer that is no number is infinitely far off.
Leaves out: choosing samples and tolerances (`converters`), running models (`selftest`).
Thread: any; pure.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.compute.tensors import Array
from edge.errors import InferenceError, InputError, ManifestError

__all__ = [
    "LARGEST_BYTES",
    "Golden",
    "decode_golden",
    "distance",
    "encode_golden",
    "is_counted",
    "reordered",
    "sample_distances",
]

LARGEST_BYTES = 256 << 20  # packed as well as unpacked: 8 pictures of 1600 x 1600 in float32
_MOST_TENSORS = 256  # of either side
_LEVEL = 6  # of deflate
_HOW = "make the bundle again"
_NUMBERS = "fiub"  # numpy's kinds: float, integer, unsigned, bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """One array for each input and output of a model, shape (samples, *tensor's shape).

    Inputs are real numbers, which a quantised model gets quantised; outputs are the source's own, not a variant's.
    """

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]

    @property
    def samples(self) -> int:
        """How many there are."""
        return int(self.inputs[0].shape[0])


def encode_golden(golden: Golden) -> bytes:
    """An `.npz` of `input_0`, `input_1`, ..., `output_0`, ...

    Raises:
        InputError: no samples, arrays of different lengths, or an output that is no number.
    """
    if problem := _problem(golden):
        raise InputError(f"these are no golden samples: {problem}")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for side, arrays in _sides(golden):
            for number, one in enumerate(arrays):
                entry = zipfile.ZipInfo(f"{side}_{number}.npy")  # of 1980, zip's own beginning, whatever the clock says
                archive.writestr(entry, _as_npy(one), zipfile.ZIP_DEFLATED, _LEVEL)
    return packed.getvalue()


def decode_golden(raw: bytes) -> Golden:
    """Read what `encode_golden` wrote.

    Raises:
        ManifestError: it is something else, cut short, damaged or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            size_bytes = sum(entry.file_size for entry in entries)
            if size_bytes > LARGEST_BYTES or len(entries) > 2 * _MOST_TENSORS:
                raise ManifestError(
                    f"golden samples of {len(entries)} tensors and {size_bytes:,} bytes, expected at most "
                    f"{2 * _MOST_TENSORS} and {LARGEST_BYTES:,}; {_HOW} with fewer"
                )
            arrays = {entry.filename.removesuffix(".npy"): _array(archive.read(entry)) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as err:
        raise ManifestError(f"these are no golden samples, or they were cut short ({err}); {_HOW}") from err
    golden = Golden(inputs=_numbered(arrays, "input"), outputs=_numbered(arrays, "output"))
    if problem := _problem(golden):
        raise ManifestError(f"these are no golden samples: {problem}; {_HOW}")
    return golden


def reordered(arrays: Sequence[Array], axes: Sequence[Sequence[int]]) -> tuple[Array, ...]:
    """Inputs (samples, *tensor's shape) in the order of axes that a variant has; empty `axes`: as they are.

    Raises:
        InferenceError: `axes` do not fit the arrays.
    """
    if not axes:
        return tuple(arrays)
    if len(axes) != len(arrays) or any(
        sorted(order) != list(range(array.ndim - 1)) for array, order in zip(arrays, axes, strict=True)
    ):
        raise InferenceError(f"axes {axes} do not fit inputs of {' and '.join(_sizes(array) for array in arrays)}")
    return tuple(
        np.ascontiguousarray(array.transpose(0, *(axis + 1 for axis in order)))
        for array, order in zip(arrays, axes, strict=True)
    )


def is_counted(expected: Array) -> bool:
    """Whether answers are compared by the share that differs (integers, yes and no) and not by how far off they are."""
    return expected.dtype.kind != "f"


def sample_distances(expected: Array, answers: Array) -> Array:
    """How far each answer is off, float64 (samples,).

    Of numbers the largest absolute difference, infinite where one is NaN; of integers the share that differs.

    Raises:
        InferenceError: their shapes differ.
    """
    if expected.shape != answers.shape:
        raise InferenceError(f"expected answers of shape {_sizes(expected)} a sample, got {_sizes(answers)}")
    rows = (len(expected), math.prod(expected.shape[1:]))
    wanted, got = expected.reshape(rows), answers.reshape(rows)
    if rows[1] == 0:
        return np.zeros(rows[0])
    if is_counted(expected):
        return np.asarray(np.mean(wanted != got, axis=1, dtype=np.float64))
    wanted, got = wanted.astype(np.float64), got.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinity less infinity, where both are the same
        off = np.where(wanted == got, 0.0, np.abs(wanted - got))
    largest: Array = np.max(np.where(np.isnan(off), np.inf, off), axis=1)
    return largest


def distance(expected: Array, answers: Array) -> float:
    """How far the answers are off over all samples: the number that a variant's `tolerance` bounds.

    Raises:
        InferenceError: as `sample_distances`.
    """
    each = sample_distances(expected, answers)
    return float(np.mean(each) if is_counted(expected) else np.max(each))


def _sides(golden: Golden) -> tuple[tuple[str, tuple[Array, ...]], ...]:
    return (("input", golden.inputs), ("output", golden.outputs))


def _numbered(arrays: dict[str, Array], side: str) -> tuple[Array, ...]:
    """`input_0`, `input_1`, ... as far as they go."""
    found: list[Array] = []
    while (name := f"{side}_{len(found)}") in arrays:
        found.append(arrays[name])
    return tuple(found)


def _problem(golden: Golden) -> str:
    for side, arrays in _sides(golden):
        if not arrays:
            return f"they have no {side}_0"
        if bad := [n for n, one in enumerate(arrays) if one.dtype.kind not in _NUMBERS]:
            return f"{side}_{bad[0]} holds {arrays[bad[0]].dtype}, expected numbers"
    counts = {one.shape[0] if one.ndim else 0 for one in (*golden.inputs, *golden.outputs)}
    if len(counts) > 1 or counts == {0}:
        return f"they have {_listed(counts)} samples, expected the same number everywhere, 1 at least"
    if bad := [n for n, one in enumerate(golden.outputs) if one.dtype.kind == "f" and np.isnan(one).any()]:
        return f"output_{bad[0]} has entries that are no number"
    return ""


def _as_npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _array(raw: bytes) -> Array:
    """One `.npy`, read without trusting its header.

    Raises:
        ValueError: it is something else, or not as long as it says.
    """
    file = io.BytesIO(raw)
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
        version
    )
    if read_header is None:
        raise ValueError(f"array format {version}")
    shape, is_fortran, dtype = read_header(file)
    if dtype.kind not in _NUMBERS or min(shape, default=0) < 0:
        raise ValueError(f"an array of {dtype}")
    content = raw[file.tell() :]
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes for an array of shape {shape}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def _sizes(array: Array) -> str:
    return "x".join(str(size) for size in array.shape[1:]) or "1 number"


def _listed(counts: Sequence[int] | set[int]) -> str:
    return " and ".join(str(count) for count in sorted(counts))
