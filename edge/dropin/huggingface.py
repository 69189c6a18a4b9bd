"""The files of a Hugging Face or Optimum folder beside a model: config, preprocessor and tokenizer.

Promises: class names, picture preparation and WordPiece tokenizers as `transformers` would apply them.
Leaves out: models whose answer needs code of their own (question answering, tokens, generation), refused by name.
Thread: any.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from edge.contract.manifest import (
    CenterCrop,
    Color,
    Interpolation,
    Normalize,
    Resize,
    Scale,
    Scoring,
    Step,
    WordPiece,
)
from edge.contract.messages import InputKind
from edge.dropin.found import DEFAULT_LENGTH, Candidate, Draft, Facts, Task
from edge.dropin.labels import dense
from edge.errors import ModelError

__all__ = ["read_folder"]

_RESAMPLING = {0: Interpolation.NEAREST, 2: Interpolation.ANTIALIAS, 3: Interpolation.CUBIC}
_HEADS = {
    "ForTokenClassification": "token classification",
    "ForQuestionAnswering": "question answering",
    "ForCausalLM": "text generation",
    "ForMaskedLM": "masked words",
    "ForConditionalGeneration": "text generation",
    "ForObjectDetection": "this kind of detector",
}
_S = TypeVar("_S", bound=Struct)


class _Config(Struct, kw_only=True):
    id2label: dict[str, str] | None = None
    architectures: list[str] | None = None
    problem_type: str | None = None
    name_or_path: str | None = msgspec.field(default=None, name="_name_or_path")


class _Preprocessor(Struct, kw_only=True):
    do_resize: bool = True
    size: int | dict[str, int] | None = None
    resample: int = 2
    do_center_crop: bool = False
    crop_size: int | dict[str, int] | None = None
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: list[float] | None = None
    image_std: list[float] | None = None


class _TokenizerConfig(Struct, kw_only=True):
    do_lower_case: bool = True
    pad_token: str | dict[str, Any] = "[PAD]"  # noqa: S105 - a token of text


def read_folder(candidate: Candidate, draft: Draft) -> None:
    """Learn from the files beside the model, or one folder up when the model stands in `onnx/`."""
    folder = candidate.path.parent
    if folder.name == "onnx" and not (folder / "config.json").is_file():
        folder = folder.parent
    config = _load(folder / "config.json", _Config, draft)
    if config is not None:
        _learn_config(config, draft)
    preprocessor = _load(folder / "preprocessor_config.json", _Preprocessor, draft)
    if preprocessor is not None:
        _learn_preprocessor(preprocessor, draft)
    if candidate.report.inputs and candidate.report.inputs[0].dtype.kind == "i":
        _learn_tokenizer(folder, candidate, draft)


def _learn_config(config: _Config, draft: Draft) -> None:
    for architecture in config.architectures or ():
        for suffix, what in _HEADS.items():
            if architecture.endswith(suffix):
                raise ModelError(f"config.json says {architecture}: {what} is not supported; use a classifier")
    is_classifier = any("Classification" in name for name in config.architectures or ())
    if config.id2label:
        try:
            labels = dense({int(index): name for index, name in config.id2label.items()})
        except ValueError as err:
            draft.note("id2label ignored", str(err))
        else:
            draft.learn(Facts(labels=labels), "config.json (id2label)")
    if not is_classifier:
        return
    if config.problem_type == "multi_label_classification":
        draft.learn(Facts(task=Task.MULTI_LABEL, scoring=Scoring.SIGMOID), "config.json (problem_type)")
    elif config.problem_type == "regression":
        draft.learn(Facts(task=Task.REGRESS), "config.json (problem_type)")
    else:
        draft.learn(Facts(task=Task.CLASSIFY, scoring=Scoring.SOFTMAX), "config.json (architectures)")


def _learn_preprocessor(said: _Preprocessor, draft: Draft) -> None:
    rule = "preprocessor_config.json"
    draft.learn(Facts(kind=InputKind.IMAGE, color=Color.RGB, fit=_fit(said)), rule)
    steps: list[Scale | Normalize] = []
    if said.do_rescale:
        steps.append(Scale(factor=said.rescale_factor))
    if said.do_normalize and said.image_mean and said.image_std:
        steps.append(Normalize(mean=tuple(said.image_mean), std=tuple(said.image_std)))
    draft.learn(Facts(normalization=tuple(steps)), rule)


def _fit(said: _Preprocessor) -> tuple[Step, ...] | None:
    """Resizing the shortest edge and cropping the centre is the same as first cropping the largest square."""
    steps: list[Step] = []
    how = _RESAMPLING.get(said.resample, Interpolation.ANTIALIAS)
    if said.do_resize and said.size is not None:
        edge = said.size if isinstance(said.size, int) else said.size.get("shortest_edge")
        if isinstance(said.size, dict) and "width" in said.size and "height" in said.size:
            steps.append(Resize(width=said.size["width"], height=said.size["height"], interpolation=how))
        elif edge is not None and said.do_center_crop:
            steps += [CenterCrop(), Resize(width=edge, height=edge, interpolation=how)]
        elif edge is not None:
            steps.append(Resize(width=edge, height=edge, interpolation=how))
    if said.do_center_crop and said.crop_size is not None:
        crop = (
            said.crop_size if isinstance(said.crop_size, dict) else {"width": said.crop_size, "height": said.crop_size}
        )
        steps.append(CenterCrop(width=crop.get("width", 0), height=crop.get("height", 0)))
    return tuple(steps) or None


def _learn_tokenizer(folder: Path, candidate: Candidate, draft: Draft) -> None:
    settings = _load(folder / "tokenizer_config.json", _TokenizerConfig, draft) or _TokenizerConfig()
    for name in ("tokenizer.json", "vocab.txt"):
        path = folder / name
        if not path.is_file():
            continue
        length = candidate.report.inputs[0].shape[-1]
        pad = (
            settings.pad_token
            if isinstance(settings.pad_token, str)
            else str(settings.pad_token.get("content", "[PAD]"))
        )
        tokenizer = WordPiece(
            vocabulary=name, length=length if length > 0 else DEFAULT_LENGTH, lowercase=settings.do_lower_case, pad=pad
        )
        draft.learn(
            Facts(kind=InputKind.TEXT, tokenizer=tokenizer, files={name: path.read_bytes()}), f"{name} beside the model"
        )
        return


def _load(path: Path, shape: type[_S], draft: Draft) -> _S | None:
    """A JSON file, or None where it is absent or of another tool."""
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except (msgspec.DecodeError, OSError) as err:
        draft.note(f"{path.name} ignored", str(err))
        return None
