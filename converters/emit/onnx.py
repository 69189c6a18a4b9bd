"""From a canonical float ONNX file and a recipe to a variant; the functions that a child process serves.

Promises: the same file, recipe and samples give the same bytes; what is written was opened in ONNX Runtime; softmaxes,
sigmoids at the end, masks, inputs and outputs stay float whatever the recipe; a child keeps the ranges it has taken, so
that a search which makes a hundred files runs the samples once.
Leaves out: what a variant is worth (`converters.judge.verify`), which recipes to try (`converters.ladder.plan`).
Thread: main, in a child process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from converters.emit.onnx_integers import in_dynamic, in_static
from converters.emit.onnx_ranges import Seen, watch
from converters.emit.onnx_weights import halve, shrink
from converters.graph.equalize import Seen as Range
from converters.graph.equalize_onnx import equalize
from converters.graph.onnx import decode, encode
from converters.graph.onnx_groups import fragile_of, groups_in, groups_of
from converters.graph.onnx_view import View
from converters.spec import Group, Note, Recipe, Scheme
from edge.durable import write_atomic
from edge.engines.open import open_engine
from edge.errors import InputError, RefusedError

__all__ = ["EmitRequest", "Emitted", "Grouped", "GroupsRequest", "emit", "look"]

_BITS = 8
_WIDE = 16
_SHOWN = 3


class EmitRequest(Struct, frozen=True, kw_only=True):
    """`model` is a canonical float file; `samples` an `.npz`, needed by static recipes alone; `output` is written."""

    model: str
    recipe: Recipe
    output: str
    samples: str = ""


class Emitted(Struct, frozen=True, kw_only=True):
    """The file is written."""

    size_bytes: int
    notes: tuple[Note, ...] = ()


class GroupsRequest(Struct, frozen=True, kw_only=True):
    """A canonical float file, and an `.npz` of samples for the ranges; "" for no ranges."""

    model: str
    samples: str = ""
    is_equalized: bool = False


class Grouped(Struct, frozen=True, kw_only=True):
    """What can get a precision of its own, in graph order, and why the other nodes stay float, by name."""

    groups: tuple[Group, ...]
    fragile: dict[str, str]


def emit(request: EmitRequest) -> Emitted:
    """Make a variant.

    Raises:
        RefusedError: the recipe makes no sense in ONNX.
        InputError: samples that are missing or do not fit; a group that the file does not have.
        ModelError: the quantizer failed, or ONNX Runtime does not open what it made.
        MissingExtraError: the `convert` extra is not installed.
    """
    recipe = request.recipe
    _refuse(recipe)
    notes: list[Note] = []
    with TemporaryDirectory() as folder:
        source = Path(request.model)
        if recipe.is_equalized:
            source = _equalized(source, request.samples, Path(folder) / "equalized.onnx", notes)
        result = source.read_bytes() if recipe.scheme is Scheme.FLOAT32 else encode(_made(source, request, notes))
    open_engine(result).close()
    write_atomic(Path(request.output), result)
    return Emitted(size_bytes=len(result), notes=tuple(notes))


def look(request: GroupsRequest) -> Grouped:
    """The groups of a file, with the ranges that their tensors had.

    Raises:
        InputError, ModelError, MissingExtraError: as `emit`.
    """
    with TemporaryDirectory() as folder:
        source = Path(request.model)
        if request.is_equalized:
            source = _equalized(source, request.samples, Path(folder) / "equalized.onnx", [])
        view = View(source.read_bytes())
        found, reasons = groups_in(view), fragile_of(view)
        del view
        if request.samples:
            ranges = watch(source, Path(request.samples))
            found = tuple(_with_ranges(group, ranges) for group in found)
    return Grouped(groups=found, fragile=reasons)


def _refuse(recipe: Recipe) -> None:
    if recipe.io != "float":
        raise RefusedError(
            f"{recipe.name}: ONNX has no place for the scale of an input, so nobody could tell what its integers mean; "
            "use int8, whose inputs and outputs are float, or the TFLite recipe"
        )
    if recipe.weight_bits != _BITS or recipe.activation_bits not in {_BITS, _WIDE}:
        raise RefusedError(
            f"{recipe.name}: ONNX files are made with 8-bit weights and 8- or 16-bit activations, not "
            f"{recipe.weight_bits} and {recipe.activation_bits}"
        )


def _equalized(source: Path, samples: str, target: Path, notes: list[Note]) -> Path:
    """The file at `target`, equalized by what the samples made of the one at `source`."""
    if not samples:
        raise InputError("equalizing evens out what samples showed; give some, or use a recipe without it")
    ranges = watch(source, Path(samples))
    seen = {name: Range(low=each.low, high=each.high, channels=each.channels) for name, each in ranges.items()}
    done = equalize(source.read_bytes(), seen)
    if not done.pairs:
        raise RefusedError(
            "there is nothing to equalize: no convolution or dense layer hands its numbers to one other through ReLU "
            "or a pool alone, or all channels are even; use int8 without equalization"
        )
    notes.append(Note(code="I340", message=f"equalized {len(done.pairs)} pairs of layers"))
    if done.unclipped:
        words = f"{len(done.unclipped)} ReLU6 never cut on the calibration samples and became ReLU"
        notes.append(Note(code="I306", message=f"{words}: {_listed(done.unclipped)}"))
    target.write_bytes(done.content)
    return target


class _Parts:
    """The nodes of a file by what a recipe does with them, by name."""

    def __init__(self, source: Path, recipe: Recipe) -> None:
        view = View(source.read_bytes())
        self.known = groups_of(view)
        unknown = [name for name in (*recipe.kept_float, *recipe.kept_weight_only) if name not in self.known]
        if unknown:
            raise InputError(f"{recipe.name}: no group {unknown[0]!r} here; there are {_listed(tuple(self.known))}")
        tables = {node.name for node in view.nodes if node.op_type == "Gather"}
        self.fragile = set(fragile_of(view))
        self.grouped = {node.name for node in view.nodes if node.op_type == "Conv" and _groups(node) > 1}
        self.all = {node.name for node in view.nodes} - (set() if recipe.is_embedding_integer else tables)
        self.kept_float = self._nodes(recipe.kept_float)
        asked = self._nodes(recipe.kept_weight_only)
        # A table is never computed with: its rows are read, and turned back.
        self.weight_only = (asked | (tables & self.all)) - self.kept_float
        kept = {*recipe.kept_float, *recipe.kept_weight_only}
        self.static = [
            node for name, nodes in self.known.items() if name not in kept for node in nodes if node not in tables
        ]

    def _nodes(self, names: Sequence[str]) -> set[str]:
        return {node for name in names for node in self.known[name]}


def _made(source: Path, request: EmitRequest, notes: list[Note]) -> Any:
    """The variant as a `ModelProto`."""
    recipe = request.recipe
    parts = _Parts(source, recipe)
    match recipe.scheme:
        case Scheme.FLOAT32 | Scheme.GIVEN:
            return decode(source.read_bytes())
        case Scheme.FLOAT16:
            model = decode(source.read_bytes())
            if misfits := halve(model):
                message = f"stays float32, because float16 ends at 65504: {_listed(misfits)}"
                notes.append(Note(code="I341", message=message))
            return model
        case Scheme.WEIGHT_ONLY:
            model = decode(source.read_bytes())
            shrink(model, parts.all - parts.kept_float)
            return model
        case Scheme.DYNAMIC:
            # The runtime goes through a grouped convolution in integers group by group: a detector of faces takes
            # 4.4 ms so, and 2.4 ms with the weights alone in integers, at the same size.
            alone = parts.weight_only | (parts.grouped - parts.kept_float)
            model = in_dynamic(source, parts.kept_float | alone | parts.fragile)
            shrink(model, alone)
            return model
        case Scheme.STATIC:
            model = _static(source, request, parts.static, notes)
        case _:
            raise RefusedError(f"{recipe.name}: no ONNX file is made by the scheme {recipe.scheme.value!r}")
    shrink(model, parts.weight_only)
    return model


def _groups(node: Any) -> int:
    """Of a convolution."""
    return next((int(each.i) for each in node.attribute if each.name == "group"), 1)


def _static(source: Path, request: EmitRequest, nodes: Sequence[str], notes: list[Note]) -> Any:
    recipe = request.recipe
    if not request.samples:
        raise InputError(f"{recipe.name} needs representative samples; give some, or use dyn8, which needs none")
    ranges = watch(source, Path(request.samples))
    model = decode(source.read_bytes())
    masked = _masked(model, ranges)
    if masked:
        message = f"stays float, because its numbers are a mask's: {_listed(sorted(masked))}"
        notes.append(Note(code="I342", message=message))
    chosen = [node for node in nodes if node not in masked]
    if not chosen:
        notes.append(Note(code="I343", message="no operation of this model is left to compute in integers"))
        return model
    if recipe.activation_bits == _WIDE:
        message = "16-bit activations need ONNX Runtime's own operations (com.microsoft), from 1.17 on"
        notes.append(Note(code="I344", message=message))
    return in_static(model, chosen, ranges, recipe)


def _masked(model: Any, ranges: Mapping[str, Seen]) -> set[str]:
    """Nodes that read or make a mask, whatever it is made of."""
    masks = {name for name, seen in ranges.items() if seen.is_masked}
    return {node.name for node in model.graph.node if masks & {*node.input, *node.output}}


def _with_ranges(group: Group, ranges: Mapping[str, Seen]) -> Group:
    seen = [ranges[name] for name in group.tensors if name in ranges]
    if not seen:
        return group
    widest = max(seen, key=lambda each: each.peak / each.p999 if each.p999 else 0.0)
    return replace(group, range_max=widest.peak, range_p999=widest.p999, histogram=widest.histogram)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
