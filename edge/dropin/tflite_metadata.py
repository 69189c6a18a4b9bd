"""TFLite Metadata: what Model Maker, MediaPipe and the TFLite Support Library pack into a `.tflite` file.

Promises: reads colour, normalisation, labels, box order, thresholds and tokenizers; damaged metadata is noted and
skipped, because the model itself may still run.
Leaves out: score calibration and SentencePiece, which are noted.
Thread: any; pure.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping

from edge.contract.manifest import Color, Detect, DetectFormat, Normalize, RegexVocabulary, WordPiece
from edge.contract.messages import InputKind
from edge.dropin.flatbuffer import Table, root
from edge.dropin.found import DEFAULT_LENGTH, Candidate, Draft, Facts, Task
from edge.dropin.labels import MAX_LABEL_BYTES, labels_from

__all__ = ["packed_files", "read_tflite_metadata"]

_RULE = "TFLite Metadata"
# Numbers of the schema (metadata_schema.fbs).
_IMAGE, _BOXES = 2, 3
_NORMALIZATION, _CALIBRATION, _THRESHOLD, _BERT, _SENTENCEPIECE, _REGEX = 1, 2, 3, 4, 5, 6
_AXIS_LABELS, _VALUE_LABELS, _VOCABULARY = 2, 3, 5
_PIXELS = 1
_GRAY = 2
_BOUNDARIES = 1
_MOST_FILES = 16  # real files pack two or three; a bomb would pack thousands


def read_tflite_metadata(candidate: Candidate, draft: Draft) -> None:
    """Learn everything the metadata says."""
    if candidate.kind != "tflite":
        return
    try:
        metadata = _metadata(candidate.content)
        if metadata is not None:
            _learn(metadata, candidate, draft)
    except (ValueError, IndexError, zipfile.BadZipFile) as err:
        draft.note("TFLite Metadata ignored", f"it is damaged: {err}")


def packed_files(content: bytes) -> dict[str, bytes]:
    """The files in the zip archive behind a model, if there is one; larger ones than any label list are left out."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [info for info in archive.infolist() if not info.is_dir() and info.file_size <= MAX_LABEL_BYTES]
            return {info.filename: archive.read(info) for info in entries[:_MOST_FILES]}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError):
        return {}


def _metadata(content: bytes) -> Table | None:
    model = root(content, b"TFL3")
    for entry in model.tables(6):
        if entry.text(0) == "TFLITE_METADATA":
            return root(model.tables(4)[entry.integer(1, "I")].raw(0), b"M001")
    return None


def _learn(metadata: Table, candidate: Candidate, draft: Draft) -> None:
    draft.learn(
        Facts(
            name=metadata.text(0) or None,
            description=metadata.text(1) or None,
            version=metadata.text(2) or None,
            licence=metadata.text(5) or None,
        ),
        _RULE,
    )
    graphs = metadata.tables(3)
    if not graphs:
        return
    files = packed_files(candidate.content)
    inputs, outputs = graphs[0].tables(2), graphs[0].tables(3)
    if inputs:
        _learn_input(inputs[0], graphs[0], candidate, files, draft)
    if outputs:
        _learn_labels(outputs, files, draft)
        _learn_boxes(outputs, candidate, draft)
        for unit in (unit for output in outputs for unit in output.tables(4)):
            options = unit.table(1)
            if unit.integer(0, "B") == _THRESHOLD and options is not None:
                draft.learn(Facts(threshold=round(options.real(0), 6)), _RULE)
            elif unit.integer(0, "B") == _CALIBRATION:
                draft.note("score calibration ignored", "this version gives the model's own scores")


def _learn_input(tensor: Table, graph: Table, candidate: Candidate, files: Mapping[str, bytes], draft: Draft) -> None:
    content = tensor.table(3)
    if content is not None and content.integer(0, "B") == _IMAGE:
        image = content.table(1)
        is_gray = image is not None and image.integer(0, "b") == _GRAY
        draft.learn(Facts(kind=InputKind.IMAGE, color=Color.GRAY if is_gray else Color.RGB), _RULE)
    for unit in (*tensor.tables(4), *graph.tables(5)):
        options = unit.table(1)
        if options is None:
            continue
        match unit.integer(0, "B"):
            case n if n == _NORMALIZATION:
                mean, std = options.reals(0), options.reals(1)
                if mean and std:
                    draft.learn(Facts(normalization=(Normalize(mean=mean, std=std),)), _RULE)
            case n if n == _REGEX:
                _learn_regex(options, candidate, files, draft)
            case n if n == _BERT:
                _learn_bert(options, candidate, files, draft)
            case n if n == _SENTENCEPIECE:
                draft.note("tokenizer ignored", "SentencePiece is not supported")


def _learn_regex(options: Table, candidate: Candidate, files: Mapping[str, bytes], draft: Draft) -> None:
    name = _file_of(options.tables(1), _VOCABULARY, files)
    if name is None:
        draft.note("tokenizer ignored", "its vocabulary is not in the file")
        return
    tokenizer = RegexVocabulary(pattern=options.text(0), vocabulary=name, length=_length(candidate))
    draft.learn(Facts(kind=InputKind.TEXT, tokenizer=tokenizer, files={name: files[name]}), _RULE)


def _learn_bert(options: Table, candidate: Candidate, files: Mapping[str, bytes], draft: Draft) -> None:
    name = _file_of(options.tables(0), _VOCABULARY, files)
    if name is None:
        draft.note("tokenizer ignored", "its vocabulary is not in the file")
        return
    tokenizer = WordPiece(vocabulary=name, length=_length(candidate))
    draft.learn(Facts(kind=InputKind.TEXT, tokenizer=tokenizer, files={name: files[name]}), _RULE)


def _length(candidate: Candidate) -> int:
    length = candidate.report.inputs[0].shape[-1] if candidate.report.inputs else 0
    return length if length > 0 else DEFAULT_LENGTH


def _learn_labels(outputs: tuple[Table, ...], files: Mapping[str, bytes], draft: Draft) -> None:
    for output in outputs:
        for kind in (_AXIS_LABELS, _VALUE_LABELS):
            name = _file_of(output.tables(6), kind, files)
            if name is not None:
                draft.learn(Facts(labels=labels_from(files[name], classes=draft.facts.classes)), f"{_RULE} ({name})")
                return


def _learn_boxes(outputs: tuple[Table, ...], candidate: Candidate, draft: Draft) -> None:
    """A detector: one output has boxes; the roles of the others follow from their names."""
    names = {_role(output.text(0)): spec.name for output, spec in zip(outputs, candidate.report.outputs, strict=False)}
    for output in outputs:
        content = output.table(3)
        boxes = content.table(1) if content is not None and content.integer(0, "B") == _BOXES else None
        if boxes is None or "boxes" not in names or "scores" not in names:
            continue
        if boxes.integer(1, "b") != _BOUNDARIES:
            draft.note("box format ignored", "only boundaries (left, top, right, bottom) are supported")
            continue
        order = boxes.integers(0, "I")
        detect = Detect(
            format=DetectFormat.SSD,
            boxes=names["boxes"],
            classes=names.get("classes"),
            scores=names["scores"],
            count=names.get("count"),
            box_order=(order[0], order[1], order[2], order[3]) if len(order) == 4 else (1, 0, 3, 2),  # noqa: PLR2004
            normalized=boxes.integer(2, "b") != _PIXELS,
        )
        draft.learn(Facts(task=Task.DETECT, detect=detect), _RULE)


def _role(name: str) -> str:
    """What an output of a detector is, from the names that converters give it."""
    low = name.lower()
    if "location" in low or "box" in low:
        return "boxes"
    if "class" in low or "categor" in low:
        return "classes"
    if "score" in low:
        return "scores"
    return "count" if "number" in low or "num" in low or "count" in low else low


def _file_of(associated: Iterable[Table], kind: int, files: Mapping[str, bytes]) -> str | None:
    """The first packed file of this kind: without a locale, or the first at all."""
    fitting = [entry for entry in associated if entry.integer(2, "b") == kind and entry.text(0) in files]
    fitting.sort(key=lambda entry: entry.text(3) not in {"", "en"})
    return fitting[0].text(0) if fitting else None
