"""Calibration samples, read from their archive one at a time.

Promises: never more than one sample of each input in memory, however large the archive; a sample that does not fit the
model is one sentence before anything runs.
Leaves out: whether the samples are any good (`converters.samples.calibrate`).
Thread: main, in a child process.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from edge.compute.tensors import Array, TensorSpec
from edge.errors import InputError

__all__ = ["stream"]


def stream(path: Path, specs: Sequence[TensorSpec]) -> Iterator[dict[str, Array]]:
    """The samples of an `.npz`, each as one tensor for each input, by the input's name, in its shape and dtype.

    The archive holds one array for each input, in their order, shape (samples, *the input's shape).

    Raises:
        InputError: it cannot be read, or does not fit `specs`.
    """
    try:
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(path))
            members = [stack.enter_context(archive.open(name)) for name in archive.namelist()]
            if len(members) != len(specs):
                names = ", ".join(spec.name for spec in specs)
                raise InputError(f"the model has {len(specs)} inputs ({names}), and {path.name} has {len(members)}")
            rows = [_rows(member, spec, path) for member, spec in zip(members, specs, strict=True)]
            for sample in zip(*rows, strict=True):
                yield {spec.name: tensor for spec, tensor in zip(specs, sample, strict=True)}
    except (OSError, ValueError, zipfile.BadZipFile) as err:
        raise InputError(f"{path} holds no samples that can be read: {err}") from err


def _rows(member: IO[bytes], spec: TensorSpec, path: Path) -> Iterator[Array]:
    shape, dtype = _header(member)
    if shape[1:] != spec.shape:
        wanted = ", ".join(("n", *map(str, spec.shape)))
        raise InputError(f"{path.name}: input {spec.name!r} wants samples ({wanted}), got {shape}")
    size_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
    for _ in range(shape[0]):
        raw = member.read(size_bytes)
        if len(raw) != size_bytes:
            raise InputError(f"{path.name} was cut short")
        yield np.frombuffer(raw, dtype).reshape(shape[1:]).astype(spec.dtype)


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and dtype of an array in NumPy's format, whose numbers come next."""
    major, _ = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(member)
    if is_fortran and len(shape) > 1:
        raise InputError("samples are stored column by column; save them with numpy.ascontiguousarray")
    if dtype.hasobject:
        raise InputError("samples are Python objects; save them as numbers")
    return shape, dtype
