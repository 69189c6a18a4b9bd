"""What the two models of the demo are trained on."""

from __future__ import annotations

import json
from pathlib import Path

import converters.zoo
from edge.demo.texts import sentences

_ZOO = Path(converters.zoo.__file__).parent


def _own() -> list[tuple[str, str]]:
    return [tuple(line.split("\t")) for line in (_ZOO / "topics_sentences.tsv").read_text("utf-8").splitlines()]  # type: ignore[misc]


def _words() -> dict[str, dict[str, str]]:
    return json.loads((_ZOO / "topics_words.json").read_text("utf-8"))


def test_no_text_of_the_demo_is_trained_on() -> None:
    assert not {asked.text for asked in sentences()} & {text for _, text in _own()}


def test_training_and_demo_speak_of_the_same_seven_topics() -> None:
    topics = {asked.topic for asked in sentences()}
    assert {topic for topic, _ in _own()} == topics
    assert set(_words()) == topics


def test_every_topic_has_enough_words_in_both_languages_to_draw_from() -> None:
    for topic, lists in _words().items():
        assert set(lists) == {"en", "zh"}, topic
        for language, words in lists.items():
            assert len(set(words.split())) >= 40, (topic, language)
