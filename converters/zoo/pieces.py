"""A WordPiece vocabulary from texts.

Promises: the same texts give the same vocabulary, in the same order, in every process (the trainer of the `tokenizers`
library numbers its pieces in the order of a hash table, which differs from run to run); texts are split as the
device's own tokenizer splits them.
Leaves out: turning texts into ids (`edge.compute.wordpiece`).
Thread: any.
"""

from __future__ import annotations

import heapq
import importlib
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from edge.errors import MissingExtraError

__all__ = ["SPECIAL", "learn_pieces"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")  # [PAD] is id 0
_GOES_ON = "##"
_Pair: TypeAlias = tuple[str, str]


def learn_pieces(texts: Iterable[str], size: int, *, least: int = 2) -> tuple[str, ...]:
    """At most `size` pieces for lower-cased texts: the special ones, single characters, then joints by how often.

    A joint is made of the two neighbouring pieces that stand together most often, as in byte-pair encoding; of equally
    frequent ones the first by the alphabet. Pieces seen fewer than `least` times are no joints.

    Raises:
        MissingExtraError: `tokenizers` is not installed.
    """
    words = sorted(_words(texts).items())
    spelled = [[word[0], *(_GOES_ON + letter for letter in word[1:])] for word, _ in words]
    counts = [count for _, count in words]
    letters = sorted({piece for pieces in spelled for piece in pieces}, key=lambda piece: (len(piece), piece))
    found = [*SPECIAL, *letters][:size]
    known = set(found)
    pairs = _Pairs(spelled, counts)
    while len(found) < size and (pair := pairs.most_frequent(least)) is not None:
        joint = _joined(pair)
        pairs.join(pair, joint)
        if joint not in known:  # "ab" + "##c" and "a" + "##bc" are one piece
            known.add(joint)
            found.append(joint)
    return tuple(found)


class _Pairs:
    """How often each pair of neighbours stands in the words, kept up to date while pairs are joined."""

    def __init__(self, spelled: list[list[str]], counts: Sequence[int]) -> None:
        self._spelled = spelled
        self._counts = counts
        self._often: Counter[_Pair] = Counter()
        self._places: dict[_Pair, set[int]] = {}
        for place in range(len(spelled)):
            self._count(place, 1)
        self._queue = [(-count, pair) for pair, count in self._often.items()]
        heapq.heapify(self._queue)

    def most_frequent(self, least: int) -> _Pair | None:
        """The pair to join next; None where none stands `least` times."""
        while self._queue:
            count, pair = heapq.heappop(self._queue)
            if -count != self._often[pair]:  # it has changed since it was queued, and was queued anew
                continue
            return pair if -count >= least else None
        return None

    def join(self, pair: _Pair, joint: str) -> None:
        """Spell every word that has the pair with the joint in its place."""
        changed: set[_Pair] = set()
        for place in sorted(self._places.pop(pair, ())):
            changed |= self._count(place, -1)
            self._spelled[place] = _replaced(self._spelled[place], pair, joint)
            changed |= self._count(place, 1)
        for each in changed:
            heapq.heappush(self._queue, (-self._often[each], each))

    def _count(self, place: int, sign: int) -> set[_Pair]:
        pieces = self._spelled[place]
        pairs = list(itertools.pairwise(pieces))
        for pair in pairs:
            self._often[pair] += sign * self._counts[place]
            if sign > 0:
                self._places.setdefault(pair, set()).add(place)
        return set(pairs)


def _replaced(pieces: list[str], pair: _Pair, joint: str) -> list[str]:
    made: list[str] = []
    place = 0
    while place < len(pieces):
        if tuple(pieces[place : place + 2]) == pair:
            made.append(joint)
            place += 2
        else:
            made.append(pieces[place])
            place += 1
    return made


def _joined(pair: _Pair) -> str:
    return pair[0] + pair[1].removeprefix(_GOES_ON)


def _words(texts: Iterable[str]) -> Counter[str]:
    """Words as BERT sees them (lower case, no accents, punctuation and Chinese characters alone), and how often."""
    try:
        normalizers = importlib.import_module("tokenizers.normalizers")
        splitters = importlib.import_module("tokenizers.pre_tokenizers")
    except ImportError as err:
        raise MissingExtraError("tokenizers", "text") from err
    normalize, split = normalizers.BertNormalizer(lowercase=True), splitters.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in split.pre_tokenize_str(normalize.normalize_str(text)))
    return words
