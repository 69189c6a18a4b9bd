"""Texts: lines of files and FIFOs, standard input, messages."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.contract.messages import TextRequest
from edge.device.sources.api import TextSource
from edge.device.sources.config import (
    FileConfig,
    FolderConfig,
    LinesConfig,
    MqttConfig,
    Picamera2Config,
    PipeConfig,
    PipePreset,
    SourceConfig,
    StdinConfig,
    StreamConfig,
    V4l2Config,
)
from edge.device.sources.lines import LinesSource, stdin_source
from edge.device.sources.mqtt import MqttTexts
from edge.device.sources.open import open_source
from edge.errors import SourceError
from tests.simulators.clock import ManualClock

CLOCK = SystemClock()
SOON_S = 10.0


def _lines(path: Path, said: list[str] | None = None, **options: object) -> LinesSource:
    refused = print if said is None else said.append
    return LinesSource(LinesConfig(path=str(path), **options), CLOCK, refused)  # type: ignore[arg-type]


def _all(source: TextSource) -> list[str]:
    texts = []
    while not source.is_ended:
        text = source.read(SOON_S)
        if text is not None:
            texts.append(text.text)
    return texts


def _next(source: TextSource) -> str:
    text = source.read(SOON_S)
    assert text is not None
    return text.text


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_the_lines_of_a_file_come_once_numbered_as_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    path.write_text("one\n\n  two \r\n\u4e09\nlast without end")
    source = _lines(path)
    source.open()
    texts = [source.read(SOON_S) for _ in range(4)]
    assert [(t.id, t.text) for t in texts if t] == [
        ("1", "one"),
        ("3", "two"),
        ("4", "\u4e09"),
        ("5", "last without end"),
    ]
    assert source.read(0) is None
    assert source.is_ended
    source.close()


def test_an_empty_file_ends_at_once(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    path.touch()
    source = _lines(path)
    source.open()
    assert _all(source) == []
    source.close()


def test_a_file_opened_again_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    path.write_text("one\ntwo\n")
    source = _lines(path)
    for _ in range(2):
        source.open()
        assert _all(source) == ["one", "two"]
        source.close()


@pytest.mark.parametrize("poison", [b"\xff\xfe bad", b"\xe4\xb8", b"x" * 10_000_000], ids=["bytes", "cut", "10 MB"])
@pytest.mark.parametrize("is_last", [False, True], ids=["inside", "last"])
def test_a_poisoned_line_is_said_and_costs_only_itself(tmp_path: Path, poison: bytes, is_last: bool) -> None:
    path = tmp_path / "texts"
    path.write_bytes(b"before\n" + poison + (b"" if is_last else b"\nafter\n"))
    said: list[str] = []
    source = _lines(path, said)
    source.open()
    assert _all(source) == (["before"] if is_last else ["before", "after"])
    assert len(said) == 1
    assert "line 2" in said[0]
    assert len(said[0]) < 300
    source.close()


def test_a_line_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    path.write_text("a" * 100 + "\n" + "b" * 101 + "\n")
    said: list[str] = []
    source = _lines(path, said, max_line_bytes=100)
    source.open()
    assert _all(source) == ["a" * 100]
    assert "has 101 bytes, above max_line_bytes 100" in said[0]
    source.close()


def test_a_followed_file_gives_what_is_added_and_never_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    source = _lines(path, follow=True)
    source.open()
    assert _next(source) == "one"
    assert source.read(0) is None
    assert not source.is_ended
    with path.open("a") as file:
        file.write("two")
        file.flush()
        assert source.read(0.3) is None  # not a whole line yet
        file.write(" and more\nthree\n")
    assert [_next(source), _next(source)] == ["two and more", "three"]
    source.close()


def test_a_followed_file_can_be_taken_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    source = _lines(path, follow=True, start="end")
    source.open()
    with path.open("a") as file:
        file.write("new\n")
    assert _next(source) == "new"
    source.close()


@pytest.mark.parametrize("how", ["rotated", "cut"])
def test_a_followed_file_that_begins_anew_is_read_anew(tmp_path: Path, how: str) -> None:
    path = tmp_path / "log"
    path.write_text("a long first line\nrest")
    source = _lines(path, follow=True)
    source.open()
    assert _next(source) == "a long first line"
    if how == "rotated":
        path.rename(tmp_path / "log.1")
        assert source.read(0.3) is None  # between the two steps of a rotation
    path.write_text("fresh\n")
    assert [_next(source), _next(source)] == ["rest", "fresh"]
    source.close()


def test_a_fifo_outlives_its_writers(fifo: Path) -> None:
    source = _lines(fifo, follow=True)
    source.open()
    assert source.read(0) is None
    for number in range(5):
        with fifo.open("w") as writer:
            writer.write(f"{number} a\n{number} b")  # the second line lacks its end: the writer's is its end
        assert [_next(source), _next(source)] == [f"{number} a", f"{number} b"]
        assert not source.is_ended
    source.close()


def test_two_writers_of_a_fifo_at_a_time_lose_nothing(fifo: Path) -> None:
    source = _lines(fifo, follow=True)
    source.open()
    first, second = os.open(fifo, os.O_WRONLY), os.open(fifo, os.O_WRONLY)
    os.write(first, b"one\n")
    os.close(first)
    os.write(second, b"two\n")
    assert sorted([_next(source), _next(source)]) == ["one", "two"]
    os.close(second)
    assert source.read(0.05) is None
    with fifo.open("w") as writer:
        writer.write("three\n")
    assert _next(source) == "three"
    source.close()


def test_a_fifo_that_is_not_followed_waits_for_its_writer_and_ends_with_it(fifo: Path) -> None:
    source = _lines(fifo)
    source.open()
    assert source.read(0.05) is None
    assert not source.is_ended
    with fifo.open("w") as writer:
        writer.write("one\ntwo\n")
    assert _all(source) == ["one", "two"]
    source.close()


def test_many_writers_in_a_row_lose_no_line(fifo: Path) -> None:
    source = _lines(fifo, follow=True)
    source.open()

    def write() -> None:
        for number in range(200):
            with fifo.open("w") as writer:
                writer.write(f"{number}\n")

    thread = threading.Thread(target=write)
    thread.start()
    assert [_next(source) for _ in range(200)] == [str(number) for number in range(200)]
    thread.join()
    source.close()


def test_a_file_that_is_not_there_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none: cannot be opened"):
        _lines(tmp_path / "none").open()


def test_a_folder_in_place_of_a_file_is_a_source_error(tmp_path: Path) -> None:
    source = _lines(tmp_path)
    source.open()
    with pytest.raises(SourceError, match="directory"):
        source.read(SOON_S)
    source.close()


def test_standard_input_ends_with_its_writer_and_stays_open() -> None:
    reader, writer = os.pipe()
    source = stdin_source(StdinConfig(), CLOCK, print, reader)
    source.open()
    os.write(writer, b"one\ntwo")
    assert _next(source) == "one"
    assert source.read(0) is None
    os.close(writer)
    assert _all(source) == ["two"]
    source.close()
    os.fstat(reader)  # raises where it was closed
    os.close(reader)


@pytest.fixture(params=["fifo", "followed", "stdin", "mqtt"])
def waiting(request: pytest.FixtureRequest, fifo: Path, tmp_path: Path) -> Iterator[TextSource]:
    """Every kind of source, with nothing to give."""
    reader, writer = os.pipe()
    path = tmp_path / "log"
    path.touch()
    sources: dict[str, TextSource] = {
        "fifo": _lines(fifo, follow=True),
        "followed": _lines(path, follow=True),
        "stdin": stdin_source(StdinConfig(), CLOCK, print, reader),
        "mqtt": MqttTexts(MqttConfig(), CLOCK, print),
    }
    source = sources[request.param]
    source.open()
    yield source
    source.close()
    os.close(reader)
    os.close(writer)


def test_closing_wakes_whoever_waits_for_a_text(waiting: TextSource) -> None:
    answers: list[object] = []
    reader = threading.Thread(target=lambda: answers.append(waiting.read(60)))
    reader.start()
    began_s = CLOCK.monotonic_s()
    waiting.close()
    reader.join(10)
    assert answers == [None]
    assert CLOCK.monotonic_s() - began_s < 2
    assert waiting.read(0) is None


def test_a_source_without_texts_returns_after_its_time(waiting: TextSource) -> None:
    assert waiting.read(0.01) is None
    assert not waiting.is_ended


def test_a_message_becomes_a_text_with_its_id_and_reply_topic() -> None:
    clock = ManualClock()
    source = MqttTexts(MqttConfig(), clock, print)
    source.open()
    assert source.push(TextRequest(text="hello", id="q7", reply_to="answers/7"))
    assert source.push(TextRequest(text="again"))
    first, second = source.read(0), source.read(0)
    assert first is not None
    assert second is not None
    assert (first.text, first.id, first.reply_to) == ("hello", "q7", "answers/7")
    assert (second.id, second.reply_to, second.made_ms) == ("2", None, clock.wall_ms())


def test_messages_beyond_the_bound_are_refused_and_said() -> None:
    said: list[str] = []
    source = MqttTexts(MqttConfig(max_waiting=2), CLOCK, said.append)
    source.open()
    assert [source.push(TextRequest(text=str(n))) for n in range(3)] == [True, True, False]
    assert len(said) == 1
    assert [_next(source), _next(source)] == ["0", "1"]


@pytest.mark.parametrize("text", ["x" * 1001, "\u4e09" * 334, "\ud800" * 1001], ids=["long", "wide", "surrogates"])
def test_a_message_that_is_too_long_is_refused_and_said(text: str) -> None:
    said: list[str] = []
    source = MqttTexts(MqttConfig(max_text_bytes=1000), CLOCK, said.append)
    source.open()
    assert not source.push(TextRequest(text=text, id="big"))
    assert "'big' has 100" in said[0]


def test_a_message_for_a_pipeline_that_is_stopped_is_refused() -> None:
    source = MqttTexts(MqttConfig(), CLOCK, lambda _: None)
    assert not source.push(TextRequest(text="early"))
    source.open()
    source.close()
    assert not source.push(TextRequest(text="late"))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (V4l2Config(), "Camera"),
        (StreamConfig(url="rtsp://x/1"), "Camera"),
        (Picamera2Config(), "Camera"),
        (FileConfig(path="x"), "FileSource"),
        (FolderConfig(path="x"), "FolderSource"),
        (PipeConfig(preset=PipePreset.RPICAM), "PipeSource"),
        (LinesConfig(path="x"), "LinesSource"),
        (MqttConfig(), "MqttTexts"),
    ],
)
def test_each_config_opens_its_source_and_touches_nothing_yet(config: SourceConfig, name: str) -> None:
    assert type(open_source(config, CLOCK)).__name__ == name


def test_lines_that_were_read_are_handed_over_after_a_close(fifo: Path) -> None:
    source = _lines(fifo)
    source.open()
    writer = os.open(fifo, os.O_WRONLY)
    os.write(writer, b"one\ntwo\nthree\n")
    assert _next(source) == "one"
    source.close()
    assert [_next(source), _next(source)] == ["two", "three"]
    assert source.read(0) is None
    os.close(writer)
