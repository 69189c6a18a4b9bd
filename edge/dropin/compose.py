"""Turns what the rules found into a manifest.

Promises: the same facts give the same manifest; a fact that contradicts the model (labels and classes) is one sentence.
Leaves out: finding facts.
Thread: any; pure.
"""

from __future__ import annotations

import re
from pathlib import Path

from msgspec.structs import replace

from edge.contract.manifest import (
    Binary,
    CenterCrop,
    Channels,
    Classify,
    Color,
    Decoder,
    Detect,
    DetectFormat,
    Embed,
    ImageInput,
    InputSpec,
    Layout,
    Letterbox,
    Manifest,
    MultiLabel,
    Recommend,
    RegexVocabulary,
    Regress,
    Resize,
    Scoring,
    Segment,
    Step,
    TensorInput,
    TextInput,
    Tokenizer,
    WordPiece,
)
from edge.contract.messages import InputKind
from edge.dropin.found import DEFAULT_LENGTH, Candidate, Draft, Facts, Fit, Overrides, Task
from edge.dropin.labels import read_labels_file
from edge.dropin.pixels import normalization_of
from edge.dropin.shapes import image_layout
from edge.errors import ModelError
from edge.reading import read_whole

__all__ = ["apply_overrides", "compose"]

_FLAGS = "the command line"
_LARGEST_VOCABULARY_BYTES = 256 << 20  # ten times the largest tokenizer.json in use
_NUMBERED_WORDS = re.compile(rb"<PAD>[ \t]+\d+\r?\n")  # the first line of a TFLite Model Maker vocabulary


def apply_overrides(overrides: Overrides, candidate: Candidate, draft: Draft) -> None:
    """Put what a person said before every rule. Labels come later, when the class count is known."""
    spec = candidate.report.inputs[0] if candidate.report.inputs else None
    fit: tuple[Step, ...] | None = None
    if overrides.fit is not None and spec is not None:
        height, width, _, _ = image_layout(spec)
        fit = _fit(overrides.fit, width, height)
    draft.learn(
        Facts(
            name=overrides.name,
            task=overrides.task,
            kind=overrides.kind,
            color=overrides.color,
            fit=fit,
            normalization=normalization_of(overrides),
            scoring=overrides.scoring,
            threshold=overrides.threshold,
            top_k=overrides.top_k,
        ),
        _FLAGS,
    )
    if overrides.vocabulary is not None and spec is not None:
        _learn_vocabulary(overrides.vocabulary, spec.shape[-1], draft)


def compose(candidate: Candidate, draft: Draft, overrides: Overrides) -> Manifest:
    """The manifest.

    Raises:
        ModelError: labels and classes disagree, or a labels file cannot be read.
    """
    facts = draft.facts
    labels = facts.labels or ()
    if overrides.labels is not None:
        # A detector's map may be longer or shorter than what its output shape shows.
        classes = None if facts.task is Task.DETECT else facts.classes
        labels = read_labels_file(overrides.labels, classes=classes)
        draft.note("labels", f"{_FLAGS} ({overrides.labels.name})")
    elif facts.classes is not None and labels and len(labels) != facts.classes:
        raise ModelError(
            f"the model has {facts.classes} classes and its labels are {len(labels)}; "
            "give the right ones with --labels FILE"
        )
    return Manifest(
        name=facts.name or candidate.path.stem,
        version=facts.version or "0",
        description=facts.description or "",
        licence=facts.licence or "",
        labels=labels,
        input=_input(candidate, facts),
        output=_output(facts),
    )


def _learn_vocabulary(path: Path, length: int, draft: Draft) -> None:
    try:
        content = read_whole(path, most_bytes=_LARGEST_VOCABULARY_BYTES)
    except OSError as err:
        raise ModelError(f"vocabulary {path}: {err.strerror or err}") from err
    known_length = length if length > 0 else DEFAULT_LENGTH
    tokenizer: Tokenizer = WordPiece(vocabulary=path.name, length=known_length)
    if _NUMBERED_WORDS.match(content):
        tokenizer = RegexVocabulary(pattern=r"[^\w\']+", vocabulary=path.name, length=known_length)
    draft.learn(Facts(kind=InputKind.TEXT, tokenizer=tokenizer, files={path.name: content}), f"{_FLAGS} ({path.name})")


def _fit(fit: Fit, width: int, height: int) -> tuple[Step, ...]:
    match fit:
        case Fit.STRETCH:
            return (Resize(width=width, height=height),)
        case Fit.LETTERBOX:
            return (Letterbox(width=width, height=height),)
        case Fit.CROP:
            return (CenterCrop(), Resize(width=width, height=height))


def _input(candidate: Candidate, facts: Facts) -> InputSpec:
    match facts.kind:
        case InputKind.TEXT if facts.tokenizer is not None:
            return TextInput(tokenizer=facts.tokenizer, lowercase=facts.lowercase or False)
        case InputKind.IMAGE:
            _, _, _, is_channels_first = image_layout(candidate.report.inputs[0])
            layout = Layout(channels=Channels.NCHW if is_channels_first else Channels.NHWC)
            return ImageInput(
                color=facts.color or Color.RGB, steps=(*(facts.fit or ()), *(facts.normalization or ()), layout)
            )
        case _:
            return TensorInput()


def _output(facts: Facts) -> Decoder:  # noqa: PLR0911 - one for each task
    scoring = facts.scoring or Scoring.NONE
    threshold = 0.5 if facts.threshold is None else facts.threshold
    match facts.task:
        case Task.CLASSIFY | None:
            return Classify(scoring=scoring, top_k=facts.top_k or 5)
        case Task.MULTI_LABEL:
            return MultiLabel(scoring=scoring, threshold=threshold)
        case Task.BINARY:
            return Binary(scoring=scoring, threshold=threshold)
        case Task.REGRESS:
            return Regress()
        case Task.DETECT:
            detect = facts.detect or Detect(format=DetectFormat.SSD)
            return replace(detect, threshold=threshold, max_items=facts.top_k or detect.max_items)
        case Task.SEGMENT:
            return Segment()
        case Task.EMBED:
            return Embed()
        case Task.RECOMMEND:
            return Recommend()
