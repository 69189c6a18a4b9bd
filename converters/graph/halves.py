"""Biases in half precision wherever the weights are.

Promises: what a layer adds is stored as its weights are; nothing else changes. The quantizer stores weights in half
precision and leaves biases in float32; LiteRT 1.2, the boards' engine, then takes the bias of a convolution for half
precision as well and answers NaN or noise, without a word. TFLiteConverter halves both.
Leaves out: numbers beyond half precision (`rules` keeps such layers float).
Thread: any; pure but for the graph it is given.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from converters.graph.flatbuffer import Graph

__all__ = ["halve_biases"]

_BIAS_AT = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}


def halve_biases(graph: Graph) -> None:
    """Store the float32 biases of layers with float16 weights as float16, each with a DEQUANTIZE before its layer."""
    halved: dict[int, int] = {}
    operators = []
    for operator in graph.operators:
        at = _BIAS_AT.get(graph.operation(operator), -1)
        unpack = graph.maker(operator.inputs[1]) if at >= 0 else None
        if unpack is not None and graph.dtype(unpack.inputs[0]) == "float16" and at < len(operator.inputs):
            index = operator.inputs[at]
            values = graph.constant(index)
            if values is not None and values.dtype == np.float32:
                if index not in halved:
                    operators.append(_unpacked(graph, unpack, index))
                    halved[index] = operators[-1].outputs[0]
                operator.inputs = [halved[index] if each == index else each for each in operator.inputs]
        operators.append(operator)
    graph.main.operators = operators


def _unpacked(graph: Graph, like: Any, index: int) -> Any:
    """A DEQUANTIZE of a new half-precision constant with the values of constant `index`."""
    values = graph.constant(index)
    if values is None:
        raise AssertionError("a bias is a constant")
    name = graph.name(index)
    output = copy.copy(graph.main.tensors[index])
    output.name, output.buffer = f"{name}_float".encode(), 0
    graph.main.tensors.append(output)
    operator = copy.copy(like)
    operator.outputs = [len(graph.main.tensors) - 1]
    operator.inputs = [graph.add_constant(values.astype(np.float16), name)]
    graph.main.tensors[index].name = f"{name}_was".encode()
    return operator
