"""Makes one TFLite variant from the canonical float file.

Promises: same file, same recipe, same ranges, same bytes; what the recipe names is what is in the file, looked up in it
afterwards; operator versions tell engines what they need; inputs and outputs keep their names and order. Runs in a
child process (`edge.child.Child("converters.emit.tflite")`), where `collect` takes the ranges first.
Leaves out: measuring (`verify`), which recipes to try (`plan`).
Thread: main, in a process of its own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from msgspec import Struct

from converters.emit import audit
from converters.emit.layers import read_layers
from converters.emit.quantizer import quantize
from converters.emit.rangefile import Range, Ranges, read_ranges
from converters.emit.ranges import collect, ranges_of
from converters.emit.rules import Layer, Rule, plan_rules, wanted
from converters.graph.equalize import Seen, equalize
from converters.graph.flatbuffer import Graph, read_graph
from converters.graph.halves import halve_biases
from converters.graph.stamp import stamp
from converters.graph.tflite import restore_ports
from converters.spec import Note, Recipe, Scheme
from edge.durable import write_atomic
from edge.errors import InputError, RefusedError

__all__ = ["EmitRequest", "Emitted", "collect", "emit"]

_INT8_BITS = 8
_kept_ranges: dict[tuple[str, str], Ranges] = {}  # one entry, by digest of the file and path of the samples


class EmitRequest(Struct, frozen=True, kw_only=True):
    """One variant to make.

    `ranges`: of `model`, from `collect`; needed for static schemes, and used by the others to tell masks and RELU6
    that never cut. `samples`: the `.npz` that they came from, needed where an equalized file is calibrated anew.
    """

    model: str
    recipe: Recipe
    output: str
    ranges: str = ""
    samples: str = ""


class Emitted(Struct, frozen=True, kw_only=True):
    """The variant is written.

    `layers`: how many have each precision.
    """

    sha256: str
    size_bytes: int
    layers: dict[str, int]
    notes: tuple[Note, ...] = ()


def emit(request: EmitRequest) -> Emitted:
    """Make a variant.

    Raises:
        InputError: a static recipe without ranges, ranges of another model, groups that the file does not have.
        RefusedError: the recipe cannot be carried out, or came out otherwise than it says.
        ModelError: no TFLite model, or a quantised one.
        MissingExtraError: LiteRT or litert-quantizer is not installed.
    """
    recipe = request.recipe
    if recipe.format != "tflite":
        raise InputError(f"recipe {recipe.name!r} is for {recipe.format} files")
    notes: list[Note] = []
    content, ranges = _prepared(request, notes)
    floats = read_graph(content)
    _check_form(floats)
    layers = read_layers(floats, ranges)
    notes += _notes(recipe, layers)
    rules = plan_rules(recipe, layers)
    made, counts = _quantized(recipe, content, floats, ranges, layers, rules)
    write_atomic(Path(request.output), made)
    return Emitted(
        sha256=hashlib.sha256(made).hexdigest(),
        size_bytes=len(made),
        layers=counts,
        notes=tuple(notes),
    )


def _check_form(floats: Graph) -> None:
    signatures = floats.model.signatureDefs or []
    if len(signatures) != 1:
        raise InputError(
            f"expected a canonical file with one signature, found {len(signatures)}; "
            "clean it with graph.tflite.canonical"
        )


def _quantized(
    recipe: Recipe,
    content: bytes,
    floats: Graph,
    ranges: Ranges | None,
    layers: tuple[Layer, ...],
    rules: tuple[Rule, ...],
) -> tuple[bytes, dict[str, int]]:
    """The file, and its layers counted by precision."""
    if not rules:
        return content, {"float": len(layers)}
    if recipe.scheme is Scheme.STATIC and ranges is None:
        raise InputError(f"recipe {recipe.name!r} needs the ranges of activations; give --calib")
    graph = read_graph(quantize(content, rules, _with_tables(ranges, layers)))
    found = audit.precisions(graph, layers)
    is_whole = not recipe.kept_float and not recipe.kept_weight_only
    audit.check(found, wanted(recipe, layers), layers, is_whole=is_whole)
    audit.check_scales(graph)
    restore_ports(graph, floats)
    if recipe.scheme is Scheme.FLOAT16:
        halve_biases(graph)
    stamp(graph)
    graph.compact()
    return graph.to_bytes(), audit.counted(found)


def _with_tables(ranges: Ranges | None, layers: tuple[Layer, ...]) -> dict[str, Range]:
    """The ranges, and those of what is looked up in constant tables, which nobody has to measure."""
    seen = {} if ranges is None else dict(ranges.tensors)
    for layer in layers:
        if layer.table is not None:
            low, high = layer.table
            seen.setdefault(layer.outputs[0], Range(low=low, high=high))
    return seen


def _prepared(request: EmitRequest, notes: list[Note]) -> tuple[bytes, Ranges | None]:
    """The float file, equalized where the recipe says so; its ranges."""
    content = Path(request.model).read_bytes()
    ranges = read_ranges(request.ranges, hashlib.sha256(content).hexdigest()) if request.ranges else None
    if not request.recipe.is_equalized:
        return content, ranges
    if ranges is None:
        raise InputError(f"recipe {request.recipe.name!r} evens out what calibration saw; give --calib")
    done = equalize(
        content,
        {name: Seen(low=each.low, high=each.high, channels=each.channels) for name, each in ranges.tensors.items()},
    )
    del content  # a large file is not held twice while the new one runs
    if not done.pairs:
        raise RefusedError(
            "there is nothing to equalize: no convolution or dense layer hands its numbers to one other through NONE "
            "or RELU alone, or all channels are even; use int8 without equalization"
        )
    if done.unclipped:
        words = f"{len(done.unclipped)} RELU6 never cut on the calibration samples and became RELU"
        notes.append(Note(code="I306", message=f"{words}: {', '.join(done.unclipped[:4])}"))
    if request.recipe.scheme is not Scheme.STATIC:
        return done.content, None
    if not request.samples:
        raise InputError(f"recipe {request.recipe.name!r} calibrates the equalized file anew; give the samples")
    return done.content, _calibrated_anew(done.content, request.samples)


def _calibrated_anew(content: bytes, samples: str) -> Ranges:
    """The ranges of an equalized file; those of the last one are kept, since a search asks for it again and again."""
    key = hashlib.sha256(content).hexdigest(), samples
    if key not in _kept_ranges:
        with np.load(samples, allow_pickle=False) as archive:
            ranges, _ = ranges_of(content, [archive[name] for name in archive.files])
        _kept_ranges.clear()
        _kept_ranges[key] = ranges
    return _kept_ranges[key]


def _notes(recipe: Recipe, layers: tuple[Layer, ...]) -> list[Note]:
    notes = []
    masked = [layer.outputs[0] for layer in layers if layer.is_fragile and layer.outputs]
    if masked and recipe.scheme is Scheme.STATIC:
        words = "a mask of very large numbers passes here, whose range leaves nothing for the rest; kept float"
        notes.append(Note(code="I309", message=f"{', '.join(masked[:6])}: {words}"))
    steep = [layer.outputs[0] for layer in layers if layer.is_steep]
    if steep and recipe.scheme is Scheme.STATIC and recipe.activation_bits == _INT8_BITS:
        words = (
            "large weights and small answers in one channel, which XNNPACK refuses in int8; weights alone became int8"
        )
        notes.append(Note(code="I308", message=f"{', '.join(steep[:6])}: {words}"))
    if any(layer.is_inner for layer in layers):
        words = "loops and branches of this model stay float in static recipes: calibration does not see inside them"
        notes.append(Note(code="I307", message=words))
    return notes
