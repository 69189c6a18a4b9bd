"""Small ONNX models with weights, made with `onnx.helper`; only where the converters' tools are installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.spec import Port, Signature

FLOAT, INT64 = 1, 7


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[int]],
    outputs: Mapping[str, Sequence[int] | None],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = 18,
    ir_version: int = 8,
    ids: Sequence[str] = (),
) -> Any:
    from onnx import helper, numpy_helper

    def value(name: str, shape: Sequence[int] | None) -> Any:
        return helper.make_tensor_value_info(name, INT64 if name in ids else FLOAT, shape)

    graph = helper.make_graph(
        list(nodes),
        "graph",
        [value(name, shape) for name, shape in inputs.items()],
        [value(name, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def node(operation: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """Names are separated by blanks; a dash is an input left out."""
    from onnx import helper

    return helper.make_node(
        operation, ["" if name == "-" else name for name in inputs.split()], outputs.split(), **attributes
    )


def signature(inputs: Mapping[str, Sequence[int]], outputs: Mapping[str, Sequence[int]], *ids: str) -> Signature:
    def ports(shapes: Mapping[str, Sequence[int]]) -> tuple[Port, ...]:
        return tuple(
            Port(name=name, shape=tuple(shape), dtype="int64" if name in ids else "float32")
            for name, shape in shapes.items()
        )

    return Signature(inputs=ports(inputs), outputs=ports(outputs))


def random(*shape: int, seed: int = 0, scale: float = 0.3) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def operations(content: bytes) -> list[str]:
    import onnx

    return [each.op_type for each in onnx.load_model_from_string(content).graph.node]


def constants(content: bytes) -> dict[str, np.ndarray]:
    import onnx

    graph = onnx.load_model_from_string(content).graph
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def classifier(classes: int = 10, *, head: str = "Softmax") -> bytes:
    """(1, 3, 12, 12) -> conv, relu, depthwise, relu, pointwise, add, relu, pool, dense -> (1, classes)."""
    nodes = [
        node("Conv", "x w1 b1", "c1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=8),
        node("Relu", "c2", "r2"),
        node("Conv", "r2 w3 b3", "c3", kernel_shape=[1, 1]),
        node("Add", "c3 r1", "s"),
        node("Relu", "s", "r3"),
        node("MaxPool", "r3", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p w4 b4", "c4", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", "c4", "r4"),
        node("GlobalAveragePool", "r4", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f w5 b5", "logits", transB=1),
        node(head, "logits", "y"),
    ]
    weights = {
        "w1": random(8, 3, 3, 3, seed=1), "b1": random(8, seed=2),
        "w2": random(8, 1, 3, 3, seed=3), "b2": random(8, seed=4),
        "w3": random(8, 8, 1, 1, seed=5), "b3": random(8, seed=6),
        "w4": random(32, 8, 3, 3, seed=7), "b4": random(32, seed=8),
        "w5": random(classes, 32, seed=9, scale=2.0), "b5": random(classes, seed=10),
    }  # fmt: skip
    made = model(nodes, {"x": (1, 3, 12, 12)}, {"y": (1, classes)}, weights)
    content: bytes = made.SerializeToString()
    return content


CLASSIFIER = {"x": (1, 3, 12, 12)}


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """(count, 1, 3, 12, 12) float32, 0..1."""
    return np.random.default_rng(seed).random((count, 1, 3, 12, 12)).astype(np.float32)


def attention(mask: float = -1e9) -> bytes:
    """ids (1, 8) -> embedding, masked attention over 16 numbers, dense -> (1, 4). Id 0 is padding."""
    nodes = [
        node("Gather", "table ids", "e"),
        node("MatMul", "e wq", "q"),
        node("MatMul", "e wk", "k"),
        node("MatMul", "e wv", "v"),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "scores"),
        node("Equal", "ids zero", "is_padding"),
        node("Unsqueeze", "is_padding axis", "hidden"),
        node("Where", "hidden low scores", "masked"),
        node("Softmax", "masked", "shares", axis=-1),
        node("MatMul", "shares v", "a"),
        node("ReduceMean", "a axis", "mean", keepdims=0),
        node("Gemm", "mean wo bo", "y"),
    ]
    weights = {
        "table": random(64, 16, seed=1, scale=1.0),
        "wq": random(16, 16, seed=2), "wk": random(16, 16, seed=3), "wv": random(16, 16, seed=4),
        "wo": random(16, 4, seed=5), "bo": random(4, seed=6),
        "zero": np.int64(0).reshape(()), "axis": np.array([1], np.int64), "low": np.float32(mask).reshape(()),
    }  # fmt: skip
    made = model(nodes, {"ids": (1, 8)}, {"y": (1, 4)}, weights, ids=["ids"])
    content: bytes = made.SerializeToString()
    return content


def sentences(count: int, seed: int = 0) -> np.ndarray:
    """(count, 1, 8) int64; some end in padding."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 64, (count, 1, 8))
    ids[:, :, 5:] *= rng.random((count, 1, 3)) < 0.6
    return ids


def save_samples(path: Path, *arrays: np.ndarray) -> str:
    np.savez(path, **{f"input_{place}": array for place, array in enumerate(arrays)})
    return str(path)
