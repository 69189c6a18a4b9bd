"""TFLite to ONNX by tf2onnx, with handlers of our own; the functions of a child process.

Promises: opset 18, and only operations that ONNX has: tf2onnx itself writes files with operations that nobody runs and
says nothing.
Leaves out: comparing the file with its source (`layout`).
Thread: main, in a child process.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from converters.graph.flatbuffer import read_graph
from edge.durable import write_atomic
from edge.errors import MissingExtraError, UnsupportedSourceError

__all__ = ["OPSET", "Tf2onnxAnswer", "Tf2onnxRequest", "convert", "register_handlers"]

_TO_TENSORFLOW = "com.google.tensorflow"  # their first pass: TFLite's operations to TensorFlow's
_DENSE = "TFL_FULLY_CONNECTED"
_FLAT = 2  # rank
OPSET = 18  # the highest that tf2onnx writes; ONNX Runtime from 1.14 reads it


class Tf2onnxRequest(Struct, frozen=True, kw_only=True):
    """A TFLite file, and where its ONNX file goes."""

    path: str
    output: str


class Tf2onnxAnswer(Struct, frozen=True, kw_only=True):
    """The file is written."""

    made_by: str


def convert(request: Tf2onnxRequest) -> Tf2onnxAnswer:
    """Convert one file.

    Raises:
        MissingExtraError: tf2onnx or TensorFlow is not installed.
        ModelError: no TFLite file.
        UnsupportedSourceError: operations that have no ONNX form here.
    """
    tf2onnx = _tool()
    register_handlers()
    content = _uniquely_named(Path(request.path).read_bytes())
    with tempfile.TemporaryDirectory(dir=Path(request.output).parent, prefix=".tf2onnx-") as folder:
        given = Path(folder) / "model.tflite"
        given.write_bytes(content)
        try:
            model, _ = tf2onnx.convert.from_tflite(str(given), opset=OPSET)
        except Exception as err:  # of every kind
            raise UnsupportedSourceError(
                f"E525 tf2onnx cannot convert the model: {_first_line(err)}; {_ADVICE}"
            ) from err
    _refuse_strangers(model)
    write_atomic(Path(request.output), model.SerializeToString(deterministic=True))
    return Tf2onnxAnswer(made_by=f"tf2onnx {tf2onnx.__version__}")


_ADVICE = "convert it from the framework that it was trained in, or use the TFLite variants"


def register_handlers() -> None:
    """Teach tf2onnx, in this process, the operations that it passes through as they are (P4)."""
    from tf2onnx import onnx_opset, tflite_handlers  # noqa: F401 - theirs first, so that ours replace them
    from tf2onnx.handler import tf_op

    for name, handler in (("TFL_GELU", _gelu), ("TFL_EMBEDDING_LOOKUP", _embedding_lookup), ("Erfc", _erfc)):
        tf_op.register_handler(handler, 1, [name], "", {})
    first = tf_op.get_opsets()[_TO_TENSORFLOW][0]
    theirs, options = first[_DENSE]
    if not isinstance(theirs, functools.partial):
        tf_op.register_handler(functools.partial(_dense, theirs), 0, [_DENSE], _TO_TENSORFLOW, options)


def _gelu(graph: Any, node: Any, **_: Any) -> None:
    """0.5 x (1 + erf(x / sqrt 2)), or with tanh where the file says approximate."""
    is_approximate = bool(node.get_attr_value("approximate", 0))
    source, shape, dtype = node.input[0], graph.get_shape(node.output[0]), graph.get_dtype(node.output[0])
    name, output = node.name, node.output[0]
    graph.remove_node(name)

    def constant(value: float) -> str:
        made: str = graph.make_const(_fresh(name), np.array(value, np.float32)).output[0]
        return made

    def step(operation: str, *inputs: str) -> str:
        made: str = graph.make_node(operation, list(inputs), shapes=[shape], dtypes=[dtype]).output[0]
        return made

    if is_approximate:
        cubed = step("Mul", step("Mul", step("Mul", source, source), source), constant(0.044715))
        inner = step("Tanh", step("Mul", step("Add", source, cubed), constant(float(np.sqrt(2 / np.pi)))))
    else:
        inner = step("Erf", step("Mul", source, constant(float(np.sqrt(0.5)))))
    half = step("Mul", source, constant(0.5))
    graph.make_node(
        "Mul", [half, step("Add", inner, constant(1.0))], name=name, outputs=[output], shapes=[shape], dtypes=[dtype]
    )


def _embedding_lookup(graph: Any, node: Any, **_: Any) -> None:
    """EMBEDDING_LOOKUP(ids, weights) is Gather(weights, ids)."""
    node.type = "Gather"
    graph.replace_inputs(node, [node.input[1], node.input[0]])
    for name in list(node.attr):
        del node.attr[name]
    node.set_attr("axis", 0)


def _dense(theirs: Any, graph: Any, node: Any, **options: Any) -> None:
    """FULLY_CONNECTED that makes its input flat: their handler then loses the bias, so it gets it flat already."""
    if not node.get_attr_value("keep_num_dims", 0) and graph.get_rank(node.input[0]) != _FLAT:
        source, weights, *bias = node.input
        shape = [-1, graph.get_shape(weights)[1]]
        wanted = graph.make_const(_fresh(node.name), np.array(shape, np.int64)).output[0]
        flat = graph.make_node("Reshape", [source, wanted], shapes=[shape], dtypes=[graph.get_dtype(source)])
        flat.skip_conversion = True
        graph.replace_inputs(node, [flat.output[0], weights, *bias])
        node.set_attr("keep_num_dims", 1)
    theirs(graph, node, **options)


def _erfc(graph: Any, node: Any, **_: Any) -> None:
    """1 - Erf."""
    shape, dtype, name, output = (
        graph.get_shape(node.output[0]),
        graph.get_dtype(node.output[0]),
        node.name,
        node.output[0],
    )
    source = node.input[0]
    graph.remove_node(name)
    one = graph.make_const(_fresh(name), np.array(1.0, np.float32)).output[0]
    erf = graph.make_node("Erf", [source], shapes=[shape], dtypes=[dtype]).output[0]
    graph.make_node("Sub", [one, erf], name=name, outputs=[output], shapes=[shape], dtypes=[dtype])


def _fresh(name: str) -> str:
    from tf2onnx import utils

    made: str = utils.make_name(name)
    return made


def _tool() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        import tf2onnx
        import tf2onnx.convert
    except ImportError as err:
        raise MissingExtraError("tf2onnx with TensorFlow", "tensorflow") from err
    return tf2onnx


def _uniquely_named(content: bytes) -> bytes:
    """tf2onnx knows tensors by their names alone, which some exporters give twice, or leave empty."""
    graph = read_graph(content)
    count = len(graph.main.tensors)
    names = [graph.name(index) for index in range(count)]
    if len(set(names)) == count and all(names):
        return content
    taken = Counter(names)
    for index, tensor in enumerate(graph.main.tensors):
        is_port = index in [*graph.main.inputs, *graph.main.outputs]
        if not names[index] or (taken[names[index]] > 1 and not is_port):
            tensor.name = f"{names[index] or 'tensor'}/{index}".encode()
    return graph.to_bytes()


def _refuse_strangers(model: Any) -> None:
    import onnx

    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    if strangers := sorted({node.op_type for node in model.graph.node if node.op_type not in known}):
        raise UnsupportedSourceError(f"E525 ONNX has no form of {', '.join(strangers)} of the TFLite file; {_ADVICE}")


def _first_line(err: BaseException) -> str:
    lines = str(err).strip().splitlines()
    return lines[0][:300] if lines else type(err).__name__
