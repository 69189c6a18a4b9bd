"""Runs samples through a float file and writes down what range each tensor has.

Promises: the smallest and largest value over all samples, never an average of them (the quantizer's own calibration
averages, and clips: a dense net fell from 33 dB to 18 dB); memory for one tensor of one sample beyond the model and its
samples. Shapes of distributions come from a few samples, evenly spread.
Leaves out: whether the samples are any good (`calibrate`), what becomes of the ranges (`quantizer`).
Thread: main, in a process of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from converters.emit.quantizer import watch
from converters.emit.rangefile import Range, Ranges, write_ranges
from converters.graph.equalize import LAYERS
from converters.graph.flatbuffer import Graph, read_graph
from edge.compute.tensors import Array
from edge.errors import InputError, MissingExtraError, ModelError, RefusedError

__all__ = ["CollectRequest", "Collected", "collect", "ranges_of"]

_CLOSE_LOOKS = 32  # samples whose distributions are taken
_MOST_NUMBERS = 1 << 18  # of one tensor of one sample; larger ones are strided
_SHIFT = 18  # of the bits of a float32: 8 of exponent and 5 of mantissa are left, 32 bins an octave
_BINS = 1 << (31 - _SHIFT)
_OCTAVE = 32
_PERCENTILE = 0.999
_BIGGEST = float(np.finfo(np.float32).max)


class CollectRequest(Struct, frozen=True, kw_only=True):
    """A canonical float file and an `.npz` with one array for each of its inputs, in the file's order.

    Arrays are (samples, *the input's shape), real numbers or ids.
    """

    model: str
    samples: str
    output: str  # the ranges file to write


class Collected(Struct, frozen=True, kw_only=True):
    """The ranges are written. `is_slow`: the engine's own watcher missed tensors, and all were looked at one by one."""

    samples: int
    tensors: int
    is_slow: bool


def collect(request: CollectRequest) -> Collected:
    """Take the ranges of a model's activations.

    Raises:
        InputError: the samples do not fit the model.
        RefusedError: the model answers with NaN.
        ModelError, MissingExtraError: as `read_graph`.
    """
    content = Path(request.model).read_bytes()
    try:
        with np.load(request.samples, allow_pickle=False) as archive:
            stacks = [archive[name] for name in archive.files]
    except (OSError, ValueError) as err:
        raise InputError(f"{request.samples} holds no samples: {err}") from err
    ranges, is_slow = ranges_of(content, stacks)
    write_ranges(request.output, ranges)
    return Collected(samples=ranges.samples, tensors=len(ranges.tensors), is_slow=is_slow)


def ranges_of(content: bytes, stacks: Sequence[Array]) -> tuple[Ranges, bool]:
    """The ranges, and whether the slow way was needed. Arguments and errors as `collect`."""
    graph = read_graph(content)
    samples = _fitted(graph, stacks)
    wanted = _activations(graph)
    with _running():
        extremes = watch(content, samples)
        is_slow = bool(set(wanted) - set(extremes))
        close = samples if is_slow else [samples[at] for at in _spread(len(samples))]
        shapes = _Shapes(_made_by_layers(graph), set(_spread(len(samples))) if is_slow else None)
        for sample_values in _all_tensors(content, close, wanted):
            shapes.add(sample_values)
    if is_slow:
        extremes = {**shapes.extremes, **{name: each for name, each in extremes.items() if name in wanted}}
    tensors = {name: shapes.range_of(name, _finite(name, extremes[name])) for name in wanted if name in extremes}
    ranges = Ranges(model_sha256=hashlib.sha256(content).hexdigest(), samples=len(samples), tensors=tensors)
    return ranges, is_slow


@contextlib.contextmanager
def _running() -> Iterator[None]:
    """Put the interpreter's complaints into our own words."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError) as err:
        lines = str(err).strip().splitlines() or [type(err).__name__]
        raise ModelError(f"LiteRT cannot run the float model on the samples: {lines[0][:300]}") from err


def _fitted(graph: Graph, stacks: Sequence[Array]) -> list[tuple[Array, ...]]:
    inputs = [int(index) for index in graph.main.inputs]
    names = ", ".join(f"{graph.name(index)!r} {graph.shape(index)}" for index in inputs)
    if len(stacks) != len(inputs) or len({len(stack) for stack in stacks}) != 1 or not len(stacks[0]):
        found = ", ".join(str(stack.shape) for stack in stacks) or "nothing"
        raise InputError(f"expected one array of samples for each input ({names}), as many in each, found {found}")
    for stack, index in zip(stacks, inputs, strict=True):
        if stack.shape[1:] != graph.shape(index):
            raise InputError(
                f"expected samples of shape {graph.shape(index)} for input {graph.name(index)!r}, "
                f"found {stack.shape[1:]}"
            )
    kinds = [np.dtype(graph.dtype(index)) for index in inputs]
    return [
        tuple(np.asarray(part, kind) for part, kind in zip(parts, kinds, strict=True))
        for parts in zip(*stacks, strict=True)
    ]


def _activations(graph: Graph) -> dict[str, int]:
    """Name and number of every float tensor that is not a constant."""
    numbers = [*graph.main.inputs, *(index for operator in graph.operators for index in operator.outputs)]
    return {graph.name(index): int(index) for index in numbers if index >= 0 and graph.dtype(index) == "float32"}


def _made_by_layers(graph: Graph) -> set[str]:
    return {graph.name(each.outputs[0]) for each in graph.operators if graph.operation(each) in LAYERS}


def _spread(count: int) -> list[int]:
    return sorted({int(at) for at in np.linspace(0, count - 1, min(count, _CLOSE_LOOKS))})


def _finite(name: str, extremes: tuple[float, float]) -> tuple[float, float]:
    low, high = extremes
    if np.isnan(low) or np.isnan(high):
        raise RefusedError(f"the float model makes NaN at {name!r} on the calibration samples; mend the model first")
    return max(low, -_BIGGEST), min(high, _BIGGEST)


def _all_tensors(
    content: bytes, samples: Sequence[tuple[Array, ...]], wanted: dict[str, int]
) -> Iterator[Iterator[tuple[str, Array]]]:
    """For each sample every wanted tensor, one at a time."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as err:
        raise MissingExtraError("LiteRT 2 (ai-edge-litert)", "convert") from err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that keeping all tensors takes memory, which is known
        interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    places = [int(detail["index"]) for detail in interpreter.get_input_details()]
    for sample in samples:
        for place, part in zip(places, sample, strict=True):
            interpreter.set_tensor(place, part)
        interpreter.invoke()
        yield ((name, interpreter.get_tensor(index)) for name, index in wanted.items())


class _Shapes:
    """Distributions of |x| and extremes, tensor by tensor, sample after sample."""

    def __init__(self, channelled: set[str], looked_at: set[int] | None) -> None:
        """`channelled`: tensors whose channels are told apart; `looked_at`: numbers of samples, None for all."""
        self._channelled = channelled
        self._channels: dict[str, Any] = {}
        self.extremes: dict[str, tuple[float, float]] = {}
        self._bins: dict[str, Any] = {}
        self._looked_at = looked_at
        self._seen = 0

    def add(self, tensors: Iterator[tuple[str, Array]]) -> None:
        """One sample."""
        is_close = self._looked_at is None or self._seen in self._looked_at
        self._seen += 1
        for name, values in tensors:
            if not values.size:
                continue
            low, high = float(values.min()), float(values.max())
            before = self.extremes.get(name, (low, high))
            self.extremes[name] = (min(low, before[0]), max(high, before[1]))
            if is_close:
                flat = values.reshape(-1)[:: max(1, values.size // _MOST_NUMBERS)]
                places = np.abs(flat.astype(np.float32)).view(np.uint32) >> _SHIFT
                counted = np.bincount(places, minlength=_BINS)
                self._bins[name] = self._bins.get(name, 0) + counted
                if name in self._channelled:
                    largest = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
                    self._channels[name] = np.maximum(self._channels.get(name, 0), largest)

    def range_of(self, name: str, extremes: tuple[float, float]) -> Range:
        """Everything known of a tensor."""
        low, high = extremes
        bins = self._bins.get(name)
        if bins is None:
            return Range(low=low, high=high)
        reached = int(np.searchsorted(np.cumsum(bins), _PERCENTILE * bins.sum()))
        octaves = bins[: _BINS - _BINS % _OCTAVE].reshape(-1, _OCTAVE).sum(axis=1)
        histogram = tuple((_edge(at * _OCTAVE), int(count)) for at, count in enumerate(octaves) if count)
        channels = tuple(float(each) for each in np.nan_to_num(self._channels.get(name, np.empty(0)), posinf=_BIGGEST))
        p999 = min(_edge(reached + 1), max(-low, high))
        return Range(low=low, high=high, p999=p999, histogram=histogram, channels=channels)


def _edge(place: int) -> float:
    """The smallest number of a bin."""
    return min(float(np.uint32(place << _SHIFT).view(np.float32)), _BIGGEST) if place < _BINS else _BIGGEST
