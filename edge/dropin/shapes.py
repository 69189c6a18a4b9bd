"""The last rule: what tensor shapes, quantisation and the graph's last operations tell about a model.

Promises: what follows from the file (quantisation, class count, last operation) is said as a fact, and what is only
custom is said as assumed, with the flag that overrules it; a model nobody can guess is refused in one sentence.
Leaves out: everything that an earlier rule knew.
Thread: any; pure.
"""

from __future__ import annotations

from edge.compute.tensors import TensorSpec
from edge.contract.manifest import Color, Detect, DetectFormat, Resize, Scoring
from edge.contract.messages import InputKind
from edge.dropin.found import Candidate, Draft, Facts, Task
from edge.dropin.graph import Graph
from edge.dropin.pixels import read_normalization
from edge.errors import ModelError

__all__ = ["image_layout", "read_classes", "read_input_shape", "read_kind", "read_output_shape"]

_RANK_IMAGE = 4
_SMALLEST_PHOTO_PX = 16
_FEWEST_ANCHORS = 32  # rows of raw boxes; fewer is a list that NMS has already cut
_BOX = 4
_SSD_OUTPUTS = 4
_YOLO_STRIDES = (8, 16, 32)


def read_classes(candidate: Candidate, graph: Graph, draft: Draft) -> None:
    """How many classes the model tells apart, where a shape or an ArgMax says it."""
    outputs = candidate.report.outputs
    if len(outputs) != 1:
        pair = _scores_and_boxes(outputs)
        if pair is not None:
            draft.learn(Facts(classes=pair[0].shape[2]), "shape of the scores")
        return
    shape = _squeezed(outputs[0])
    if outputs[0].name in graph.classes:
        draft.learn(Facts(classes=graph.classes[outputs[0].name]), "the model's last operation (ArgMax)")
    elif len(shape) == 1 and shape[0] > 1:
        draft.learn(Facts(classes=shape[0]), "output shape")
    elif (columns := _yolo_columns(outputs[0], candidate)) is not None:
        draft.learn(Facts(classes=columns - _BOX), "output shape")
    elif len(outputs[0].shape) == _RANK_IMAGE and draft.facts.kind is not InputKind.TENSOR and len(shape) == 3:  # noqa: PLR2004
        draft.learn(Facts(classes=shape[-1]), "output shape")


def read_kind(candidate: Candidate, draft: Draft) -> None:
    """Picture, text or plain numbers."""
    if not candidate.report.inputs or not candidate.report.outputs:
        raise ModelError("the model has no input or no output")
    if draft.facts.kind is None:
        _learn_kind(candidate.report.inputs, draft)


def read_input_shape(candidate: Candidate, graph: Graph, draft: Draft) -> None:
    """For a picture its size, colour and normalisation; for a text its tokenizer must be known by now."""
    if draft.facts.kind is InputKind.TEXT and draft.facts.tokenizer is None:
        raise ModelError(
            "the model wants token ids and brings no tokenizer; put its vocab.txt or tokenizer.json beside it, "
            "or name it with --vocabulary FILE (--kind tensor gives the model plain numbers)"
        )
    if draft.facts.kind is not InputKind.IMAGE:
        return
    height, width, channels, _ = image_layout(candidate.report.inputs[0])
    if channels == 1:
        draft.learn(Facts(color=Color.GRAY), "input shape")
    draft.learn(Facts(color=Color.RGB), "rgb; --color overrules it", is_assumed=True)
    if draft.facts.fit is None:
        if min(height, width) <= 0:
            raise ModelError("the model leaves its picture size free; write a manifest.json with a resize step")
        draft.learn(Facts(fit=(Resize(width=width, height=height),)), "input shape")
    read_normalization(candidate, graph, draft)


def read_output_shape(candidate: Candidate, graph: Graph, draft: Draft) -> None:
    """The task, and for detectors the format."""
    facts, outputs = draft.facts, candidate.report.outputs
    if facts.task is None or (facts.task is Task.DETECT and facts.detect is None):
        if graph.detection is not None:
            roles = graph.detection
            detect = Detect(
                format=DetectFormat.SSD,
                boxes=roles["boxes"],
                classes=roles["classes"],
                scores=roles["scores"],
                count=roles["count"],
                box_order=(1, 0, 3, 2),
            )
            draft.learn(
                Facts(task=Task.DETECT, detect=detect), "the model's last operation (TFLite_Detection_PostProcess)"
            )
        elif len(outputs) > 1:
            _learn_detector(candidate, draft)
        else:
            _learn_task(candidate, graph, draft)
    _learn_scoring(candidate, graph, draft)


def image_layout(spec: TensorSpec) -> tuple[int, int, int, bool]:
    """Height, width, channels of a picture's tensor, and whether channels come first.

    Raises:
        ModelError: no picture has this shape.
    """
    shape = spec.shape
    if len(shape) == 3 and shape[0] == 1:  # noqa: PLR2004 - a batch of gray pictures without a channel axis
        return shape[1], shape[2], 1, False
    if len(shape) == _RANK_IMAGE and shape[0] == 1:
        if shape[3] in {1, 3}:
            return shape[1], shape[2], shape[3], False
        if shape[1] in {1, 3}:
            return shape[2], shape[3], shape[1], True
    sizes = "x".join(str(size) for size in shape)
    raise ModelError(
        f"the model's input is {sizes} {spec.dtype}, which is no picture; give --kind tensor, or a manifest.json"
    )


def _learn_kind(inputs: tuple[TensorSpec, ...], draft: Draft) -> None:
    spec = inputs[0]
    if any("input_ids" in item.name or "attention_mask" in item.name for item in inputs):
        draft.learn(Facts(kind=InputKind.TEXT), "input names")
    elif len(inputs) > 1:
        names = ", ".join(item.name for item in inputs)
        raise ModelError(
            f"the model has {len(inputs)} inputs ({names}) and nothing says what they are; write a manifest.json"
        )
    elif len(spec.shape) == 2 and spec.dtype.name in {"int32", "int64"} and spec.shape[1] != 1:  # noqa: PLR2004
        draft.learn(Facts(kind=InputKind.TEXT), "input shape: a row of integers")
    elif _is_picture(spec):
        draft.learn(Facts(kind=InputKind.IMAGE), "input shape")
    else:
        draft.learn(Facts(kind=InputKind.TENSOR), "input shape: neither picture nor text")


def _is_picture(spec: TensorSpec) -> bool:
    """Three channels, or one that is square or large enough: 49x10x1 is a spectrogram, 28x28x1 a digit."""
    try:
        height, width, channels, _ = image_layout(spec)
    except ModelError:
        return False
    if len(spec.shape) != _RANK_IMAGE and height != width:
        return False
    return channels != 1 or height == width or min(height, width) >= _SMALLEST_PHOTO_PX


def _learn_detector(candidate: Candidate, draft: Draft) -> None:
    outputs = candidate.report.outputs
    pair = _scores_and_boxes(outputs)
    if pair is not None:
        detect = Detect(format=DetectFormat.SCORES_BOXES, scores=pair[0].name, boxes=pair[1].name, background=0)
        draft.learn(Facts(task=Task.DETECT, detect=detect), "output shapes; --task overrules it", is_assumed=True)
    elif len(outputs) == _SSD_OUTPUTS and any(len(spec.shape) == 3 and spec.shape[-1] == _BOX for spec in outputs):  # noqa: PLR2004
        detect = Detect(format=DetectFormat.SSD, box_order=(1, 0, 3, 2))
        draft.learn(Facts(task=Task.DETECT, detect=detect), "output shapes; --task overrules it", is_assumed=True)
    else:
        names = ", ".join(spec.name for spec in outputs)
        raise ModelError(f"the model has {len(outputs)} outputs ({names}) of no form known here; write a manifest.json")


def _learn_task(candidate: Candidate, graph: Graph, draft: Draft) -> None:
    output = candidate.report.outputs[0]
    shape, last = _squeezed(output), graph.made_by.get(output.name, "")
    kind, labels = draft.facts.kind, draft.facts.labels
    if (columns := _yolo_columns(output, candidate)) is not None and kind is InputKind.IMAGE:
        detect = Detect(format=DetectFormat.YOLO, normalized=candidate.kind == "tflite")
        draft.learn(Facts(task=Task.DETECT, detect=detect), f"output shape: {columns} columns", is_assumed=True)
    elif last == "ArgMax" and len(shape) > 1:
        draft.learn(Facts(task=Task.SEGMENT), "the model's last operation (ArgMax)")
    elif kind is InputKind.IMAGE and len(output.shape) >= 3 and len(shape) > 1:  # noqa: PLR2004
        draft.learn(Facts(task=Task.SEGMENT), "output shape; --task overrules it", is_assumed=True)
    elif len(shape) > 1:
        sizes = "x".join("?" if size < 0 else str(size) for size in output.shape)
        raise ModelError(f"the model's output is {sizes}, of no form known here; write a manifest.json")
    elif last == "Softmax":
        draft.learn(Facts(task=Task.CLASSIFY), "the model's last operation (Softmax)")
    elif last == "L2Normalize":
        draft.learn(Facts(task=Task.EMBED), "the model's last operation (L2Normalize)")
    elif last == "Sigmoid":
        task = Task.BINARY if shape in {(), (1,)} else Task.MULTI_LABEL
        draft.learn(Facts(task=task), "the model's last operation (Sigmoid)")
    elif shape in {(), (1,)}:
        task = Task.BINARY if labels is not None and len(labels) == 2 else Task.REGRESS  # noqa: PLR2004
        draft.learn(Facts(task=task), "output shape; --task overrules it", is_assumed=True)
    elif labels is not None or kind is InputKind.IMAGE:
        draft.learn(Facts(task=Task.CLASSIFY), "output shape; --task overrules it", is_assumed=True)
    else:
        task = Task.EMBED if kind is InputKind.TEXT else Task.REGRESS
        draft.learn(Facts(task=task), "output shape and no labels; --task overrules it", is_assumed=True)


def _learn_scoring(candidate: Candidate, graph: Graph, draft: Draft) -> None:
    if draft.facts.scoring is not None or draft.facts.task not in {Task.CLASSIFY, Task.MULTI_LABEL, Task.BINARY}:
        return
    last = graph.made_by.get(candidate.report.outputs[0].name)
    if last in {"Softmax", "Sigmoid"}:
        draft.learn(Facts(scoring=Scoring.NONE), f"the model's last operation ({last}): scores are probabilities")
        return
    draft.learn(
        Facts(scoring=Scoring.NONE),
        "the model's own numbers; --scoring softmax or sigmoid makes them probabilities",
        is_assumed=True,
    )


def _scores_and_boxes(outputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, TensorSpec] | None:
    """Raw anchors: [1, n, classes] and [1, n, 4]."""
    if len(outputs) != 2 or any(len(spec.shape) != 3 for spec in outputs):  # noqa: PLR2004
        return None
    first, second = outputs
    scores, boxes = (first, second) if second.shape[2] == _BOX else (second, first)
    if boxes.shape[2] != _BOX or scores.shape[1] != boxes.shape[1] or scores.shape[1] < _FEWEST_ANCHORS:
        return None
    return scores, boxes


def _yolo_columns(output: TensorSpec, candidate: Candidate) -> int | None:
    """Columns of a raw YOLO head: its rows are the cells of strides 8, 16 and 32."""
    shape, picture = output.shape, candidate.report.inputs[0].shape
    if len(shape) != 3 or len(picture) != _RANK_IMAGE or min(picture[1:]) <= 0:  # noqa: PLR2004
        return None
    height, width, _, _ = image_layout(candidate.report.inputs[0])
    cells = sum((height // stride) * (width // stride) for stride in _YOLO_STRIDES)
    columns, rows = min(shape[1:]), max(shape[1:])
    if rows == 3 * cells:
        raise ModelError(
            "the model has YOLOv5's output with an objectness column, which is not supported; "
            "export it with a current Ultralytics"
        )
    return columns if rows == cells and columns > _BOX else None


def _squeezed(spec: TensorSpec) -> tuple[int, ...]:
    """The shape without the batch and without axes of 1 around a vector."""
    shape = spec.shape[1:] if spec.shape and spec.shape[0] == 1 else spec.shape
    wide = tuple(size for size in shape if size != 1)
    return wide if len(wide) <= 1 and len(shape) > 1 else shape
