from __future__ import annotations

import os
import threading
from pathlib import Path

from edge.clock import SystemClock
from edge.demo.texts import Asked, Feeder, sentences

_TEXTS = tuple(Asked(topic="sports", text=f"Satz {number} 体育") for number in range(4))


def _read_to_end(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return file.read().splitlines()


def test_every_text_arrives_once_and_then_the_end(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    feeder = Feeder(path, _TEXTS, 0.001, SystemClock())
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(_read_to_end(path)))
    reader.start()
    feeder.start()
    while not feeder.is_done:
        SystemClock().wait(threading.Event(), 0.005)
    feeder.close()
    reader.join(10)
    assert got == [asked.text for asked in _TEXTS]


def test_lines_wait_in_the_pipe_from_one_reader_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    feeder = Feeder(path, _TEXTS, 0.001, SystemClock())
    first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.close(first)
    feeder.start()
    while not feeder.is_done:
        SystemClock().wait(threading.Event(), 0.005)
    second = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(second, 65536).decode().splitlines() == [asked.text for asked in _TEXTS]
    feeder.close()
    assert os.read(second, 65536) == b""
    os.close(second)


def test_nothing_is_written_while_the_feeder_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    feeder = Feeder(path, _TEXTS, 0.001, SystemClock())
    feeder.settle()
    feeder.start()
    assert feeder.sent == 0
    feeder.resume()
    while not feeder.is_done:
        SystemClock().wait(threading.Event(), 0.005)
    feeder.close()


def test_a_settled_feeder_can_be_closed(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path / "texts", _TEXTS, 0.001, SystemClock())
    feeder.settle()
    feeder.start()
    feeder.close()
    feeder.close()
    assert feeder.sent == 0


def test_the_demo_has_texts_of_every_topic_in_both_languages() -> None:
    texts = sentences()
    assert len({asked.text for asked in texts}) == len(texts)
    topics = {asked.topic for asked in texts}
    assert len(topics) == 7
    for topic in topics:
        chinese = [
            asked for asked in texts if asked.topic == topic and any("一" <= char <= "鿿" for char in asked.text)
        ]
        assert chinese
        assert len(chinese) < sum(asked.topic == topic for asked in texts)
