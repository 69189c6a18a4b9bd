"""WordPiece ids through the `tokenizers` library; the only module that names it.

Promises: ids equal those of BERT's own tokenizer; of a long text only as much is read as the model can take in.
Leaves out: tensors (`text`).
Thread: what `open_wordpiece` returns belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.contract.manifest import WordPiece
from edge.errors import ManifestError, MissingExtraError

__all__ = ["open_wordpiece"]

_FIRST_CHARS = 4096
# BERT gives up on words above 100 characters, so the last word of a cut text spoils at most this many tokens.
_SPOILED_TOKENS = 100


def open_wordpiece(spec: WordPiece, vocabulary: bytes) -> Callable[[str], tuple[list[int], int]]:
    """Return a function from text to (ids, at most `spec.length`, [CLS] and [SEP] included; id of the padding).

    Raises:
        ManifestError: `vocabulary` is neither a vocab.txt nor a tokenizer.json, or lacks the special tokens.
        MissingExtraError: `tokenizers` is not installed.
    """
    tokenizer = _open(spec, vocabulary)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=spec.length)
    pad = tokenizer.token_to_id(spec.pad)
    if pad is None:
        raise ManifestError(f"vocabulary {spec.vocabulary!r} has no {spec.pad}")

    def encode(text: str) -> tuple[list[int], int]:
        taken = max(_FIRST_CHARS, 8 * spec.length)
        while True:
            encoding = tokenizer.encode(text[:taken])
            cut_off = sum(len(part.ids) for part in encoding.overflowing)
            if taken >= len(text) or cut_off > _SPOILED_TOKENS:
                return list(encoding.ids), pad
            taken *= 8

    return encode


def _open(spec: WordPiece, vocabulary: bytes) -> Any:
    try:
        from tokenizers import Tokenizer
        from tokenizers.implementations import BertWordPieceTokenizer
    except ImportError as err:
        raise MissingExtraError("tokenizers", "text") from err
    try:
        text = vocabulary.decode("utf-8")
    except UnicodeDecodeError as err:
        raise ManifestError(f"vocabulary {spec.vocabulary!r} is not UTF-8: {err}") from err
    try:
        if text.lstrip().startswith("{"):
            return Tokenizer.from_str(text)
        lines = text.split("\n")  # a token may be any character that splitlines() would split at
        ids = {line.rstrip("\r"): number for number, line in enumerate(lines) if line.rstrip("\r")}
        return BertWordPieceTokenizer(ids, lowercase=spec.lowercase)
    except Exception as err:
        # The library raises bare Exception for malformed JSON and TypeError for missing special tokens.
        raise ManifestError(f"vocabulary {spec.vocabulary!r} cannot be used: {err}") from err
