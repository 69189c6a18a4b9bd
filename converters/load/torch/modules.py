"""Modules around a user's module, for exporters that know tensors only.

Promises: the numbers are those of the module inside; imported only where PyTorch is there.
Leaves out: exporting (`export`).
Thread: main, in a child process.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

__all__ = ["Flat", "bag", "flatten_answer"]

_SUM, _MEAN, _MAX = range(3)  # of torch.nn.functional.embedding_bag


class Flat(nn.Module):  # type: ignore[misc]
    """Takes the tensors of a nested input one by one, gives those of a nested answer as a tuple."""

    def __init__(self, source: Any, structure: Any) -> None:
        super().__init__()
        self.source = source
        self._structure = structure
        self.training = False  # and no `eval()`, which what torch.export gives back refuses

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        """The module's answer, flat."""
        args, kwargs = pytree.tree_unflatten(list(tensors), self._structure)
        return flatten_answer(self.source(*args, **kwargs))[0]


def flatten_answer(answer: Any) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """The tensors of an answer, and the names that its dicts and fields give them ("" for a place in a tuple)."""
    leaves, _ = pytree.tree_flatten_with_path(answer)
    kept = [(path, leaf) for path, leaf in leaves if leaf is not None]
    return tuple(leaf for _, leaf in kept), tuple(_name(path) for path, _ in kept)


def _name(path: tuple[Any, ...]) -> str:
    named = [getattr(key, "key", getattr(key, "name", None)) for key in path]
    return "_".join(str(each) for each in named if isinstance(each, str))


def bag(weight: Any, ids: Any, length: int, mode: int, weights: Any, padding: int) -> Any:
    """`embedding_bag` for bags of one length, in operations that every exporter has.

    ids (bags * length,) integers, weight (words, size), weights (bags * length,) or None -> (bags, size).
    """
    ids = ids.reshape(-1, length)
    rows = nn.functional.embedding(ids, weight)
    is_word = None if padding < 0 else (ids != padding).unsqueeze(-1)
    if mode == _MAX:
        if is_word is None:
            return rows.amax(1)
        lowest = torch.where(is_word, rows, torch.full_like(rows, torch.finfo(rows.dtype).min)).amax(1)
        return torch.where(is_word.any(1), lowest, torch.zeros_like(lowest))
    if weights is not None:
        rows = rows * weights.reshape(-1, length, 1)
    if is_word is None:
        return rows.mean(1) if mode == _MEAN else rows.sum(1)
    total = (rows * is_word.to(rows.dtype)).sum(1)
    return total / is_word.to(rows.dtype).sum(1).clamp(min=1.0) if mode == _MEAN else total
