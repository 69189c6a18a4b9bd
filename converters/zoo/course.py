"""How long and how hard a network is trained, and how good its answers are.

Promises: plain numbers, the same for every framework.
Leaves out: training (`torch_training`, `keras_training`).
Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.compute.tensors import Array

__all__ = ["Course", "accuracy", "f1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """AdamW with a cosine schedule down to nothing."""

    epochs: int
    batch: int = 64
    rate: float = 2e-3
    decay: float = 1e-4
    smoothing: float = 0.05  # of labels: how much of the truth is given to the other classes
    warmup: float = 0.0  # share of all steps in which the rate rises from a twentieth; transformers need it


def accuracy(scores: Array, classes: Array) -> float:
    """Share of rows whose best class is right, 0..1. `scores` (n, classes), or (n, 1) for yes and no at 0.5."""
    return float(np.mean(_best(scores) == classes))


def f1(scores: Array, classes: Array, positive: int = 1) -> float:
    """Harmonic mean of precision and recall of one class, 0..1; `scores` as above."""
    best = _best(scores)
    hits = int(np.sum((best == positive) & (classes == positive)))
    named = int(np.sum(best == positive)) + int(np.sum(classes == positive))
    return 2 * hits / named if named else 0.0


def _best(scores: Array) -> Array:
    if scores.shape[1] == 1:
        return np.asarray(scores[:, 0] >= 0.5, np.int64)  # noqa: PLR2004 - a half
    return np.asarray(np.argmax(scores, axis=1))
