"""Hash the n-grams of a text into a fixed number of buckets.

Promises: the same text gives the same numbers in every process, on every machine and Python: FNV-1a, 32 bits, over
UTF-8 bytes, as `contract.manifest.HashedNgrams` says. Character n-grams run over the text as it stands, spaces
included; words are runs of letters, digits and "_", a CJK character is a word of its own, and the words of a longer
n-gram are joined by one space. Time and memory grow with the length of the text and with nothing else.
Leaves out: normalising the text (`text`).
Thread: any; pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np

from edge.compute.tensors import Array
from edge.contract.manifest import HashedNgrams

__all__ = ["fnv1a", "hash_ngrams"]

_OFFSET = 0x811C9DC5
_PRIME = 0x01000193
_MASK = 0xFFFFFFFF
# Han with its extensions, kana, hangul syllables: scripts that set no spaces, or whose syllables carry meaning alone.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
_LONG_BYTES = 64  # a longer unit is hashed byte by byte in Python: a step of the vectorised loop costs all units


def fnv1a(content: bytes, state: int = _OFFSET) -> int:
    """FNV-1a of `content`, 32 bits, going on from `state`."""
    for byte in content:
        state = ((state ^ byte) * _PRIME) & _MASK
    return state


def hash_ngrams(text: str, spec: HashedNgrams) -> Array:
    """The bag of n-grams of `text`, float32, (buckets,).

    A lone surrogate, which no valid UTF-8 text holds, counts as "?".
    """
    raw = text.encode("utf-8", "replace")
    content = np.frombuffer(raw, np.uint8)
    counts = np.zeros(spec.buckets, np.int64)
    for hashes in itertools.chain(_characters(content, spec.characters), _words(text, spec.words)):
        counts += np.bincount(hashes % np.uint32(spec.buckets), minlength=spec.buckets)
    return _weigh(counts, spec)


def _weigh(counts: Array, spec: HashedNgrams) -> Array:
    if spec.weight == "log":
        bag = np.log1p(counts.astype(np.float64))
    elif spec.weight == "count":
        bag = counts.astype(np.float64)
    else:
        bag = (counts > 0).astype(np.float64)
    length = float(np.sqrt(bag @ bag))
    if spec.l2 and length > 0.0:
        bag /= length
    return bag.astype(np.float32)


def _characters(content: Array, span: tuple[int, int]) -> Iterator[Array]:
    starts = np.flatnonzero((content & 0xC0) != 0x80)  # noqa: PLR2004 - UTF-8: 10xxxxxx goes on, all else begins
    ends = np.append(starts[1:], content.size)
    return _grams(content, starts, ends - starts, span, b"")


def _words(text: str, span: tuple[int, int]) -> Iterator[Array]:
    if span[1] < 1:
        return iter(())
    words = [word.encode("utf-8", "replace") for word in _WORD.findall(text)]
    sizes = np.fromiter(map(len, words), np.int64, len(words))
    content = np.frombuffer(b"".join(words), np.uint8)
    return _grams(content, np.cumsum(sizes) - sizes, sizes, span, b" ")


def _grams(content: Array, starts: Array, sizes: Array, span: tuple[int, int], joint: bytes) -> Iterator[Array]:
    """Hashes (uint32) of all runs of `span[0]` to `span[1]` units; a longer run goes on from the shorter one's hash."""
    hashes = np.full(starts.size, _OFFSET, np.uint32)
    for length in range(1, min(span[1], starts.size) + 1):
        count = starts.size - length + 1
        hashes = hashes[:count]
        if length > 1:
            for byte in joint:
                hashes = (hashes ^ np.uint32(byte)) * np.uint32(_PRIME)
        hashes = _fold(hashes, content, starts[length - 1 :], sizes[length - 1 :])
        if length >= span[0]:
            yield hashes


def _fold(hashes: Array, content: Array, starts: Array, sizes: Array) -> Array:
    """Each hash, gone on over its unit `content[start : start + size]`."""
    folded: Array = hashes.copy()
    for place in np.flatnonzero(sizes > _LONG_BYTES):
        start = int(starts[place])
        folded[place] = fnv1a(content[start : start + int(sizes[place])].tobytes(), int(hashes[place]))
    left = np.flatnonzero(sizes <= _LONG_BYTES)
    offset = 0
    while left.size:
        folded[left] = (folded[left] ^ content[starts[left] + offset]) * np.uint32(_PRIME)
        offset += 1
        left = left[sizes[left] > offset]
    return folded
