"""The texts about seven topics that ship: sentences and word lists written for this project, and what the demo reads.

Promises: the demo's texts are for testing and never trained on; the same texts in the same order each time.
Leaves out: SIB-200, which is read from a folder (`datasets`).
Thread: any.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from converters.zoo.datasets import Labelled

__all__ = ["TOPICS", "demo_texts", "own_sentences", "word_list_texts"]

TOPICS = ("entertainment", "geography", "health", "politics", "science/technology", "sports", "travel")

_HERE = Path(__file__).parent
_DEMO = _HERE.parents[1] / "edge" / "demo" / "texts.tsv"
_WORDS = 7  # of a list in a text


def own_sentences() -> Labelled:
    """English and Chinese sentences, by topic."""
    return _pairs(_HERE / "topics_sentences.tsv")


def demo_texts() -> Labelled:
    """What the demo reads, with the topics that it should find."""
    return _pairs(_DEMO)


def word_list_texts(count: int, seed: int) -> Labelled:
    """`count` texts for each topic and language, of seven words drawn from the topic's word list."""
    random = np.random.default_rng(seed)
    made: Labelled = []
    for topic, lists in json.loads((_HERE / "topics_words.json").read_text("utf-8")).items():
        for language, words in lists.items():
            joint = " " if language == "en" else ""
            made += [(topic, joint.join(random.choice(words.split(), _WORDS, replace=False))) for _ in range(count)]
    return made


def _pairs(path: Path) -> Labelled:
    return [(topic, text) for topic, text in (line.split("\t") for line in path.read_text("utf-8").splitlines())]
