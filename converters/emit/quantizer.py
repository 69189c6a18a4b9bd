"""The one module that touches litert-quantizer, public parts and private ones.

Promises: rules in, a quantised file out, by the ranges given and no others; the ranges it collects are the extremes of
all samples; nothing it prints reaches a terminal. Written for litert-quantizer 0.11; its private parts are `Calibrator`
with an update function of our choice, `RecipeManager`, `ParamsGenerator` and `ModelModifier`: the public class wraps
these, opens a second interpreter on the way, and averages ranges (`moving_average_update`).
Leaves out: what the rules should be (`rules`), cleaning the result (`tflite`).
Thread: main, in a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from converters.emit.rangefile import Range
from converters.emit.rules import Precision, Rule
from edge.compute.tensors import Array
from edge.errors import MissingExtraError, RefusedError

__all__ = ["quantize", "watch"]

_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}  # where the quantizer's word is not the schema's
_CHUNK = 32  # samples handed over at once: it makes a list of what it is given
_HALF_BITS = 16


def quantize(content: bytes, rules: Sequence[Rule], ranges: Mapping[str, Range]) -> bytes:
    """Quantise a canonical float file, its activations by `ranges`, by name of tensor.

    Raises:
        RefusedError: a layer cannot be quantised so; the message has the quantizer's words.
        MissingExtraError: litert-quantizer is not installed.
    """
    tools = _tools()
    manager = tools.recipe_manager.RecipeManager()
    with _quiet():
        for rule in rules:
            _add(tools, manager, rule)
        model = tools.tfl_flatbuffer_utils.read_model(content)
        seen = _as_seen(model, ranges)
        try:
            generator = tools.params_generator.ParamsGenerator(model)
            params = generator.generate_quantization_parameters(manager, seen, enable_progress_bar=False)
            return bytes(tools.model_modifier.ModelModifier(model).modify_model(params, enable_progress_bar=False))
        except (ValueError, RuntimeError, KeyError, NotImplementedError) as err:
            raise RefusedError(f"the quantizer refuses: {_first_line(err)}") from err


def _as_seen(model: Any, ranges: Mapping[str, Range]) -> dict[str, dict[str, Array]]:
    """Ranges as the quantizer keeps them: of as many axes as the tensor, or no constant can get the same scale."""
    ranks = {
        bytes(tensor.name).decode(): len(tensor.shape if tensor.shape is not None else ())
        for part in model.subgraphs
        for tensor in part.tensors
    }
    return {
        name: {
            "min": np.full((1,) * ranks.get(name, 1), each.low, np.float32),
            "max": np.full((1,) * ranks.get(name, 1), each.high, np.float32),
        }
        for name, each in ranges.items()
    }


def watch(content: bytes, samples: Sequence[tuple[Array, ...]]) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each tensor over all samples, as far as the engine's own watcher saw it.

    `samples`: for each sample one array for each input, in the file's order, of its shape and dtype.

    Raises:
        MissingExtraError: litert-quantizer is not installed.
    """
    tools = _tools()
    with _quiet():
        calibrator = tools.calibrator.Calibrator(
            content,
            num_threads=1,
            mode=tools.calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
            qsv_update_func=tools.qsv_utils.min_max_update,
        )
        key, names = _signature(content)
        manager = tools.recipe_manager.RecipeManager()
        for start in range(0, len(samples), _CHUNK):
            chunk = [dict(zip(names, sample, strict=True)) for sample in samples[start : start + _CHUNK]]
            calibrator.calibrate({key: chunk}, manager)
    found = calibrator.get_model_qsvs()
    return {
        name: (float(np.min(each["min"])), float(np.max(each["max"])))
        for name, each in found.items()
        if each and np.size(each["min"])
    }


def _signature(content: bytes) -> tuple[str, list[str]]:
    """Key of the only signature, and its input names in the order of the subgraph."""
    from converters.graph.flatbuffer import read_graph

    graph = read_graph(content)
    entry = graph.model.signatureDefs[0]
    names = {int(each.tensorIndex): bytes(each.name).decode() for each in entry.inputs}
    return bytes(entry.signatureKey).decode(), [names[int(index)] for index in graph.main.inputs]


def _add(tools: Any, manager: Any, rule: Rule) -> None:
    operation = tools.qtyping.TFLOperationName(_NAMES.get(rule.operation, rule.operation))
    channel = tools.qtyping.QuantGranularity.CHANNELWISE
    granularity = channel if rule.is_per_channel else tools.qtyping.QuantGranularity.TENSORWISE
    algorithms = tools.recipe_manager.AlgorithmName
    match rule.precision:
        case Precision.FLOAT:
            manager.add_quantization_config(rule.scope, operation, algorithm_key=algorithms.NO_QUANTIZE)
        case Precision.FLOAT16:
            manager.add_weight_only_config(
                rule.scope, operation, _HALF_BITS, tools.qtyping.QuantGranularity.TENSORWISE, algorithms.FLOAT_CASTING
            )
        case Precision.WEIGHT_ONLY:
            manager.add_weight_only_config(rule.scope, operation, rule.weight_bits, granularity)
        case Precision.DYNAMIC:
            manager.add_dynamic_config(rule.scope, operation, rule.weight_bits, granularity)
        case Precision.STATIC:
            manager.add_static_config(rule.scope, operation, rule.activation_bits, rule.weight_bits, granularity)


class _Tools:
    """The modules of the quantizer that are used here."""

    def __init__(self) -> None:
        from litert_quantizer import calibrator, model_modifier, params_generator, qtyping, recipe_manager
        from litert_quantizer.utils import qsv_utils, tfl_flatbuffer_utils

        self.calibrator = calibrator
        self.model_modifier = model_modifier
        self.params_generator = params_generator
        self.qsv_utils = qsv_utils
        self.qtyping = qtyping
        self.recipe_manager = recipe_manager
        self.tfl_flatbuffer_utils = tfl_flatbuffer_utils


def _tools() -> _Tools:
    try:
        with _quiet():
            return _Tools()
    except ImportError as err:
        raise MissingExtraError("litert-quantizer", "convert") from err


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """It prints summaries, shows a progress bar a sample, and warns of what is meant so."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _first_line(err: BaseException) -> str:
    lines = str(err).strip().splitlines()
    return lines[0][:300] if lines else type(err).__name__
