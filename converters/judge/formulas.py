"""The figures that answers are compared by, as formulas on plain numbers.

Promises: NaN and infinity never look like agreement; every figure is finite but an area under no curve, which is NaN.
Leaves out: what the numbers mean for a task (`metrics`).
Thread: any; pure.
"""

from __future__ import annotations

import math

import numpy as np

from edge.compute.tensors import Array

__all__ = ["PERFECT_DB", "auc", "cosine", "macro_f1", "masks", "mean_auc", "sqnr_db", "wilson"]

PERFECT_DB = 200.0  # identical numbers, whose ratio is infinite, which JSON cannot say
_Z95 = 1.959964
_MASK = -1e8  # programs write -1e9 or the lowest number of all for "not this one"; smaller ones may be answers
_MASK_RATIO = 1e3


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` (Wilson, 1927: Probable inference, J. Am. Stat. Assoc. 22)."""
    if count == 0:
        return 0.0, 1.0
    z2 = _Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def sqnr_db(outputs: Array, reference: Array) -> float:
    """10 log10(sum ref^2 / sum err^2), at most 200; -200 where a number is no number."""
    if not np.isfinite(outputs).all():
        return -PERFECT_DB
    signal = float(np.sum(np.square(reference, dtype=np.float64)))
    noise = float(np.sum(np.square(outputs.astype(np.float64) - reference)))
    if noise == 0.0:
        return PERFECT_DB
    if signal == 0.0:
        return -PERFECT_DB
    return float(np.clip(10 * math.log10(signal / noise), -PERFECT_DB, PERFECT_DB))


def cosine(outputs: Array, reference: Array) -> float:
    """Mean over samples of the cosine between two outputs; 0 for numbers that are none."""
    masked = masks(reference).reshape(len(reference), -1)
    one = np.where(masked, 0.0, outputs.reshape(len(outputs), -1).astype(np.float64))
    two = np.where(masked, 0.0, reference.reshape(len(reference), -1).astype(np.float64))
    if not np.isfinite(one).all():
        return 0.0
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    products = np.sum(one * two, axis=1)
    same = np.all(one == two, axis=1)
    return float(np.mean(np.where(same, 1.0, products / np.where(lengths > 0, lengths, 1.0))))


def masks(reference: Array) -> Array:
    """Which numbers of a source's answers are none: minus infinity, or far below all the others of their sample.

    Args:
        reference: (samples, ...). Where a sample has nothing but such numbers, they are its answer.
    """
    numbers: Array = reference.reshape(len(reference), -1).astype(np.float64)
    rows, low = np.abs(numbers), np.less_equal(numbers, _MASK)
    others = np.max(rows, axis=1, keepdims=True, initial=0.0, where=~low & np.isfinite(rows))
    far = low & (rows > _MASK_RATIO * np.maximum(others, 1.0)) & ~low.all(axis=1, keepdims=True)
    found: Array = (far | np.isinf(rows)).reshape(reference.shape)
    return found


def macro_f1(told: Array, truth: Array) -> float:
    """F1 of each class that is true of a sample, and their mean."""
    found = []
    for index in np.unique(truth):
        hits = float(np.sum((told == index) & (truth == index)))
        wrong = float(np.sum((told == index) != (truth == index)))
        found.append(2 * hits / (2 * hits + wrong) if hits + wrong else 0.0)
    return float(np.mean(found)) if found else 0.0


def mean_auc(scores: Array, truth: Array) -> float:
    """The mean of `auc` over columns that have both, one class against the rest; NaN where none has.

    Args:
        scores: (samples, classes).
        truth: the same, 0 and 1.
    """
    found = [auc(scores[:, place], truth[:, place]) for place in range(scores.shape[1])]
    told = [each for each in found if math.isfinite(each)]
    return float(np.mean(told)) if told else math.nan


def auc(scores: Array, truth: Array) -> float:
    """Area under the ROC curve by ranks, ties counted half (Mann and Whitney, 1947); NaN for one class alone."""
    ones, zeros = scores[truth == 1], scores[truth == 0]
    if not ones.size or not zeros.size:
        return math.nan
    ordered = np.sort(zeros)
    below = np.searchsorted(ordered, ones, "left") + np.searchsorted(ordered, ones, "right")
    return float(np.sum(below) / 2 / (ones.size * zeros.size))
