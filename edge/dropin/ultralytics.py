"""What Ultralytics writes into its exports: ONNX `metadata_props`, or a `metadata.json` zipped behind a `.tflite`.

Promises: task, names, picture size and the box format of detectors; `names` of an ONNX file is Python, not JSON, and is
read as a literal, never evaluated.
Leaves out: masks, poses and oriented boxes, which are refused by name.
Thread: any; pure.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import msgspec

from edge.compute.tensors import TensorSpec
from edge.contract.manifest import CenterCrop, Color, Detect, DetectFormat, Letterbox, Resize, Scale, Scoring, Step
from edge.contract.messages import InputKind
from edge.dropin.found import Candidate, Draft, Facts, Task
from edge.dropin.labels import dense
from edge.dropin.tflite_metadata import packed_files
from edge.engines.protobuf import messages, text
from edge.errors import ModelError

__all__ = ["read_onnx_properties", "read_zip_metadata"]

_METADATA_PROPS = 14  # ModelProto.metadata_props
_END2END_COLUMNS = 6
_BOX_COLUMNS = 4
_UNSUPPORTED = {"segment": "instance masks", "pose": "poses", "obb": "oriented boxes"}


def read_zip_metadata(candidate: Candidate, draft: Draft) -> None:
    """Learn from the `metadata.json` in the zip archive behind a `.tflite` file, or an older text file in its place."""
    if candidate.kind != "tflite":
        return
    files = packed_files(candidate.content)
    if "metadata.json" in files:
        try:
            said = msgspec.json.decode(files["metadata.json"], type=dict[str, Any])
        except msgspec.DecodeError as err:
            draft.note("metadata.json ignored", f"it is damaged: {err}")
            return
        _learn(said, candidate, draft, "metadata.json in the file")
        return
    for name, raw in files.items():
        said = _literal(raw.decode("utf-8", "replace"))
        if isinstance(said, dict) and "names" in said:
            _learn(said, candidate, draft, f"{name} in the file")
            return


def read_onnx_properties(candidate: Candidate, draft: Draft) -> None:
    """Learn from an ONNX file's `metadata_props`."""
    if candidate.kind != "onnx":
        return
    entries = messages(memoryview(candidate.content), _METADATA_PROPS)
    said: dict[str, Any] = {text(entry, 1): text(entry, 2) for entry in entries}
    if said:
        _learn(said, candidate, draft, "ONNX metadata_props")


def _learn(said: Mapping[str, Any], candidate: Candidate, draft: Draft, rule: str) -> None:
    draft.learn(
        Facts(description=_word(said, "description"), version=_word(said, "version"), licence=_word(said, "license")),
        rule,
    )
    labels = _labels(said.get("names"), draft)
    if labels is not None:
        draft.learn(Facts(labels=labels), f"{rule} (names)")
    task = _word(said, "task")
    if task in _UNSUPPORTED:
        raise ModelError(
            f"the model's {rule} says task {task!r}: {_UNSUPPORTED[task]} are not supported; "
            "export a detector or classifier"
        )
    if task not in {"detect", "classify"} or len(candidate.report.inputs) != 1:
        return
    width, height = _size(said.get("imgsz"), candidate.report.inputs[0])
    is_detector = task == "detect"
    # Its classifiers were trained on the resized, centre-cropped picture, its detectors on the letterboxed one.
    fit: tuple[Step, ...] = (
        (Letterbox(width=width, height=height),) if is_detector else (CenterCrop(), Resize(width=width, height=height))
    )
    draft.learn(
        Facts(kind=InputKind.IMAGE, color=Color.RGB, fit=fit, normalization=(Scale(factor=1 / 255),)), f"{rule} (task)"
    )
    if is_detector:
        draft.learn(
            Facts(task=Task.DETECT, detect=_detect(candidate, len(labels or ())), threshold=0.25), f"{rule} (task)"
        )
    else:
        draft.learn(Facts(task=Task.CLASSIFY, scoring=Scoring.NONE), f"{rule} (task)")


def _detect(candidate: Candidate, classes: int) -> Detect:
    shape = candidate.report.outputs[0].shape
    is_end2end = len(shape) == 3 and shape[-1] == _END2END_COLUMNS and shape[1] != classes + _BOX_COLUMNS  # noqa: PLR2004
    return Detect(
        format=DetectFormat.END2END if is_end2end else DetectFormat.YOLO,
        # ONNX exports speak in pixels of the input, TFLite ones in shares of it, end to end or not.
        normalized=candidate.kind == "tflite",
        iou=0.7,
    )


def _size(imgsz: Any, spec: TensorSpec) -> tuple[int, int]:
    """Width and height: from the tensor, and from `imgsz` (height, width) where the tensor leaves them free."""
    sizes = spec.shape[1:3] if len(spec.shape) == 4 and spec.shape[-1] in {1, 3} else spec.shape[2:4]  # noqa: PLR2004
    if len(sizes) == 2 and min(sizes) > 0:  # noqa: PLR2004
        return sizes[1], sizes[0]
    found = _literal(imgsz) if isinstance(imgsz, str) else imgsz
    if isinstance(found, int):
        return found, found
    if isinstance(found, list) and len(found) == 2 and all(isinstance(size, int) for size in found):  # noqa: PLR2004
        return found[1], found[0]
    raise ModelError(
        "the model leaves its picture size free and its metadata has no imgsz; export it with a fixed size"
    )


def _labels(names: Any, draft: Draft) -> tuple[str, ...] | None:
    found = _literal(names) if isinstance(names, str) else names
    try:
        if isinstance(found, dict):
            return dense({int(index): str(name) for index, name in found.items()})
        if isinstance(found, list):
            return tuple(str(name) for name in found)
    except ValueError as err:
        draft.note("names ignored", str(err))
    return None


def _word(said: Mapping[str, Any], key: str) -> str | None:
    value = said.get(key)
    return str(value) if isinstance(value, str | int | float) and str(value) else None


def _literal(written: str) -> Any:
    """A Python literal, or None; nothing in it is ever run."""
    try:
        return ast.literal_eval(written.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
