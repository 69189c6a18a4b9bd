"""A file that another tool made from a model, against that model: same inputs, same outputs, same numbers.

Promises: which axis of the source each axis of the file is is told by shapes and, where they fit more than one order,
by running both; a TFLite file whose outputs came out in another order of axes or of tensors gets them back; a file that
answers differently is refused.
Leaves out: real samples: both are asked about numbers without meaning.
Thread: main, in a child process.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from converters.graph.flatbuffer import Graph, read_graph
from converters.judge.formulas import sqnr_db
from converters.load.running import signature_of
from converters.samples.arrays import synthetic
from edge.compute.tensors import Array, TensorSpec, dequantize, quantize
from edge.durable import write_atomic
from edge.engines.api import Engine
from edge.engines.open import open_engine
from edge.errors import ModelError, RefusedError, UnsupportedSourceError

__all__ = ["LOWEST_DB", "AlignRequest", "Aligned", "align", "orders"]

LOWEST_DB = 40.0  # float files of one model are 100 dB and more apart from each other's noise
_SAMPLES = 2
_MOST_ORDERS = 256
_TRANSPOSE = 39  # BuiltinOperator.TRANSPOSE
_TRANSPOSE_VERSIONS = {5: 4, 6: 6}  # by rank; of smaller ones 1


class AlignRequest(Struct, frozen=True, kw_only=True):
    """`file` was made from `reference`; either is TFLite or ONNX. `what` names the tool in refusals."""

    reference: str
    file: str
    what: str


class Aligned(Struct, frozen=True, kw_only=True):
    """`axes`: for each input, the axis of the reference's tensor that each axis of the file's is."""

    axes: tuple[tuple[int, ...], ...]
    parity_db: float


def align(request: AlignRequest) -> Aligned:
    """Compare, and rewrite the file where its outputs or the order of its tensors differ.

    Raises:
        UnsupportedSourceError: no engine takes the file, or a tensor has another size.
        RefusedError: the file answers differently.
    """
    reference = open_engine(Path(request.reference).read_bytes())
    stacks = synthetic(signature_of(reference), _SAMPLES).inputs
    wanted = _answers(reference, stacks)
    path = Path(request.file)
    engine = _opened(path, request.what)
    places = _Places.of(reference, engine, request.what)
    axes, outputs, parity_db = _best(engine, places, stacks, wanted, request.what)
    if parity_db < LOWEST_DB:
        raise RefusedError(
            f"E526 {request.what} made a file that answers differently ({parity_db:.0f} dB to the source, expected at "
            f"least {LOWEST_DB:.0f}); nothing was written; convert it from the framework that it was trained in"
        )
    if not places.are_in_order or any(tuple(order) != tuple(sorted(order)) for order in outputs):
        write_atomic(path, _restored(path, places, outputs, request.what))
        _opened(path, request.what).close()
    return Aligned(axes=axes, parity_db=parity_db)


def _opened(path: Path, what: str) -> Engine:
    try:
        return open_engine(path.read_bytes())
    except ModelError as err:
        raise UnsupportedSourceError(
            f"E525 {what} made a file that does not run here ({err}); convert it from the framework that it was "
            "trained in, or use the variants of the format that it has"
        ) from err


class _Places(Struct, frozen=True, kw_only=True):
    """Where each tensor of the reference is in the file, and shapes: (reference's, file's)."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shapes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    @staticmethod
    def of(reference: Engine, engine: Engine, what: str) -> _Places:
        inputs = _matched(reference.inputs, engine.inputs, what)
        outputs = _matched(reference.outputs, engine.outputs, what)
        shapes = tuple(
            (spec.shape, engine.inputs[place].shape) for spec, place in zip(reference.inputs, inputs, strict=True)
        )
        return _Places(inputs=inputs, outputs=outputs, input_shapes=shapes)

    @property
    def are_in_order(self) -> bool:
        return all(list(places) == sorted(places) for places in (self.inputs, self.outputs))


def orders(source: Sequence[int], found: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Orders of the source's axes that give the shape `found`, the likely ones first; the batch stays in front."""
    rank = len(source)
    if rank != len(found):
        return
    as_is = tuple(range(rank))
    channels_last = (0, *range(2, rank), 1)
    channels_first = (0, rank - 1, *range(1, rank - 1))
    likely = [as_is, channels_last, channels_first] if rank > 1 else [as_is]
    rest = ((0, *order) for order in itertools.permutations(range(1, rank))) if rank > 1 else iter(())
    for order in dict.fromkeys(itertools.chain(likely, rest)):
        if tuple(source[axis] for axis in order) == tuple(found):
            yield order


def _matched(ours: Sequence[TensorSpec], theirs: Sequence[TensorSpec], what: str) -> tuple[int, ...]:
    names = [spec.name for spec in theirs]
    if len(ours) != len(theirs):
        raise UnsupportedSourceError(
            f"E525 {what} made a file with {len(theirs)} tensors where the source has {len(ours)}"
        )
    if {spec.name for spec in ours} == set(names) and len(set(names)) == len(names):
        return tuple(names.index(spec.name) for spec in ours)
    return tuple(range(len(ours)))


def _best(
    engine: Engine, places: _Places, stacks: Sequence[Array], wanted: Sequence[Array], what: str
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...], float]:
    """The orders of the inputs' axes and of the outputs' under which the file answers most alike."""
    choices = [tuple(orders(ours, theirs)) for ours, theirs in places.input_shapes]
    for (ours, theirs), found in zip(places.input_shapes, choices, strict=True):
        if not found:
            raise UnsupportedSourceError(f"E525 {what} turned an input of shape {ours} into {theirs}")
    best: tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...], float] | None = None
    for axes in itertools.islice(itertools.product(*choices), _MOST_ORDERS):
        given: list[Array] = [np.empty(0)] * len(stacks)
        for stack, order, place in zip(stacks, axes, places.inputs, strict=True):
            given[place] = stack.transpose(0, *(axis + 1 for axis in order))
        answers = _answers(engine, given)
        closest = [
            _closest(answers[place], reference, what) for place, reference in zip(places.outputs, wanted, strict=True)
        ]
        parity_db = _worst(closest, wanted)
        if best is None or parity_db > best[2]:
            best = axes, tuple(order for order, _ in closest), parity_db
    assert best is not None  # noqa: S101 - every input has an order
    return best


def _closest(answer: Array, wanted: Array, what: str) -> tuple[tuple[int, ...], float]:
    """The order of axes under which an output is most like the source's, and how like, in dB."""
    scored = [
        (order, sqnr_db(answer, wanted.transpose(0, *(axis + 1 for axis in order))))
        for order in orders(wanted.shape[1:], answer.shape[1:])
    ]
    if not scored:
        raise UnsupportedSourceError(
            f"E525 {what} turned an output of shape {wanted.shape[1:]} into {answer.shape[1:]}"
        )
    return max(scored, key=lambda each: each[1])  # the first of equals, which is the likeliest


def _worst(found: Sequence[tuple[tuple[int, ...], float]], wanted: Sequence[Array]) -> float:
    """Of the outputs in real numbers; places in a list change at the slightest tie."""
    real = [score for (_, score), array in zip(found, wanted, strict=True) if array.dtype.kind == "f"]
    return min(real or [score for _, score in found])


def _answers(engine: Engine, stacks: Sequence[Array]) -> list[Array]:
    answers = []
    for sample in zip(*stacks, strict=True):
        given = [quantize(np.ascontiguousarray(one), spec) for one, spec in zip(sample, engine.inputs, strict=True)]
        answers.append(engine.run(given))
    return [
        dequantize(np.stack([answer[place] for answer in answers]), spec) for place, spec in enumerate(engine.outputs)
    ]


def _restored(path: Path, places: _Places, outputs: Sequence[Sequence[int]], what: str) -> bytes:
    """The file with its tensors in the source's order, and their axes."""
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise UnsupportedSourceError(
            f"E525 {what} changed the order of the outputs, which only a TFLite file gets back"
        )
    graph = read_graph(content)
    graph.main.inputs = [int(graph.main.inputs[place]) for place in places.inputs]
    graph.main.outputs = [
        _turned(graph, int(graph.main.outputs[place]), order)
        for place, order in zip(places.outputs, outputs, strict=True)
    ]
    return graph.to_bytes()


def _turned(graph: Graph, index: int, order: Sequence[int]) -> int:
    """The tensor that is `index` with the source's axes: one TRANSPOSE behind it, which takes over its name."""
    if list(order) == sorted(order):
        return index
    back = np.argsort(np.array(order)).astype(np.int32)
    old = graph.main.tensors[index]
    new = type(old)()
    new.name, new.type, new.hasRank, new.buffer = old.name, old.type, True, 0
    new.shape = [graph.shape(index)[axis] for axis in back]
    old.name = bytes(old.name) + b"/turned"
    graph.main.tensors.append(new)
    result = len(graph.main.tensors) - 1
    operator = type(graph.main.operators[0])()
    operator.opcodeIndex = _transpose_code(graph, len(order))
    operator.inputs, operator.outputs = [index, graph.add_constant(back, f"{graph.name(result)}/order")], [result]
    graph.main.operators = [*graph.main.operators, operator]
    for signature in graph.model.signatureDefs or []:
        for entry in signature.outputs or []:
            entry.tensorIndex = result if entry.tensorIndex == index else entry.tensorIndex
    return result


def _transpose_code(graph: Graph, rank: int) -> int:
    code: Any = type(graph.model.operatorCodes[0])()
    code.builtinCode = code.deprecatedBuiltinCode = _TRANSPOSE
    code.version = _TRANSPOSE_VERSIONS.get(rank, 1)
    graph.model.operatorCodes = [*graph.model.operatorCodes, code]
    return len(graph.model.operatorCodes) - 1
