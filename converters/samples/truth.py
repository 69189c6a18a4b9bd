"""Labels of samples as numbers that a model's answers can be compared with.

Promises: class names, class numbers and one-hot rows all become class indices; what is no class of this model is one
`MediaError`, never a label that nothing can match.
Leaves out: finding labels beside samples (`gather`), counting right answers (`converters.judge.metrics`).
Thread: any; pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.spec import Signature
from edge.compute.tensors import Array
from edge.contract.manifest import Binary, Classify, Manifest, MultiLabel
from edge.errors import MediaError

__all__ = ["classes_of", "read_truth"]

_NAMED = 5


def read_truth(values: Sequence[Any], manifest: Manifest, signature: Signature, origin: str) -> Array | None:
    """Labels as `Samples.truth` has them; None where a sample has none.

    Args:
        values: one for each sample: a class name or number, a row of 0 and 1, or numbers.
        manifest: task and labels.
        signature: the outputs, which say how many classes there are where no labels do.
        origin: how messages call the samples.

    Raises:
        MediaError: they are no labels of this model.
    """
    if any(value is None for value in values):
        return None
    array = _numbers(values, manifest.labels, origin)
    match manifest.output:
        case Classify() | Binary():
            return _indices(array, classes_of(manifest, signature), origin)
        case MultiLabel():
            return _many(array, classes_of(manifest, signature), origin)
        case _:
            return array


def classes_of(manifest: Manifest, signature: Signature) -> int | None:
    """How many classes a model tells apart; None for other tasks, and where its answer cannot be told from the rest."""
    task = manifest.output
    if isinstance(task, Binary):
        return 2
    if not isinstance(task, Classify | MultiLabel):
        return None
    if manifest.labels:
        return len(manifest.labels)
    sizes = [math.prod(port.shape) for port in signature.outputs if task.output in {None, port.name}]
    return sizes[0] if len(sizes) == 1 else None


def _numbers(values: Sequence[Any], labels: tuple[str, ...], origin: str) -> Array:
    """(n,) or (n, k) int64, or (n, k) float64."""
    try:
        array = np.asarray(values)
    except ValueError as err:
        raise MediaError(
            f"{origin}: labels of different lengths; expected one class, or as many numbers, each"
        ) from err
    if array.dtype.kind in "US":
        return _named([str(value).strip() for value in array], labels, origin)
    if array.dtype.kind in "iub":
        array = array.astype(np.int64)
        return array.reshape(len(array)) if array.size == len(array) else array
    if array.dtype.kind != "f":
        raise MediaError(f"{origin}: labels of type {array.dtype}; expected class numbers, names, or numbers")
    return array.reshape(len(array), -1).astype(np.float64)


def _named(names: list[str], labels: tuple[str, ...], origin: str) -> Array:
    if all(name.lstrip("-").isdigit() for name in names) and not set(names) <= set(labels):
        return np.array([int(name) for name in names], np.int64)
    known = {label: index for index, label in enumerate(labels)}
    unknown = sorted(set(names) - set(known))
    if unknown and not labels:
        raise MediaError(f"{origin}: labels are names such as {unknown[0]!r}; say their order with --labels FILE")
    if unknown:
        raise MediaError(
            f"{origin}: label {unknown[0]!r} is none of the model's {len(labels)} ({', '.join(labels[:_NAMED])} ...)"
        )
    return np.array([known[name] for name in names], np.int64)


def _indices(array: Array, classes: int | None, origin: str) -> Array:
    """(n,) class indices."""
    if array.ndim > 1 and array.size > len(array):
        array = _from_one_hot(array, classes, origin)
    flat = array.reshape(-1)
    odd = flat[(flat != np.floor(flat)) | (flat < 0)] if classes is None else flat[~np.isin(flat, np.arange(classes))]
    if odd.size:
        wanted = "whole numbers from 0" if classes is None else f"0 to {classes - 1}"
        counted = ", which are counted from 0; these may be counted from 1" if odd[0] == classes else ""
        raise MediaError(f"{origin}: label {odd[0]:g} is no class; the model's are {wanted}{counted}")
    return flat.astype(np.int64)


def _from_one_hot(array: Array, classes: int | None, origin: str) -> Array:
    rows = array.reshape(len(array), -1)
    is_one_hot = bool(np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all())
    if not is_one_hot or classes not in {None, rows.shape[1]}:
        wanted = "" if classes is None else f" of {classes}"
        raise MediaError(
            f"{origin}: labels of shape {array.shape[1:]} for each sample; expected a class number, or a row{wanted} "
            "with a single 1"
        )
    classes_told: Array = np.argmax(rows, axis=1)
    return classes_told


def _many(array: Array, classes: int | None, origin: str) -> Array:
    """(n, k) 0 and 1."""
    rows = array.reshape(len(array), -1)
    if not np.isin(rows, (0, 1)).all() or classes not in {None, rows.shape[1]}:
        wanted = "" if classes is None else f"{classes} "
        raise MediaError(
            f"{origin}: labels of {rows.shape[1]} numbers a sample; expected {wanted}numbers of 0 or 1, for a "
            "model may give several labels"
        )
    return rows.astype(np.int64)
