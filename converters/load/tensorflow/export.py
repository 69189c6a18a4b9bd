"""From a function of TensorFlow to float files, with TensorFlow's own converters.

Promises: what is converted has fixed sizes; a TFLite file that keeps its weights in variables, and an ONNX file that no
runtime opens, are refused, although their converters called them good.
Leaves out: where the function comes from (`savedmodel`).
Thread: main, in a child process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from converters.graph.flatbuffer import read_graph
from converters.load.exported import distinct
from converters.spec import Signature
from converters.usercode import first_line
from edge.engines.open import open_engine
from edge.errors import MissingExtraError, ModelError, UnsupportedSourceError

__all__ = ["write_onnx", "write_tflite"]

_OPSET = 17
_LACKING = re.compile(r"^(?:TF Select|Custom|Flex) ops: (.+)$", re.MULTILINE)
_COUNTED = re.compile(r"__(\d+)")
_STATE = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"})


def write_tflite(
    function: Callable[..., Sequence[Any]], kept: Any, signature: Signature, path: Path, scratch: Path
) -> str:
    """Convert to TFLite; what made it.

    Args:
        function: flat tensors in the signature's order, in and out.
        kept: whatever owns the function's variables.
        signature: names and frozen shapes.
        path: of the file to write.
        scratch: a folder that may be made.

    Raises:
        UnsupportedSourceError: TFLite lacks an operation, or the file would keep state.
    """
    import tensorflow as tf

    module = tf.Module()
    module.kept = kept
    names = [port.name for port in signature.outputs]

    @tf.function(input_signature=_specs(signature))  # type: ignore[untyped-decorator]
    def serve(*tensors: Any) -> dict[str, Any]:
        return {name: tf.identity(each) for name, each in zip(names, function(*tensors), strict=True)}

    module.serve = serve
    try:
        tf.saved_model.save(module, str(scratch), signatures=serve.get_concrete_function())
        converter = tf.lite.TFLiteConverter.from_saved_model(str(scratch))
        content: bytes = converter.convert()
    except MemoryError:
        raise
    except Exception as err:
        lacking = ", ".join(_LACKING.findall(str(err)))
        reason = f"TFLite lacks {lacking}" if lacking else first_line(err)
        raise UnsupportedSourceError(f"E505 TensorFlow cannot make TFLite of it: {reason}") from err
    graph = read_graph(content)
    if found := sorted(_STATE & {graph.operation(operator) for operator in graph.operators}):
        raise UnsupportedSourceError(
            f"E505 the model keeps state between calls ({', '.join(found)}); make the state an input and an output"
        )
    path.write_bytes(_in_order(graph, signature) or content)
    return f"tensorflow {tf.__version__}"


def write_onnx(
    function: Callable[..., Sequence[Any]], _kept: Any, signature: Signature, path: Path, _scratch: Path
) -> str:
    """Convert to ONNX; what made it. Arguments as of `write_tflite`.

    Raises:
        UnsupportedSourceError: tf2onnx fails, or what it wrote opens in no runtime.
        MissingExtraError: tf2onnx or ONNX Runtime is not installed.
    """
    import tensorflow as tf

    try:
        import onnx
        import tf2onnx
    except ModuleNotFoundError as err:
        raise MissingExtraError("tf2onnx", "tensorflow") from err

    def flat(*tensors: Any) -> tuple[Any, ...]:
        return tuple(tf.identity(each) for each in function(*tensors))

    specs = _specs(signature)
    wrapped = tf.function(flat, input_signature=specs)
    try:
        captures = wrapped.get_concrete_function(*specs).graph.captures
        model, _ = tf2onnx.convert.from_function(wrapped, input_signature=specs, opset=_OPSET)
    except MemoryError:
        raise
    except Exception as err:
        raise UnsupportedSourceError(f"E505 tf2onnx cannot make ONNX of it: {first_line(err)}") from err
    _hold_constants(model.graph, captures)
    _without_erfc(model.graph)
    if len(model.graph.input) != len(signature.inputs):
        names = ", ".join(value.name for value in model.graph.input)
        raise UnsupportedSourceError(f"E505 tf2onnx makes an ONNX file with other inputs: {names}")
    _renumber(model.graph)
    onnx.save(model, path)
    try:
        open_engine(path.read_bytes()).close()
    except ModelError as err:
        path.unlink()
        raise UnsupportedSourceError(f"E505 tf2onnx makes an ONNX file that does not open: {first_line(err)}") from err
    return f"tf2onnx {metadata.version('tf2onnx')}"


def _specs(signature: Signature) -> list[Any]:
    import tensorflow as tf

    names = _arguments(signature)
    return [
        tf.TensorSpec(port.shape, port.dtype, name=name) for port, name in zip(signature.inputs, names, strict=True)
    ]


def _arguments(signature: Signature) -> tuple[str, ...]:
    """The inputs' names as TensorFlow takes them for arguments."""
    kept = [re.sub(r"[^A-Za-z0-9_]", "_", port.name) for port in signature.inputs]
    return distinct(name if name[:1].isalpha() else f"input_{name}" for name in kept)


def _in_order(graph: Any, signature: Signature) -> bytes:
    """The file with its inputs and outputs in our order; b"" where they are: the converter has an order of its own."""
    (told,) = graph.model.signatureDefs
    inputs = {bytes(each.name).decode(): int(each.tensorIndex) for each in told.inputs}
    outputs = {bytes(each.name).decode(): int(each.tensorIndex) for each in told.outputs}
    wanted = [inputs[name] for name in _arguments(signature)], [outputs[port.name] for port in signature.outputs]
    if wanted == (list(graph.main.inputs), list(graph.main.outputs)):
        return b""
    graph.main.inputs, graph.main.outputs = wanted
    content: bytes = graph.to_bytes()
    return content


def _hold_constants(graph: Any, captures: Sequence[tuple[Any, Any]]) -> None:
    """Constants that layers keep outside the graph, Normalization's, which tf2onnx takes for inputs."""
    from onnx import numpy_helper

    held = {
        inner.name: outer for outer, inner in captures if hasattr(outer, "numpy") and outer.dtype.name != "resource"
    }
    for value in list(graph.input):
        if value.name in held:
            graph.initializer.append(numpy_helper.from_array(held[value.name].numpy(), value.name))
            graph.input.remove(value)


def _renumber(graph: Any) -> None:
    """Number tf2onnx's own names, "new_shape__63", in the order of their use: its counter runs through sets."""
    kept = {value.name for value in (*graph.input, *graph.output)}
    numbers: dict[str, str] = {}

    def renamed(name: str) -> str:
        if name in kept:
            return name
        return _COUNTED.sub(lambda found: f"__{numbers.setdefault(found[1], str(len(numbers)))}", name)

    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed(name) for name in names]
        node.name = renamed(node.name)
    for value in (*graph.initializer, *graph.value_info):
        value.name = renamed(value.name)
    sorted_weights = sorted(graph.initializer, key=lambda tensor: str(tensor.name))
    del graph.initializer[:]
    graph.initializer.extend(sorted_weights)


def _without_erfc(graph: Any) -> None:
    """Erfc, which TensorFlow makes of gelu and ONNX does not have, is 1 - Erf (tensorflow-onnx#2347)."""
    from onnx import helper

    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        erf, one = f"{node.output[0]}_erf", f"{node.output[0]}_one"
        graph.initializer.append(helper.make_tensor(one, 1, [], [1.0]))
        nodes.append(helper.make_node("Erf", [node.input[0]], [erf], name=erf))
        nodes.append(helper.make_node("Sub", [one, erf], [node.output[0]], name=node.name))
    del graph.node[:]
    graph.node.extend(nodes)
