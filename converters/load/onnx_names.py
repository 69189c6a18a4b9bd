"""Names for what PyTorch's ONNX exporter leaves as "view_33": after the layers of the source.

Promises: a tensor between layers, and the node that makes it, is called by its layer, "block1.pw/conv2d"; inputs,
outputs and weights keep their names; a constant is added where one was subtracted, which runtimes fold into the
convolution before it.
Leaves out: everything else (`converters.graph.onnx`).
Thread: main, in a child process.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

__all__ = ["name_tensors"]

_SCOPES = "pkg.torch.onnx.name_scopes"  # "['', 'block1', 'block1.pw', 'conv2d']"


def name_tensors(path: Path) -> None:
    """Rewrite a file in place."""
    import onnx

    model = onnx.load(path)
    _add_instead_of_subtracting(model.graph)
    if not any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute):
        _rename(model.graph)  # the body of a loop may use any name of the graph around it
    onnx.save(model, path)


def _add_instead_of_subtracting(graph: Any) -> None:
    """Keras' BatchNormalization is (x - mean) * scale + offset; ONNX Runtime folds Add and Mul, and no Sub."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for place, node in enumerate(graph.node):
        if node.op_type != "Sub" or node.input[1] not in constants:
            continue
        name = f"{node.input[1]}_negative_{place}"
        value = -numpy_helper.to_array(constants[node.input[1]])
        graph.initializer.append(numpy_helper.from_array(value, name))
        node.op_type = "Add"
        node.input[1] = name


def _rename(graph: Any) -> None:
    kept = {value.name for value in (*graph.input, *graph.output, *graph.initializer)} | {""}
    taken = set(kept)
    renamed: dict[str, str] = {}
    for node in graph.node:
        scopes = _scopes(node)
        for old in node.output:
            if old not in kept and scopes:
                renamed[old] = _free(f"{scopes[-2]}/{scopes[-1]}" if scopes[-2] else scopes[-1], taken)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
        node.name = next((name for name in node.output if name), node.name)
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)


def _scopes(node: Any) -> list[str]:
    """The modules that a node comes from, outermost first, and its operation; [] where nothing is said of them."""
    told = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
    scopes = [str(scope) for scope in ast.literal_eval(told)]
    return scopes if len(scopes) > 1 else []


def _free(name: str, taken: set[str]) -> str:
    unique = name
    count = 1
    while unique in taken:
        unique = f"{name}_{count}"
        count += 1
    taken.add(unique)
    return unique
