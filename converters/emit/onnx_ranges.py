"""The ranges of an ONNX model's tensors on samples.

Promises: the smallest and the largest number that each float tensor ever had, which is what scales are made from; the
99.9th percentile of its magnitudes on some samples beside it; taken once for a model and its samples, however many
files are made from them.
Leaves out: moving averages and clipped histograms: they were not better on any model measured, and an average clips.
Thread: main, in a child process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from converters.emit.onnx_samples import stream
from converters.graph.onnx_view import View, decode
from edge.compute.tensors import Array, TensorSpec
from edge.errors import InputError, RefusedError

__all__ = ["Seen", "watch"]

_CLOSE_LOOKS = 32  # samples whose distribution, and each channel's largest magnitude, is taken
_MOST_NUMBERS = 1 << 14  # of one tensor of one sample; larger ones are strided
_PERCENTILE = 99.9
_PICTURE = 4  # dimensions: batch, channels, height, width
_MASK = 1e4  # and as many times what is usual
_MOST_MODELS = 2  # the float file, and the same equalized

_KNOWN: dict[str, dict[str, Seen]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a tensor was seen to hold.

    `p999` is the 99.9th percentile of magnitudes, `top` that of the numbers; `channels` the largest magnitude of each
    channel (the second axis of pictures, the last of others) on the samples that were looked at closely; `histogram`
    (lower edge of the magnitude, count), one entry an octave, zeros at edge 0.
    """

    low: float
    high: float
    p999: float
    top: float
    channels: tuple[float, ...]
    histogram: tuple[tuple[float, int], ...]

    @property
    def peak(self) -> float:
        """The largest magnitude; infinite for a mask of -inf."""
        return max(abs(self.low), abs(self.high))

    @property
    def is_masked(self) -> bool:
        """Whether some numbers are so far below the others that 8 bits would leave these no step."""
        return not np.isfinite(self.peak) or (self.low < -_MASK and self.low < -_MASK * abs(self.top))


def watch(model: Path, samples: Path) -> dict[str, Seen]:
    """Run a canonical float file on samples; for each float tensor, by name, what it held.

    Raises:
        InputError: the samples do not fit, or there are none.
        RefusedError: the model makes NaN of them.
    """
    status = samples.stat() if samples.is_file() else None
    if status is None:
        raise InputError(f"{samples}: no such file of samples")
    key = f"{hashlib.sha256(model.read_bytes()).hexdigest()} {samples} {status.st_mtime_ns} {status.st_size}"
    if key not in _KNOWN:
        while len(_KNOWN) >= _MOST_MODELS:
            del _KNOWN[next(iter(_KNOWN))]
        _KNOWN[key] = _watch(model, samples)
    return _KNOWN[key]


def _watch(model: Path, samples: Path) -> dict[str, Seen]:
    view = View(model.read_bytes())
    specs = _inputs(view)
    names = [name for name in view.makers if name in view.floats]
    del view
    with TemporaryDirectory() as folder:
        session = _session(model, names, Path(folder) / "watched.onnx")
        watchers = {name: _Watcher() for name in (*names, *(spec.name for spec in specs))}
        count = 0
        for sample in stream(samples, specs):
            for name, values in (*sample.items(), *zip(names, session.run(names, sample), strict=True)):
                if values.size and values.dtype == np.float32:
                    watchers[name].take(values, is_close=count < _CLOSE_LOOKS)
            count += 1
    if not count:
        raise InputError(f"{samples.name} holds no samples")
    return {name: watcher.seen(name) for name, watcher in watchers.items() if watcher.is_used}


def _inputs(view: View) -> list[TensorSpec]:
    import onnx

    return [
        TensorSpec(
            name=value.name,
            shape=tuple(size.dim_value for size in value.type.tensor_type.shape.dim),
            dtype=np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
        )
        for value in view.inputs
    ]


def _session(file: Path, names: list[str], path: Path) -> Any:
    """The model with every float tensor as an output; through a file at `path`, to have it in memory once."""
    import onnx
    import onnxruntime

    model = decode(file.read_bytes())
    outputs = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    onnx.save(model, path)
    del model
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")  # a second copy of every weight
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class _Watcher:
    """Follows one tensor."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf
        self._channels: Array | None = None
        self._close: list[Array] = []
        self.is_used = False

    def take(self, values: Array, *, is_close: bool) -> None:
        self.is_used = True
        # NaN goes through both; min and max of Python would lose it
        self._low, self._high = np.minimum(self._low, values.min()), np.maximum(self._high, values.max())
        if not is_close:
            return
        if values.ndim > 1:
            own = 1 if values.ndim >= _PICTURE else values.ndim - 1
            largest = np.abs(values).max(axis=tuple(axis for axis in range(values.ndim) if axis != own))
            self._channels = largest if self._channels is None else np.maximum(self._channels, largest)
        flat = values.reshape(-1)
        self._close.append(flat[:: max(1, flat.size // _MOST_NUMBERS)].copy())

    def seen(self, name: str) -> Seen:
        if np.isnan(self._low):
            raise RefusedError(f"the model makes NaN of the samples, first in {name!r}; its ranges mean nothing")
        close = np.concatenate(self._close)
        magnitudes = np.abs(close)
        p999, top = (float(np.percentile(each, _PERCENTILE, method="lower")) for each in (magnitudes, close))
        return Seen(
            low=float(self._low),
            high=float(self._high),
            p999=p999,
            top=top,
            channels=() if self._channels is None else tuple(float(each) for each in self._channels),
            histogram=_octaves(magnitudes),
        )


def _octaves(magnitudes: Array) -> tuple[tuple[float, int], ...]:
    """How many numbers lie between a power of two and the next."""
    _, exponents = np.frexp(magnitudes[(magnitudes > 0) & np.isfinite(magnitudes)])
    edges, counts = np.unique(exponents - 1, return_counts=True)
    zeros = int((magnitudes == 0).sum())
    found = [(float(2.0**edge), int(count)) for edge, count in zip(edges.tolist(), counts.tolist(), strict=True)]
    return ((0.0, zeros), *found) if zeros else tuple(found)
