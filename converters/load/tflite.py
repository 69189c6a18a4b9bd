"""TFLite files as sources.

Promises: the file itself becomes the float file, byte for byte where its sizes are fixed already; a model that is
quantised already is recognised and said to be so.
Leaves out: cleaning (`converters.graph.tflite`), the way to ONNX (`converters.bridge.cross`).
Thread: main, in a child process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.graph.flatbuffer import Graph, read_graph
from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.load.running import MOST_THREADS, float_file, predict_by, settle, sha256_of, signature_of
from converters.spec import FloatFile, Note, Signature, Source
from edge.engines.api import Engine
from edge.engines.open import open_engine
from edge.errors import UnsupportedSourceError

__all__ = ["convert", "look", "predict"]

_INTEGERS = frozenset({"int8", "uint8", "int16", "int4"})
_WEIGHTS = _INTEGERS | {"float32", "float16", "float64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    content: bytes  # with every size fixed
    made_by: str
    signature: Signature
    engine: Engine


_OPENED: dict[str, _Opened] = {}  # one entry: what `look` opened, for the calls after it


def look(request: OpenRequest) -> Source:
    """Open the file, fix its free sizes, run it twice.

    Raises:
        ModelError: it is damaged, or LiteRT refuses it.
        UnsupportedSourceError: inputs that are texts, sizes that stay free.
        InputError: a given shape that does not fit.
    """
    content = Path(request.path).read_bytes()
    open_engine(content).close()  # what the engine says of a file that it does not take is clearer than what follows
    graph = read_graph(content)
    for index in [*graph.main.inputs, *graph.main.outputs]:
        if not graph.dtype(index):
            raise UnsupportedSourceError(
                f"E522 tensor {graph.name(index)!r} holds texts, which no step of the device makes; export the part of "
                "the model that takes token numbers"
            )
    shapes = [
        settle(graph.name(index), _sizes(graph, index), place, request) for place, index in enumerate(graph.main.inputs)
    ]
    notes = _notes(graph)
    fixed = content
    if _is_free(graph) and not (notes and _is_declared(graph, shapes)):
        fixed = _resized(content, graph, shapes)
    engine = open_engine(fixed, threads=MOST_THREADS)
    signature = signature_of(engine)
    _OPENED["source"] = _Opened(content=fixed, made_by=engine.runtime, signature=signature, engine=engine)
    return Source(
        path=request.path,
        kind=request.kind,
        sha256=sha256_of(content),
        framework=_framework(graph),
        signature=signature,
        parameters=sum(math.prod(graph.shape(index)) for index in _weights(graph)),
        notes=notes,
    )


def convert(request: ConvertRequest) -> Converted:
    """Write the file, if TFLite is wanted; ONNX is a bridge's."""
    opened = _OPENED["source"]
    files: list[FloatFile] = []
    if "tflite" in request.formats:
        axes = [range(len(port.shape)) for port in opened.signature.inputs]
        files.append(float_file(opened.content, request.folder, "tflite", opened.made_by, axes))
    return Converted(files=tuple(files))


def predict(request: PredictRequest) -> Predicted:
    """Run samples in LiteRT."""
    return predict_by(_OPENED["source"].engine, request)


def _sizes(graph: Graph, index: int) -> Sequence[int | str | None]:
    signature = graph.main.tensors[index].shapeSignature
    declared = graph.shape(index) if signature is None else tuple(int(size) for size in signature)
    return [size if size >= 0 else None for size in declared]


def _is_free(graph: Graph) -> bool:
    return any(
        tensor.shapeSignature is not None and min(tensor.shapeSignature, default=0) < 0 for tensor in graph.main.tensors
    )


def _is_declared(graph: Graph, shapes: Sequence[Sequence[int]]) -> bool:
    """Whether a file with free sizes starts out with these; a quantised one is then left byte for byte."""
    return all(graph.shape(index) == tuple(shape) for index, shape in zip(graph.main.inputs, shapes, strict=True))


def _weights(graph: Graph) -> list[int]:
    return [
        index
        for index in range(len(graph.main.tensors))
        if graph.is_constant(index) and (graph.dtype(index) in _WEIGHTS or graph.is_quantized(index))
    ]


def _notes(graph: Graph) -> tuple[Note, ...]:
    weights = _weights(graph)
    if found := sorted({graph.dtype(index) for index in weights if graph.is_quantized(index)} & _INTEGERS):
        what, held = "quantised", ", ".join(found)
    elif any(graph.dtype(index) == "float16" for index in weights):
        what, held = "in half precision", "float16"
    else:
        return ()
    return (
        Note(
            code="I210",
            message=f"already {what} ({held} weights): it is verified and bundled as it is, not quantised again",
        ),
    )


def _resized(content: bytes, graph: Graph, shapes: Sequence[Sequence[int]]) -> bytes:
    """The file with every tensor at the size that it really has for inputs of these shapes."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain: Any = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # a delegate hides the tensors that it took over
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=plain)
    inputs = interpreter.get_input_details()
    for detail, shape in zip(inputs, shapes, strict=True):
        interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    for detail, shape in zip(inputs, shapes, strict=True):
        interpreter.set_tensor(detail["index"], np.zeros(shape, detail["dtype"]))
    interpreter.invoke()
    for detail in interpreter.get_tensor_details():
        index = detail["index"]
        if index < len(graph.main.tensors) and not graph.is_constant(index):
            graph.main.tensors[index].shape = [int(size) for size in detail["shape"]]
    for subgraph in graph.model.subgraphs:
        for tensor in subgraph.tensors:
            tensor.shapeSignature = None
    return graph.to_bytes()


def _framework(graph: Graph) -> str:
    described = bytes(graph.model.description or b"").decode("utf-8", "replace").strip()
    return "tflite" + (f" ({described[:80]})" if described else "")
