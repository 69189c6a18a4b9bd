"""Rewrites embedding bags, which no exporter takes to TFLite and which become a loop in ONNX.

Promises: the rewritten module says the same, and how nearly is told as a note; one that cannot be rewritten is refused.
Leaves out: everything else in the graph.
Thread: main, in a child process.
"""

from __future__ import annotations

import operator
from typing import Any

from converters.load.torch.masks import masks_in_graph
from converters.load.torch.run import Runnable
from converters.spec import Note
from converters.usercode import first_line
from edge.errors import UnsupportedSourceError

__all__ = ["exportable"]

# Positions in aten::embedding_bag's arguments.
_WEIGHT, _IDS, _OFFSETS, _MODE, _WEIGHTS, _HAS_LAST, _PADDING = 0, 1, 2, 4, 6, 7, 8

_SAME = 1e-4


def exportable(runnable: Runnable) -> tuple[Any, tuple[Note, ...]]:
    """The module for the exporters, and what was changed in it.

    Raises:
        UnsupportedSourceError: PyTorch cannot trace it, or a bag's length changes.
    """
    import torch

    try:
        program = torch.export.export(runnable.module, runnable.examples, strict=False)
    except MemoryError:
        raise
    except Exception as err:
        raise UnsupportedSourceError(
            f"E505 PyTorch cannot trace it: {type(err).__name__}: {first_line(err)}; torch.export.export(model, (x,)) "
            "shows more"
        ) from err
    masks = () if runnable.notes else masks_in_graph(program.graph)
    if not any(_is_bag(node) for node in program.graph.nodes):
        return runnable.module, masks
    module = program.module()
    for node in [node for node in module.graph.nodes if _is_bag(node)]:
        _replace(module.graph, node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module, (*masks, _checked(runnable, module))


def _is_bag(node: Any) -> bool:
    return node.op == "call_function" and str(node.target).startswith(("aten.embedding_bag.", "aten._embedding_bag."))


def _replace(graph: Any, node: Any) -> None:
    from converters.load.torch.modules import bag

    args = (*node.args, *(None,) * (_PADDING + 1 - len(node.args)))
    length = _length(args[_OFFSETS], args[_IDS])
    if length is None or args[_HAS_LAST]:
        raise UnsupportedSourceError(
            "E501 nn.EmbeddingBag with offsets has bags of any length, which no exporter takes; give it ids of shape "
            "(batch, words), filled up with padding_idx"
        )
    padding = -1 if args[_PADDING] is None else args[_PADDING]
    with graph.inserting_before(node):
        new = graph.call_function(bag, (args[_WEIGHT], args[_IDS], length, args[_MODE] or 0, args[_WEIGHTS], padding))
    for user in list(node.users):
        if user.target is operator.getitem and user.args[1] == 0:
            user.replace_all_uses_with(new)


def _length(offsets: Any, ids: Any) -> int | None:
    """Words in a bag: the step of the range that offsets of (batch, words) ids are, or all words of a single bag."""
    if str(offsets.target) == "aten.arange.start_step" and offsets.args[0] == 0:
        return int(offsets.args[2])
    shape = tuple(offsets.meta["val"].shape) if "val" in offsets.meta else ()
    return int(ids.meta["val"].numel()) if shape == (1,) else None


def _checked(runnable: Runnable, module: Any) -> Note:
    import torch

    with torch.no_grad():
        pairs = [
            (one if isinstance(one, tuple) else (one,))
            for one in (runnable.module(*runnable.examples), module(*runnable.examples))
        ]
    furthest = max(float((one - other).abs().max()) for one, other in zip(*pairs, strict=True) if one.numel())
    largest = max(float(each.abs().max()) for each in pairs[0] if each.numel())
    if furthest > _SAME * max(largest, 1.0):
        raise UnsupportedSourceError(
            f"E501 nn.EmbeddingBag cannot be lowered, and rewritten it answers otherwise (by {furthest:.1e} of "
            f"{largest:.1e}); write it as nn.Embedding and a mean"
        )
    return Note(
        code="I501",
        message="nn.EmbeddingBag cannot be lowered; rewriting it to Embedding and mean or sum changes nothing "
        f"numerically (checked: largest difference {furthest:.1e})",
    )
