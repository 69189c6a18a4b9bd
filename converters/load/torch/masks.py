"""Finds numbers such as -1e9 that stand for "not this one": integers and half floats have no room for them.

Promises: a mask is found at work, on an example, or as a constant in the graph, where the example masks nothing.
Leaves out: what follows from it (`converters.emit`).
Thread: main, in a child process.
"""

from __future__ import annotations

import math
from typing import Any

from converters.spec import Note

__all__ = ["masks_at_work", "masks_in_graph"]

_MASK = -1e4
_MANY_TIMES = 1e4
_MAKERS = (
    "aten.masked_fill", "aten.where", "aten.full", "aten.new_full", "aten.fill", "aten.scalar_tensor", "aten.mul",
    "aten.add",
)  # fmt: skip
_NOTE = Note(
    code="W509",
    message="it masks with numbers such as -1e9, for which integers and half floats have no room: the mask stays in "
    "float; mask outside the model to have all of it in integers",
)


def masks_at_work(module: Any, examples: tuple[Any, ...]) -> tuple[Note, ...]:
    """Run a module and look at every tensor that it makes."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[str] = []

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.is_floating_point() and _is_masked(result):
                found.append(str(function))
            return result

    with Watch(), torch.no_grad():
        module(*examples)
    return (_NOTE,) if found else ()


def masks_in_graph(graph: Any) -> tuple[Note, ...]:
    """Look for the constant in a graph of torch.export."""
    for node in graph.nodes:
        if node.op == "call_function" and str(node.target).startswith(_MAKERS):
            numbers = [each for each in (*node.args, *node.kwargs.values()) if isinstance(each, int | float)]
            if any(number < _MASK for number in numbers):
                return (_NOTE,)
    return ()


def _is_masked(tensor: Any) -> bool:
    """Whether some numbers are far below all the others."""
    if tensor.numel() == 0 or not float(tensor.min()) < _MASK:
        return False
    lowest = float(tensor.min())
    rest = tensor[tensor > lowest / 2] if math.isfinite(lowest) else tensor[tensor > lowest]
    return bool(rest.numel()) and -lowest > _MANY_TIMES * float(rest.abs().max())
