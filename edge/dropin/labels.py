"""Label files: a class name on each line, in the dialects people leave beside a model.

Promises: an entry for each class index; the "0 name" of Teachable Machine, "???" for a gap, a JSON list or mapping and
prose after an empty line are understood; among several files in a folder, the one with the model's class count wins.
Leaves out: labels packed inside a model (`tflite_metadata`, `ultralytics`).
Thread: any.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from edge.dropin.found import Draft, Facts
from edge.errors import ModelError
from edge.reading import read_whole

__all__ = ["MAX_LABEL_BYTES", "dense", "labels_from", "read_labels_file", "read_sibling_labels"]

MAX_LABEL_BYTES = 16 << 20  # a million classes; more is another kind of file
_NUMBERED = re.compile(r"^(\d+)(?:\s*[:,;]\s*|\s+)(\S.*)$")
_GAP = "???"
_LOOKS_LIKE_LABELS = re.compile(r"label|class|synset|names", re.IGNORECASE)
_SUFFIXES = {".txt", ".json", ".names", ".labels"}


def labels_from(raw: bytes, *, classes: int | None = None) -> tuple[str, ...]:
    """Class names out of a file's bytes; `classes` settles what trailing prose and empty lines mean.

    Raises:
        ValueError: not UTF-8, or no list of names.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise ValueError(f"byte {err.start} is no UTF-8; save it as UTF-8") from err
    if text.lstrip().startswith(("[", "{")):
        return _from_json(text)
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) != classes and "" in lines:
        lines = lines[: lines.index("")]  # a comment after an empty line is no class
    if not lines:
        raise ValueError("no labels in it")
    return _unnumbered([("" if line == _GAP else line) for line in lines])


def read_labels_file(path: Path, *, classes: int | None) -> tuple[str, ...]:
    """The file a person named.

    Raises:
        ModelError: missing, not text, or not as many labels as the model has classes.
    """
    try:
        labels = labels_from(read_whole(path, most_bytes=MAX_LABEL_BYTES), classes=classes)
    except OSError as err:
        raise ModelError(f"labels file {path}: {err.strerror or err}") from err
    except ValueError as err:
        raise ModelError(f"labels file {path} is not a list of names: {_short(err)}") from err
    if classes is not None and len(labels) != classes:
        raise ModelError(f"labels file {path} has {len(labels)} labels, the model has {classes} classes")
    return labels


def read_sibling_labels(model: Path, draft: Draft) -> None:
    """Take the labels file beside `model` that fits its class count, if there is one."""
    if draft.facts.labels is not None:
        return
    classes = draft.facts.classes
    misfits = []
    for path in _siblings(model):
        try:
            labels = labels_from(read_whole(path, most_bytes=MAX_LABEL_BYTES), classes=classes)
        except (OSError, ValueError) as err:
            draft.note(f"{path.name} ignored", f"not a list of names: {_short(err)}")
            continue
        if classes is None or len(labels) == classes:
            draft.learn(Facts(labels=labels), f"{path.name} beside the model")
            return
        misfits.append(f"{path.name} has {len(labels)}")
    if misfits:
        draft.note("labels ignored", f"{', '.join(misfits)} labels, the model has {classes} classes")


def _siblings(model: Path) -> list[Path]:
    """Candidates, the likeliest first: named for the model, then the customary names, then anything like them."""
    stem = model.stem.lower()
    ranked = []
    for path in sorted(model.parent.iterdir()):
        name = path.stem.lower()
        if path == model or path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        if name == stem or name in {f"{stem}_labels", f"{stem}-labels", f"{stem}.labels", f"labels_{stem}"}:
            ranked.append((0, path))
        elif name in {"labels", "labelmap", "label", "classes"}:
            ranked.append((1, path))
        elif _LOOKS_LIKE_LABELS.search(name):
            ranked.append((2, path))
    return [path for _, path in sorted(ranked)]


def _from_json(text: str) -> tuple[str, ...]:
    """A list of names, {"0": "name"} or {"name": 0}."""
    try:
        found = msgspec.json.decode(text, type=list[str] | dict[str, str | int])
    except msgspec.DecodeError as err:
        raise ValueError(str(err)) from err
    if isinstance(found, list):
        return tuple(found)
    pairs = [(key, value) if isinstance(value, int) else (value, int(key)) for key, value in found.items()]
    return dense({index: name for name, index in pairs})


def dense(by_index: dict[int, str]) -> tuple[str, ...]:
    """Names by class index as one entry for each index, "" for a gap.

    Raises:
        ValueError: empty, negative, or absurdly sparse.
    """
    if not by_index or min(by_index) < 0 or max(by_index) > MAX_LABEL_BYTES:
        raise ValueError("class numbers must count from 0")
    return tuple(by_index.get(index, "") for index in range(max(by_index) + 1))


def _unnumbered(lines: list[str]) -> tuple[str, ...]:
    """Strip "0 name" where every line has its number, counting from 0 or with gaps."""
    found = [_NUMBERED.match(line) for line in lines]
    numbered = {int(match[1]): match[2] for match in found if match is not None}
    if len(numbered) != len(lines) or list(numbered) != sorted(numbered) or next(iter(numbered)) > 1:
        return tuple(lines)
    if max(numbered) > 4 * len(lines):
        return tuple(lines)
    return dense(numbered)


def _short(err: Exception) -> str:
    return str(err).splitlines()[0] if str(err) else type(err).__name__
