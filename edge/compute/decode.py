"""From a model's output tensors to what they mean.

Promises: the same tensors give the same items, in the same order: ties go to the lower class index. Boxes come as
shares of the source frame and in its pixels.
Leaves out: finding boxes in raw detector outputs (`detect`), drawing (`drawing`).
Thread: any; a `Decode` holds no state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from edge.compute.decoded import Decoded, Output, check_labels, find_output, label_of, named_output, score
from edge.compute.detect import compile_detect
from edge.compute.placement import Placement
from edge.compute.tensors import Array, TensorSpec
from edge.contract.manifest import (
    Binary,
    Classify,
    Decoder,
    Detect,
    Embed,
    MultiLabel,
    Recommend,
    Regress,
    Segment,
)
from edge.contract.messages import Item
from edge.errors import ManifestError

__all__ = ["Decode", "Decoded", "compile_decoder"]

Decode: TypeAlias = Callable[[Sequence[Array], Placement | None], Decoded]

_PLANE = 2  # axes of a class map


def compile_decoder(  # noqa: PLR0911 - one return a task
    output: Decoder, labels: tuple[str, ...], outputs: Sequence[TensorSpec]
) -> Decode:
    """Turn a manifest's output into a callable on the engine's outputs.

    The callable takes the tensors as the engine gave them, one for each of `outputs`, and where the picture lay in its
    frame (None for texts and numbers).

    Raises:
        ManifestError: the answer's output cannot be told from the others, or the labels do not fit it.
    """
    match output:
        case Classify():
            return _classify(output, labels, find_output(output.output, outputs, labels))
        case MultiLabel():
            return _multi_label(output, labels, find_output(output.output, outputs, labels))
        case Binary():
            return _binary(output, labels, find_output(output.output, outputs))
        case Regress():
            return _regress(labels, find_output(output.output, outputs, labels))
        case Detect():
            return compile_detect(output, labels, outputs)
        case Segment():
            return _segment(output, labels, find_output(output.output, outputs))
        case Embed():
            return _embed(output, find_output(output.output, outputs))
        case Recommend():
            return _recommend(output, labels, outputs)


def _classify(task: Classify, labels: tuple[str, ...], output: Output) -> Decode:
    check_labels(labels, _size(output.spec), output.spec)

    def decode(tensors: Sequence[Array], placement: Placement | None) -> Decoded:  # noqa: ARG001 - Decode's signature
        # Stored numbers and real ones have one order, and a stable sort leaves ties to the lower index.
        best = np.argsort(-_ordered(output.stored(tensors).reshape(-1)), kind="stable")[: task.top_k]
        scores = score(output.real(tensors).reshape(-1), task.scoring)
        return Decoded(items=tuple(_item(labels, int(index), scores) for index in best))

    return decode


def _multi_label(task: MultiLabel, labels: tuple[str, ...], output: Output) -> Decode:
    check_labels(labels, _size(output.spec), output.spec)

    def decode(tensors: Sequence[Array], placement: Placement | None) -> Decoded:  # noqa: ARG001 - Decode's signature
        scores = score(output.real(tensors).reshape(-1), task.scoring)
        best = np.argsort(-scores, kind="stable")
        kept = [int(index) for index in best if scores[index] >= task.threshold]
        return Decoded(items=tuple(_item(labels, index, scores) for index in kept))

    return decode


def _binary(task: Binary, labels: tuple[str, ...], output: Output) -> Decode:
    if _size(output.spec) not in {-1, 1}:
        raise ManifestError(f"expected one score from a yes-or-no model; {output.spec.name!r} is {output.spec.shape}")
    if labels:
        check_labels(labels, 2, output.spec)

    def decode(tensors: Sequence[Array], placement: Placement | None) -> Decoded:  # noqa: ARG001 - Decode's signature
        yes = float(score(output.real(tensors).reshape(-1)[:1], task.scoring)[0])
        index = int(yes >= task.threshold)
        return Decoded(items=(Item(label=label_of(labels, index), score=yes if index else 1.0 - yes, index=index),))

    return decode


def _regress(labels: tuple[str, ...], output: Output) -> Decode:
    check_labels(labels, _size(output.spec), output.spec)

    def decode(tensors: Sequence[Array], placement: Placement | None) -> Decoded:  # noqa: ARG001 - Decode's signature
        values = output.real(tensors).reshape(-1)
        names = labels or (("value",) if values.size == 1 else ())
        return Decoded(
            items=tuple(
                Item(label=label_of(names, index), score=float(value), index=index, value=float(value))
                for index, value in enumerate(values)
            )
        )

    return decode


def _segment(task: Segment, labels: tuple[str, ...], output: Output) -> Decode:
    def decode(tensors: Sequence[Array], placement: Placement | None) -> Decoded:  # noqa: ARG001 - Decode's signature
        mask = _class_map(output.stored(tensors), labels)
        pixels = np.bincount(mask.reshape(-1))
        order = np.argsort(-pixels, kind="stable")
        present = [int(index) for index in order if pixels[index]]
        if task.background in present:  # named last: it is what is left
            present.remove(task.background)
            present.append(task.background)
        return Decoded(
            items=tuple(
                Item(
                    label=label_of(labels, index),
                    score=float(pixels[index] / mask.size),
                    index=index,
                    pixels=int(pixels[index]),
                )
                for index in present
            ),
            mask=mask,
        )

    return decode


def _class_map(stored: Array, labels: tuple[str, ...]) -> Array:
    """(h, w) of class indices from a class map or from scores; quantised scores are compared as they are stored."""
    plane = stored.reshape(stored.shape[1:]) if stored.shape[0] == 1 and stored.ndim > _PLANE else stored
    if plane.ndim == _PLANE:
        classes = plane
    elif 1 in {plane.shape[0], plane.shape[-1]}:
        classes = plane.reshape([size for size in plane.shape if size != 1])
    else:
        count = len(labels) or min(plane.shape[0], plane.shape[-1])
        classes = plane.argmax(axis=-1 if plane.shape[-1] == count else 0)
    return np.asarray(classes.astype(np.uint8 if int(classes.max()) <= np.iinfo(np.uint8).max else np.int32))


def _embed(task: Embed, output: Output) -> Decode:
    def decode(tensors: Sequence[Array], placement: Placement | None) -> Decoded:  # noqa: ARG001 - Decode's signature
        vector = output.real(tensors).reshape(-1).astype(np.float64)
        length = float(np.sqrt(vector @ vector))
        if task.l2 and length > 0.0:
            vector /= length
        return Decoded(items=(Item(label="embedding", score=1.0, vector=tuple(vector.tolist())),))

    return decode


def _recommend(task: Recommend, labels: tuple[str, ...], outputs: Sequence[TensorSpec]) -> Decode:
    items, scores = _ranked(task, outputs)

    def decode(tensors: Sequence[Array], placement: Placement | None) -> Decoded:  # noqa: ARG001 - Decode's signature
        ranked = zip(items.stored(tensors).reshape(-1), scores.real(tensors).reshape(-1), strict=True)
        return Decoded(
            items=tuple(
                Item(label=label_of(labels, int(index)), score=float(value), index=int(index))
                for index, value in ranked
            )
        )

    return decode


def _ranked(task: Recommend, outputs: Sequence[TensorSpec]) -> tuple[Output, Output]:
    """Item numbers and scores; where they are not named, the integers and the rest."""
    found: list[Output] = []
    for name, is_integer in ((task.items, True), (task.scores, False)):
        if name is not None:
            found.append(named_output(name, outputs))
            continue
        fitting = [
            Output(place=place, spec=spec)
            for place, spec in enumerate(outputs)
            if (spec.dtype.kind in "iu" and spec.quantization is None) == is_integer
        ]
        if len(fitting) != 1:
            names = ", ".join(f"{spec.name} {spec.shape} {spec.dtype}" for spec in outputs)
            wanted = "item numbers" if is_integer else "scores"
            raise ManifestError(f"the model's outputs are {names}; name the one with the {wanted}")
        found += fitting
    sizes = [_size(output.spec) for output in found]
    if -1 not in sizes and sizes[0] != sizes[1]:
        raise ManifestError(f"the model gives {sizes[0]} item numbers and {sizes[1]} scores; expected one for each")
    return found[0], found[1]


def _item(labels: tuple[str, ...], index: int, scores: Array) -> Item:
    return Item(label=label_of(labels, index), score=float(scores[index]), index=index)


def _size(spec: TensorSpec) -> int:
    """Elements of one answer, -1 where a free dimension beside the batch hides it."""
    sizes = spec.shape[1:] if len(spec.shape) > 1 else spec.shape
    return -1 if -1 in sizes else int(np.prod(sizes, dtype=np.int64))


def _ordered(stored: Array) -> Array:
    """As numbers that may be negated without overflow."""
    return stored if stored.dtype.kind == "f" else stored.astype(np.int64)
