"""From a text to the model's input tensors.

Promises: ids are exactly those of the tokenizer that the model was trained with; vocabularies are read once; the work
on one text is bounded by what the model can take in, not by the length of the text, save for hashed n-grams.
Leaves out: files (vocabularies come as bytes, under the name that the manifest uses).
Thread: a `TextPreparation` belongs to one thread.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edge.compute.ngrams import hash_ngrams
from edge.compute.tensors import Array, TensorSpec, quantize
from edge.compute.wordpiece import open_wordpiece
from edge.contract.manifest import HashedNgrams, RegexVocabulary, TextInput, WordPiece
from edge.errors import ManifestError

__all__ = ["TextPreparation", "compile_text"]

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


class TextPreparation:
    """One model's way from text to tensors. Made by `compile_text`."""

    def __init__(self, spec: TextInput, encode: Callable[[str], tuple[Array, ...]]) -> None:
        self._nfkc = spec.nfkc
        self._lowercase = spec.lowercase
        self._stop = _stop_pattern(spec.stop_words, is_lower=spec.lowercase)
        self._encode = encode

    def __call__(self, text: str) -> tuple[Array, ...]:
        """One array for each input tensor of the model, in the model's order, each (1, length)."""
        return self._encode(self.normalize(text))

    def normalize(self, text: str) -> str:
        """The text as the tokenizer sees it: NFKC, lower case, stop words dropped, as the manifest asks."""
        if self._nfkc:
            text = unicodedata.normalize("NFKC", text)
        if self._lowercase:
            text = text.lower()
        if self._stop is not None:
            text = self._stop.sub("", text)
        return text


def compile_text(spec: TextInput, files: Mapping[str, bytes], tensors: Sequence[TensorSpec]) -> TextPreparation:
    """Turn a manifest's text input into a callable for the model's input `tensors`.

    Raises:
        ManifestError: a vocabulary is missing or malformed, or the tokenizer's output does not fit the tensors.
        MissingExtraError: the tokenizer needs a library that is not installed.
    """
    match spec.tokenizer:
        case HashedNgrams():
            return TextPreparation(spec, _ngrams(spec.tokenizer, _only(spec, tensors)))
        case RegexVocabulary():
            vocabulary = _file(files, spec.tokenizer.vocabulary)
            return TextPreparation(spec, _regex(spec.tokenizer, vocabulary, _only(spec, tensors)))
        case WordPiece():
            vocabulary = _file(files, spec.tokenizer.vocabulary)
            return TextPreparation(spec, _wordpiece(spec, spec.tokenizer, vocabulary, tensors))


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise ManifestError(f"the tokenizer's vocabulary {name!r} is not beside or in the model file")
    return files[name]


def _only(spec: TextInput, tensors: Sequence[TensorSpec]) -> TensorSpec:
    if spec.tensor is not None:
        named = [tensor for tensor in tensors if tensor.name == spec.tensor]
        if named and len(tensors) == 1:
            return named[0]
    if len(tensors) != 1:
        names = ", ".join(tensor.name for tensor in tensors)
        raise ManifestError(f"this tokenizer fills one input and the model has {len(tensors)}: {names}")
    return tensors[0]


def _check_length(tensor: TensorSpec, length: int) -> None:
    size = tensor.shape[-1] if tensor.shape else 1
    if size not in {-1, length}:
        raise ManifestError(f"the tokenizer makes {length} numbers and input {tensor.name!r} wants {tensor.shape}")


def _shaped(row: Array, tensor: TensorSpec) -> Array:
    return row.reshape((1,) * (max(len(tensor.shape), 1) - 1) + row.shape)


def _ngrams(spec: HashedNgrams, tensor: TensorSpec) -> Callable[[str], tuple[Array, ...]]:
    if spec.buckets < 1:
        raise ManifestError(f"hashed_ngrams: expected 1 bucket or more, got {spec.buckets}")
    _check_length(tensor, spec.buckets)

    def encode(text: str) -> tuple[Array, ...]:
        return (_shaped(quantize(hash_ngrams(text, spec), tensor), tensor),)

    return encode


def _regex(spec: RegexVocabulary, content: bytes, tensor: TensorSpec) -> Callable[[str], tuple[Array, ...]]:
    """As TensorFlow Lite's model maker does it: case kept, empty pieces dropped, cut at the end."""
    _check_length(tensor, spec.length)
    ids = _vocabulary(content, spec.vocabulary)
    try:
        delimiter = re.compile(spec.pattern)
    except re.error as err:
        raise ManifestError(f"the tokenizer's pattern {spec.pattern!r} is no regular expression: {err}") from err
    pad, unknown = ids.get(spec.pad, 0), ids.get(spec.unknown)

    def encode(text: str) -> tuple[Array, ...]:
        row: Array = np.full(spec.length, pad, tensor.dtype)
        count = 0
        if spec.start in ids:
            row[0], count = ids[spec.start], 1
        start = 0
        while count < spec.length and start < len(text):
            found = delimiter.search(text, start)
            end, following = (len(text), len(text)) if found is None else found.span()
            following = max(following, start + 1)  # a pattern that matches nothing must not stand still
            word = ids.get(text[start:end], unknown) if end > start else None
            if word is not None:
                row[count] = word
                count += 1
            start = following
        return (_shaped(row, tensor),)

    return encode


def _vocabulary(content: bytes, name: str) -> dict[str, int]:
    """Of lines `token id`, or of tokens alone, where the number of the line is the id."""
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as err:
        raise ManifestError(f"vocabulary {name!r} is not UTF-8: {err}") from err
    ids: dict[str, int] = {}
    for number, line in enumerate(lines):
        token, space, index = line.rpartition(" ")
        if space and index.isdecimal():
            ids[token] = int(index)
        elif line:
            ids[line] = number
    if not ids:
        raise ManifestError(f"vocabulary {name!r} is empty")
    return ids


def _wordpiece(
    spec: TextInput, tokenizer: WordPiece, content: bytes, tensors: Sequence[TensorSpec]
) -> Callable[[str], tuple[Array, ...]]:
    for tensor in tensors:
        _check_length(tensor, tokenizer.length)
    roles = tuple(_role(tensor, spec.tensor, len(tensors)) for tensor in tensors)
    if roles.count("ids") != 1:
        names = ", ".join(tensor.name for tensor in tensors)
        raise ManifestError(f"which of the inputs {names} takes the token ids is not clear; name it as the tensor")
    encode_ids = open_wordpiece(tokenizer, content)

    def encode(text: str) -> tuple[Array, ...]:
        ids, pad = encode_ids(text)
        made: list[Array] = []
        for tensor, role in zip(tensors, roles, strict=True):
            row: Array = np.zeros(tokenizer.length, tensor.dtype)
            if role == "ids":
                row[:] = pad
                row[: len(ids)] = ids
            elif role == "mask":
                row[: len(ids)] = 1
            made.append(_shaped(row, tensor))
        return tuple(made)

    return encode


def _role(tensor: TensorSpec, named: str | None, count: int) -> str:
    """What a tensor takes: "ids", "mask" (1 where there is a token) or "types" (0: the first sentence)."""
    if count == 1 or tensor.name == named:
        return "ids"
    name = tensor.name.lower()
    if "mask" in name:
        return "mask"
    if "type" in name or "segment" in name:
        return "types"
    return "ids"


def _stop_pattern(words: tuple[str, ...], *, is_lower: bool) -> re.Pattern[str] | None:
    """Whole words, longest first; in scripts without spaces, wherever they stand."""
    known = {word.lower() if is_lower else word for word in words if word}
    if not known:
        return None
    parts = []
    for word in sorted(known, key=lambda word: (-len(word), word)):
        escaped = re.escape(word)
        parts.append(escaped if _CJK.search(word) else rf"(?<!\w){escaped}(?!\w)")
    return re.compile("|".join(parts))
