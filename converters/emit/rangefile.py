"""The file of activation ranges: what calibration saw of every tensor.

Promises: JSON, same ranges, same bytes; it names the model it was taken from, by digest.
Leaves out: taking them (`ranges`).
Thread: any; pure.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from edge.durable import write_atomic
from edge.errors import InputError

__all__ = ["Range", "Ranges", "read_ranges", "write_ranges"]


class Range(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tensor. `low` and `high` over all samples; the rest over a few of them.

    `histogram`: (lower edge of |x|, count), one entry an octave, from the smallest up; zeros are at edge 0.
    `channels`: largest |x| of each channel, the last axis, for what convolutions and dense layers make.
    """

    low: float
    high: float
    p999: float | None = None  # 99.9th percentile of |x|, to 3 %
    histogram: tuple[tuple[float, int], ...] = ()
    channels: tuple[float, ...] = ()

    @property
    def largest(self) -> float:
        """Largest |x|."""
        return max(abs(self.low), abs(self.high))

    @property
    def width(self) -> float:
        """Of the range that integers cover; it holds the 0."""
        return max(self.high, 0.0) - min(self.low, 0.0)


class Ranges(Struct, frozen=True, kw_only=True):
    """Every float activation of a model, by the tensor's name."""

    format: int = 1
    model_sha256: str
    samples: int
    tensors: dict[str, Range]


def read_ranges(path: str, model_sha256: str) -> Ranges:
    """Read the ranges of one model.

    Raises:
        InputError: no such file, or the ranges are another model's.
    """
    try:
        ranges = msgspec.json.decode(Path(path).read_bytes(), type=Ranges)
    except (OSError, msgspec.DecodeError) as err:
        raise InputError(f"{path} holds no ranges: {err}; calibrate again") from err
    if ranges.model_sha256 != model_sha256:
        raise InputError(
            f"the ranges in {path} are of model {ranges.model_sha256[:12]}, this one is {model_sha256[:12]}; "
            "calibrate this one"
        )
    return ranges


def write_ranges(path: str, ranges: Ranges) -> None:
    """Write the file, whole or not at all."""
    write_atomic(Path(path), msgspec.json.encode(ranges, order="sorted") + b"\n")
