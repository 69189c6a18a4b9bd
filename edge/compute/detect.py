"""From a detector's raw outputs to things and where they are.

Promises: the four dialects of `contract.manifest.DetectFormat`; outputs are told apart by name or shape, never by
their order; non-maximum suppression works class by class and keeps the better score, the earlier anchor on a tie.
Leaves out: other tasks (`decode`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.compute.decoded import Decoded, Output, find_output, label_of, named_output
from edge.compute.placement import Placement
from edge.compute.tensors import Array, TensorSpec
from edge.contract.manifest import Detect, DetectFormat
from edge.contract.messages import Box, Item
from edge.errors import InferenceError, ManifestError

__all__ = ["compile_detect", "suppress"]

_CORNERS = 4
_END2END = 6  # corners, score, class
_ROLES = {  # what exporters call them; "TFLite_Detection_PostProcess:1" is that operator's own numbering
    "boxes": ("location", "box", "postprocess"),
    "classes": ("categor", "class", "postprocess:1"),
    "scores": ("score", "confidence", "postprocess:2"),
    "count": ("number", "num_", "count", "postprocess:3"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Things, best first: corners x1 y1 x2 y2, class and score of each.

    Plain lists: a handful of boxes costs less in Python than in numpy, whose code is cold after an inference (0.1 ms
    a frame against 0.3).
    """

    corners: list[list[float]]
    classes: list[int]
    scores: list[float]


def compile_detect(
    task: Detect, labels: tuple[str, ...], outputs: Sequence[TensorSpec]
) -> Callable[[Sequence[Array], Placement | None], Decoded]:
    """Turn a detector's manifest into a callable; see `decode.compile_decoder`.

    Raises:
        ManifestError: an output cannot be told from the others.
    """
    read = _reader(task, labels, outputs)

    def decode(tensors: Sequence[Array], placement: Placement | None) -> Decoded:
        if placement is None:
            raise InferenceError("a detector's boxes need the picture they lie in")
        try:
            found = read(tensors)
        except (ValueError, OverflowError) as err:  # NaN or infinity where a class or a count should be
            raise InferenceError(f"the detector's outputs make no sense: {err}") from err
        return Decoded(items=_items(found, labels, placement, is_normalized=task.normalized))

    return decode


def suppress(corners: Array, classes: Array, scores: Array, iou: float, most: int) -> Array:
    """Greedy non-maximum suppression: places of at most `most` boxes to keep, best first.

    Args:
        corners: (n, 4) x1, y1, x2, y2 in any one unit.
        classes: (n,) boxes of different classes never suppress each other.
        scores: (n,).
        iou: a box that overlaps a kept one of its class by more than this share goes.
        most: how many to keep.
    """
    order = np.argsort(-scores, kind="stable")
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0.0)
    areas = sides[:, 0] * sides[:, 1]
    kept: list[int] = []
    while order.size and len(kept) < most:
        first, order = order[0], order[1:]
        kept.append(int(first))
        low = np.maximum(corners[first, :2], corners[order, :2])
        high = np.minimum(corners[first, 2:], corners[order, 2:])
        shared_sides = np.maximum(high - low, 0.0)
        shared = shared_sides[:, 0] * shared_sides[:, 1]
        union = areas[first] + areas[order] - shared
        order = order[(shared <= iou * union) | (classes[order] != classes[first])]
    return np.asarray(kept, np.intp)


def _reader(
    task: Detect, labels: tuple[str, ...], outputs: Sequence[TensorSpec]
) -> Callable[[Sequence[Array]], _Found]:
    match task.format:
        case DetectFormat.SSD:
            return _ssd(task, outputs)
        case DetectFormat.SCORES_BOXES:
            return _scores_boxes(task, outputs)
        case DetectFormat.YOLO:
            return _yolo(task, labels, find_output(task.boxes, outputs))
        case DetectFormat.END2END:
            return _end2end(task, find_output(task.boxes, outputs))


def _items(found: _Found, labels: tuple[str, ...], placement: Placement, *, is_normalized: bool) -> tuple[Item, ...]:
    wide = 1.0 if is_normalized else 1.0 / placement.input_width_px
    high = 1.0 if is_normalized else 1.0 / placement.input_height_px
    scale_x, scale_y = placement.scale_x * wide, placement.scale_y * high
    width, height = placement.width_px, placement.height_px
    items = []
    for (left, top, right, bottom), index, score in zip(found.corners, found.classes, found.scores, strict=True):
        x1, x2 = left * scale_x + placement.offset_x, right * scale_x + placement.offset_x
        y1, y2 = top * scale_y + placement.offset_y, bottom * scale_y + placement.offset_y
        item = Item(
            label=label_of(labels, index),
            score=score,
            index=index,
            box=Box(x1, y1, x2, y2),
            box_px=(_pixel(x1, width), _pixel(y1, height), _pixel(x2, width), _pixel(y2, height)),
        )
        items.append(item)
    return tuple(items)


def _pixel(share: float, size: int) -> int:
    return round(min(1.0, max(0.0, share)) * size)


def _ssd(task: Detect, outputs: Sequence[TensorSpec]) -> Callable[[Sequence[Array]], _Found]:
    boxes, classes, scores, count = _ssd_outputs(task, outputs)
    order = task.box_order

    def read(tensors: Sequence[Array]) -> _Found:
        values: list[float] = scores.real(tensors).ravel().tolist()
        kinds: list[float] = classes.real(tensors).ravel().tolist()
        valid = len(values) if count is None else round(float(count.real(tensors).ravel()[0]))
        keep = [
            place
            for place, value in enumerate(values[: max(valid, 0)])
            if value >= task.threshold and round(kinds[place]) != task.background
        ]
        keep.sort(key=lambda place: -values[place])
        keep = keep[: task.max_items]
        corners = boxes.real(tensors).reshape(-1, _CORNERS)
        rows = [corners[place].tolist() for place in keep]
        return _Found(
            corners=[[row[place] for place in order] for row in rows],
            classes=[round(kinds[place]) for place in keep],
            scores=[values[place] for place in keep],
        )

    return read


def _ssd_outputs(task: Detect, outputs: Sequence[TensorSpec]) -> tuple[Output, Output, Output, Output | None]:
    """Boxes, classes, scores and (where there is one) count; the two that look alike are told apart by name."""
    left = [Output(place=place, spec=spec) for place, spec in enumerate(outputs)]
    boxes = _take(task.boxes, outputs, left, "boxes", lambda s: len(s.shape) > 1 and s.shape[-1] == _CORNERS)
    count = None
    if task.count is not None or any(_elements(output.spec) == 1 for output in left):
        count = _take(task.count, outputs, left, "count", lambda s: _elements(s) == 1)
    scores = _take(task.scores, outputs, left, "scores", lambda _: True)
    classes = _take(task.classes, outputs, left, "classes", lambda _: True)
    return boxes, classes, scores, count


def _take(
    name: str | None,
    outputs: Sequence[TensorSpec],
    left: list[Output],
    role: str,
    fits: Callable[[TensorSpec], bool],
) -> Output:
    """Find the output of a role and strike it off `left`: as the manifest names it, by shape, or by its own name."""
    if name is not None:
        found = [named_output(name, outputs)]
    else:
        found = [output for output in left if fits(output.spec)]
        if len(found) > 1:
            found = [output for output in found if _plays(output.spec.name, role)]
    if len(found) != 1:
        names = ", ".join(f"{spec.name} {spec.shape}" for spec in outputs)
        raise ManifestError(f"which of the outputs {names} holds the {role} is not clear; name it in the manifest")
    if found[0] in left:
        left.remove(found[0])
    return found[0]


def _plays(name: str, role: str) -> bool:
    lowered = name.lower()
    if "postprocess" in lowered:
        return lowered.endswith(_ROLES[role][-1])
    return any(word in lowered for word in _ROLES[role])


def _elements(spec: TensorSpec) -> int:
    return -1 if -1 in spec.shape else int(np.prod(spec.shape, dtype=np.int64))


def _scores_boxes(task: Detect, outputs: Sequence[TensorSpec]) -> Callable[[Sequence[Array]], _Found]:
    left = [Output(place=place, spec=spec) for place, spec in enumerate(outputs)]
    boxes = _take(task.boxes, outputs, left, "boxes", lambda s: len(s.shape) > 1 and s.shape[-1] == _CORNERS)
    scores = _take(task.scores, outputs, left, "scores", lambda _: True)
    order = list(task.box_order)

    def read(tensors: Sequence[Array]) -> _Found:
        corners = boxes.real(tensors).reshape(-1, _CORNERS)[:, order]
        values = scores.real(tensors).reshape(corners.shape[0], -1)
        is_thing = values >= task.threshold
        if task.background is not None:
            is_thing[:, task.background] = False
        anchors, kinds = np.nonzero(is_thing)
        return _kept(task, corners[anchors], kinds, values[anchors, kinds])

    return read


def _yolo(task: Detect, labels: tuple[str, ...], output: Output) -> Callable[[Sequence[Array]], _Found]:
    channels, is_channel_first = _yolo_axes(output.spec, len(labels))
    has_objectness = bool(labels) and channels == _CORNERS + 1 + len(labels)
    order = list(task.box_order)

    def read(tensors: Sequence[Array]) -> _Found:
        table = output.real(tensors).reshape(output.stored(tensors).shape[-2:])
        rows = table.T if is_channel_first else table
        scores = rows[:, _CORNERS:]
        if has_objectness:
            scores = scores[:, 1:] * scores[:, :1]
        kinds = scores.argmax(axis=1)
        values = np.take_along_axis(scores, kinds[:, None], axis=1)[:, 0]
        keep = np.flatnonzero(values >= task.threshold)
        centres = rows[keep][:, [order[0], order[1]]]
        halves = rows[keep][:, [order[2], order[3]]] * 0.5
        corners = np.concatenate((centres - halves, centres + halves), axis=1)
        return _kept(task, corners, kinds[keep], values[keep])

    return read


def _yolo_axes(spec: TensorSpec, classes: int) -> tuple[int, bool]:
    """How many numbers describe a box, and whether they lie along the first of the last two axes."""
    if len(spec.shape) < 2:  # noqa: PLR2004 - a table
        raise ManifestError(f"a YOLO output is [1, 4 + classes, n] or its transpose; {spec.name!r} is {spec.shape}")
    first, last = spec.shape[-2:]
    widths = {_CORNERS + classes, _CORNERS + 1 + classes} if classes else set()
    if (first in widths) != (last in widths):
        return (first, True) if first in widths else (last, False)
    if classes:
        raise ManifestError(
            f"{classes} labels need an axis of {_CORNERS + classes} numbers, and output {spec.name!r} is {spec.shape}; "
            "give the labels file that belongs to this model (--labels)"
        )
    return (first, True) if 0 < first <= last or last < 0 else (last, False)


def _end2end(task: Detect, output: Output) -> Callable[[Sequence[Array]], _Found]:
    if not output.spec.shape or output.spec.shape[-1] != _END2END:
        raise ManifestError(f"an end-to-end detector gives [1, n, 6]; {output.spec.name!r} is {output.spec.shape}")
    order = list(task.box_order)

    def read(tensors: Sequence[Array]) -> _Found:
        rows = output.real(tensors).reshape(-1, _END2END)
        keep = np.flatnonzero(rows[:, _CORNERS] >= task.threshold)
        keep = keep[np.argsort(-rows[keep, _CORNERS], kind="stable")][: task.max_items]
        kept = rows[keep]
        kinds = np.rint(kept[:, _CORNERS + 1]).astype(np.int64)
        corners = kept[:, :_CORNERS][:, order]
        return _Found(corners=corners.tolist(), classes=kinds.tolist(), scores=kept[:, _CORNERS].tolist())

    return read


def _kept(task: Detect, corners: Array, classes: Array, scores: Array) -> _Found:
    keep = suppress(corners, classes, scores, task.iou, task.max_items)
    return _Found(corners=corners[keep].tolist(), classes=classes[keep].tolist(), scores=scores[keep].tolist())
