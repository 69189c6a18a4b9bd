"""What a TFLite file answers, and how far two answers are apart."""

from __future__ import annotations

import numpy as np

from converters.graph.flatbuffer import read_graph
from converters.spec import Port, Signature
from edge.compute.tensors import Array, dequantize, quantize
from edge.engines.open import open_engine


def answers(content: bytes, *stacks: Array) -> Array:
    """The first output for each sample, real numbers; `stacks` as the converters have them."""
    engine = open_engine(content)
    found = []
    for sample in zip(*stacks, strict=True):
        tensors = [quantize(part, spec) for part, spec in zip(sample, engine.inputs, strict=True)]
        found.append(dequantize(engine.run(tensors)[0], engine.outputs[0]))
    engine.close()
    return np.stack(found)


def decibels(reference: Array, found: Array) -> float:
    """SQNR; 300 where they are equal."""
    error = float(((reference.astype(np.float64) - found) ** 2).sum())
    return 300.0 if error == 0 else 10 * float(np.log10((reference.astype(np.float64) ** 2).sum() / error))


def operations(content: bytes) -> list[str]:
    graph = read_graph(content)
    return [graph.operation(operator) for operator in graph.operators]


def signature_of(
    content: bytes, inputs: tuple[str, ...] = ("image",), outputs: tuple[str, ...] = ("scores",)
) -> Signature:
    """That of a file, under other names."""
    graph = read_graph(content)

    def ports(numbers: list[int], names: tuple[str, ...]) -> tuple[Port, ...]:
        return tuple(
            Port(name=name, shape=graph.shape(index), dtype=graph.dtype(index))
            for name, index in zip(names, numbers, strict=True)
        )

    return Signature(inputs=ports(graph.main.inputs, inputs), outputs=ports(graph.main.outputs, outputs))
