"""Samples of a model's inputs, as every step of a conversion passes them on.

Promises: one array for each input, in the source's order, shape (samples, *tensor's shape), in real numbers; on disk
one `.npz` that holds the same and nothing that has to be unpickled.
Leaves out: where they come from (`gather`), whether they are any good (`calibrate`).
Thread: any; a `Samples` is not written to.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converters.spec import Signature
from edge.compute.tensors import Array
from edge.durable import write_atomic

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Samples", "read_arrays", "synthetic", "write_arrays"]

_SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """`truth` is (n,) class indices int64, (n, k) 0/1 for many labels, or (n, k) float numbers; None: no labels.

    `shown` is what a person would look at: for each sample a uint8 RGB picture, a text, or None.
    """

    inputs: tuple[Array, ...]
    names: tuple[str, ...]
    origin: str
    truth: Array | None = None
    shown: tuple[Array | str | None, ...] = ()
    is_synthetic: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int], origin: str | None = None) -> Self:
        """Some of them, in this order."""
        chosen = np.asarray(rows, np.int64)
        return replace(
            self,
            inputs=tuple(array[chosen] for array in self.inputs),
            names=tuple(self.names[row] for row in rows),
            truth=None if self.truth is None else self.truth[chosen],
            shown=tuple(self.shown[row] for row in rows) if self.shown else (),
            origin=self.origin if origin is None else origin,
        )

    def spread(self, count: int) -> Self:
        """At most `count` of them, evenly spaced, so that data sorted by class keeps all classes."""
        if len(self) <= count:
            return self
        return self.take(self.rows(count), f"{self.origin}, {count} of {len(self)}")

    def rows(self, count: int) -> list[int]:
        """The numbers of those that `spread` keeps."""
        return sorted({int(row) for row in np.linspace(0, len(self) - 1, min(count, len(self))).round()})

    def save(self, path: Path) -> None:
        """Write the inputs as an `.npz` with one array for each, `input_0` first."""
        write_arrays(path, self.inputs, "input")


def write_arrays(path: Path, arrays: Sequence[Array], stem: str) -> None:
    """Write arrays as an uncompressed `.npz`, in their order, whole or not at all."""
    packed = io.BytesIO()
    np.savez(packed, **{f"{stem}_{place}": array for place, array in enumerate(arrays)})  # type: ignore[arg-type]
    write_atomic(path, packed.getvalue())


def read_arrays(path: Path) -> tuple[Array, ...]:
    """The arrays of an `.npz` in their order."""
    with np.load(path, allow_pickle=False) as archive:
        return tuple(archive[name] for name in archive.files)


def synthetic(signature: Signature, count: int) -> Samples:
    """Numbers without meaning, the same each time, to compare two files of one model by; never to calibrate with.

    Floats are uniform in 0..1, integers 0 or 1, which every embedding has.
    """
    random = np.random.default_rng(_SEED)
    made = []
    for port in signature.inputs:
        dtype = np.dtype(port.dtype)
        shape = (count, *port.shape)
        drawn = random.random(shape) if dtype.kind == "f" else random.integers(0, 2, shape)
        made.append(drawn.astype(dtype))
    return Samples(
        inputs=tuple(made),
        names=tuple(f"synthetic {row}" for row in range(count)),
        origin="synthetic numbers, for want of samples",
        is_synthetic=True,
    )
