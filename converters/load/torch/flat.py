"""A user's module as one that takes and gives flat tensors.

Promises: the numbers are those of the user's own call; inputs and outputs have the names that the module gives them.
Leaves out: where the module comes from (`source`), exporting.
Thread: main, in a child process.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from converters.load.torch.run import Runnable, attempt, prepare
from edge.errors import UnsupportedSourceError

__all__ = ["flat", "parameter_names", "plain"]


def flat(module: Any, args: Sequence[Any], kwargs: dict[str, Any], names: Sequence[str]) -> Runnable:
    """Wrap a module, where it is not flat already.

    Args:
        module: in evaluation mode, in float32.
        args: its positional arguments, tensors or nested in tuples, lists and dicts.
        kwargs: the same by name.
        names: one for each tensor in them.

    Raises:
        UnsupportedSourceError: it fails, or takes or gives what is no tensor.
    """
    import torch

    from converters.load.torch.modules import Flat, flatten_answer

    leaves, structure = torch.utils._pytree.tree_flatten((tuple(args), kwargs))  # noqa: SLF001
    if not leaves or not all(isinstance(leaf, torch.Tensor) for leaf in leaves):
        raise UnsupportedSourceError("E506 the example inputs must be tensors, and at least one")
    answer = attempt(module, args, kwargs, zip(names, leaves, strict=True))
    outputs = flatten_answer(answer)[1]
    is_flat = not kwargs and all(isinstance(each, torch.Tensor) for each in args) and _is_flat(answer)
    around = module if is_flat else Flat(module, structure)
    named = [name or f"output_{place}" for place, name in enumerate(outputs)] if any(outputs) else ()
    return prepare(around, tuple(leaves), names, named)


def parameter_names(module: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[str]:
    """What the module's own `forward` calls each tensor; those inside one argument share its name."""
    import torch

    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):  # written in C
        parameters = []
    known = [each.name for each in parameters if each.kind is not inspect.Parameter.VAR_POSITIONAL]
    positional = {known[place] if place < len(known) else f"input_{place}": value for place, value in enumerate(args)}
    return [
        name
        for name, value in (positional | kwargs).items()
        for _ in torch.utils._pytree.tree_leaves(value)  # noqa: SLF001
    ]


def plain(given: Any) -> Any:
    """Tensors of a nested value on the processor, without gradients, floats in float32."""
    import torch

    def one(tensor: Any) -> Any:
        tensor = tensor.detach().cpu()
        return tensor.float() if tensor.is_floating_point() else tensor

    return torch.utils._pytree.tree_map_only(torch.Tensor, one, given)  # noqa: SLF001


def _is_flat(answer: Any) -> bool:
    import torch

    if isinstance(answer, torch.Tensor):
        return True
    return type(answer) is tuple and all(isinstance(each, torch.Tensor) for each in answer)
