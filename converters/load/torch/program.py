"""Files of `torch.export.save`.

Promises: a batch that the file leaves free is frozen; one that was exported while it was training, or in half floats,
is refused.
Leaves out: exporting on (`export`).
Thread: main, in a child process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converters.load.messages import OpenRequest
from converters.load.running import settle
from converters.load.torch.flat import flat
from converters.load.torch.run import Runnable, example_tensor
from converters.usercode import first_line
from edge.errors import InputError, UnsupportedSourceError

__all__ = ["open_program"]

_HAS_PICKLE = "Weights only load failed"  # torch.load's own words
# Operations that learn while they run, and the place of the argument that says whether they do.
_LEARNING = {
    "aten.batch_norm.default": 5,
    "aten.dropout.default": 2,
    "aten.dropout_.default": 2,
    "aten.feature_dropout.default": 2,
    "aten.alpha_dropout.default": 2,
}


def open_program(request: OpenRequest) -> Runnable:
    """Read a .pt2 file.

    Raises:
        UnsupportedSourceError: another PyTorch wrote it, it was training, it is in half floats, or sizes stay free.
        InputError: a pickle in it that nobody trusts; shapes given that do not fit.
    """
    import torch

    try:
        program = torch.export.load(request.path)
    except MemoryError:
        raise
    except Exception as err:
        if _HAS_PICKLE in str(err):
            raise InputError(
                "E504 a pickle in this .pt2 file runs what its maker put in; save the model without it, or add "
                "--trust-pickle if you trust its maker"
            ) from err
        raise UnsupportedSourceError(
            f"E500 PyTorch {torch.__version__.partition('+')[0]} cannot read this .pt2 file ({first_line(err)}); save "
            "it again with the PyTorch that is installed here"
        ) from err
    held = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    _refuse_learning(program.graph)
    _refuse_half(held.values())
    inputs = [(name, held[name]) for name in program.graph_signature.user_inputs if name in held]
    if not all(isinstance(value, torch.Tensor) for _, value in inputs):
        raise UnsupportedSourceError(
            "E506 it was exported with inputs that are no tensors; export it with tensors only"
        )
    examples = _examples(program, inputs, request)
    args, kwargs = torch.utils._pytree.tree_unflatten(list(examples), program.call_spec.in_spec)  # noqa: SLF001
    try:
        return flat(program.module(), args, kwargs, [name for name, _ in inputs])
    except UnsupportedSourceError as err:
        if "Guard failed" not in str(err):
            raise
        raise UnsupportedSourceError(
            f"E506 it was exported for other sizes ({str(err).rpartition('Guard failed: ')[2]}); export it with "
            "dynamic_shapes whose batch is Dim('batch', min=1), or ask for a batch that it takes: --batch N"
        ) from err


def _refuse_learning(graph: Any) -> None:
    for node in graph.nodes:
        place = _LEARNING.get(str(node.target))
        if place is not None and len(node.args) > place and node.args[place] is True:
            raise UnsupportedSourceError(
                f"E507 it was exported while it was training ({node.target}); call model.eval() before torch.export"
            )


def _refuse_half(values: Any) -> None:
    import torch

    kinds = {value.dtype for value in values if isinstance(value, torch.Tensor) and value.is_floating_point()}
    if other := sorted(str(kind).removeprefix("torch.") for kind in kinds - {torch.float32}):
        raise UnsupportedSourceError(
            f"E510 it was exported in {', '.join(other)}; export it again in float32: model.float()"
        )


def _examples(program: Any, inputs: Sequence[tuple[str, Any]], request: OpenRequest) -> tuple[Any, ...]:
    """A tensor for each input: the file's own example, where that has the frozen shape."""
    import torch

    own = torch.utils._pytree.tree_leaves(program.example_inputs or ())  # noqa: SLF001
    examples = []
    for place, (name, value) in enumerate(inputs):
        sizes = [size if isinstance(size, int) else str(size) for size in value.shape]
        shape = settle(name, sizes, place, request)
        mine = own[place] if len(own) == len(inputs) else None
        is_fit = isinstance(mine, torch.Tensor) and tuple(mine.shape) == shape
        examples.append(mine if is_fit else example_tensor(shape, str(value.dtype).removeprefix("torch.")))
    return tuple(examples)
