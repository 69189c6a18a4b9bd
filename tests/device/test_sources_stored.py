"""Clips and folders."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.clock import SystemClock
from edge.device.frame import Frame
from edge.device.sources.config import FileConfig, FolderConfig
from edge.device.sources.file import FileSource
from edge.device.sources.folder import FolderSource
from edge.errors import SourceError
from tests.simulators.cameras import red_card, write_clip
from tests.simulators.clock import ManualClock

GRAYS = [np.full((48, 64, 3), 8 * n, np.uint8) for n in range(20)]


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return str(write_clip(tmp_path / "clip.avi", GRAYS, fps=10))


def _all(source: FileSource | FolderSource, most: int = 1000) -> list[Frame]:
    source.open()
    frames: list[Frame] = []
    while len(frames) < most and (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def _gray(frame: Frame) -> int:
    return round(float(frame.image.mean()) / 8)


def test_as_fast_as_possible_gives_every_frame_once_with_the_clips_own_time(clip: str) -> None:
    frames = _all(FileSource(FileConfig(path=clip, is_realtime=False), ManualClock()))
    assert [f.number for f in frames] == list(range(20))
    assert [_gray(f) for f in frames] == list(range(20))
    assert [f.media_s for f in frames] == pytest.approx([n / 10 for n in range(20)])


def test_a_loop_begins_again_and_counts_on(clip: str) -> None:
    frames = _all(FileSource(FileConfig(path=clip, is_realtime=False, loop=True), ManualClock()), most=50)
    assert [f.number for f in frames] == list(range(50))
    assert [_gray(f) for f in frames] == [n % 20 for n in range(50)]
    times = [f.media_s or 0.0 for f in frames]
    assert times == sorted(times)


def test_at_real_time_pace_each_frame_comes_when_it_is_due(clip: str) -> None:
    clock = ManualClock()
    frames = _all(FileSource(FileConfig(path=clip), clock))
    assert [f.number for f in frames] == list(range(20))
    assert [f.captured_s - 1000 for f in frames] == pytest.approx([n / 10 for n in range(20)])
    assert all(f.media_s is None for f in frames)


def test_a_slow_reader_of_a_real_time_clip_misses_what_came_too_late(clip: str) -> None:
    clock = ManualClock()
    source = FileSource(FileConfig(path=clip), clock)
    source.open()
    numbers = []
    while (frame := source.read()) is not None:
        numbers.append(frame.number)
        clock.advance(0.45)  # of 0.1 s frames
    source.close()
    assert numbers[0] == 0
    assert all(3 <= later - sooner <= 6 for sooner, later in pairwise(numbers))


def test_the_rate_can_be_set_instead_of_the_clips_own(clip: str) -> None:
    clock = ManualClock()
    source = FileSource(FileConfig(path=clip, fps=2), clock)
    frames = _all(source)
    assert source.fps == 2
    assert frames[-1].captured_s - frames[0].captured_s == pytest.approx(9.5)


def test_a_clip_opened_again_begins_at_its_first_frame(clip: str) -> None:
    source = FileSource(FileConfig(path=clip, is_realtime=False), ManualClock())
    assert len(_all(source, most=7)) == 7
    assert [f.number for f in _all(source)] == list(range(20))


@pytest.mark.parametrize("content", [None, b"", b"no video at all" * 100])
def test_what_is_no_clip_is_a_source_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"bad\.mp4"):
        FileSource(FileConfig(path=str(path)), ManualClock()).open()


def test_a_clip_that_was_cut_short_gives_what_it_has(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
    whole = write_clip(tmp_path / "whole.avi", [noise] * 20).read_bytes()
    short = tmp_path / "short.avi"
    short.write_bytes(whole[: len(whole) // 2])
    frames = _all(FileSource(FileConfig(path=str(short), is_realtime=False), ManualClock()))
    assert 0 < len(frames) < 20


def test_a_real_clip_is_read_to_its_last_frame(shared_data: Path) -> None:
    path = shared_data / "video" / "one-by-one-person-detection.mp4"
    reference = cv2.VideoCapture(str(path))
    count = 0
    while reference.grab():
        count += 1
    source = FileSource(FileConfig(path=str(path), is_realtime=False), SystemClock())
    source.open()
    last = None
    while (frame := source.read()) is not None:
        last = frame
    assert last is not None
    assert last.number == count - 1


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name, level in (("c.jpg", 2), ("a.png", 0), ("b.bmp", 1)):
        cv2.imwrite(str(tmp_path / name), GRAYS[level])
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_pictures_come_sorted_by_name_once(pictures: Path) -> None:
    frames = _all(FolderSource(FolderConfig(path=str(pictures)), ManualClock(), print))
    assert [_gray(f) for f in frames] == [0, 1, 2]
    assert [f.media_s for f in frames] == [0.0, 1.0, 2.0]


def test_a_looped_folder_begins_again_and_sees_what_was_added(pictures: Path) -> None:
    source = FolderSource(FolderConfig(path=str(pictures), loop=True), ManualClock(), print)
    source.open()
    first = [source.read() for _ in range(3)]
    cv2.imwrite(str(pictures / "d.png"), GRAYS[3])
    second = [source.read() for _ in range(5)]
    assert [_gray(f) for f in first + second if f] == [0, 1, 2, 0, 1, 2, 3, 0]


def test_pictures_are_paced(pictures: Path) -> None:
    frames = _all(FolderSource(FolderConfig(path=str(pictures), every_s=60), ManualClock(), print))
    assert [f.captured_s - frames[0].captured_s for f in frames] == pytest.approx([0, 60, 120])
    assert all(f.media_s is None for f in frames)


def test_a_file_that_is_no_picture_is_said_and_costs_only_itself(pictures: Path) -> None:
    (pictures / "b.bmp").write_bytes(b"not a picture")
    (pictures / "a.png").write_bytes(b"")
    said: list[str] = []
    frames = _all(FolderSource(FolderConfig(path=str(pictures)), ManualClock(), said.append))
    assert [_gray(f) for f in frames] == [2]
    assert ["a.png" in said[0], "b.bmp" in said[1]] == [True, True]


def test_a_folder_of_nothing_but_broken_pictures_does_not_spin(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"broken")
    source = FolderSource(FolderConfig(path=str(tmp_path), loop=True), ManualClock(), lambda _: None)
    source.open()
    with pytest.raises(SourceError, match="not one picture"):
        source.read()


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_pictures_is_a_source_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=name):
        FolderSource(FolderConfig(path=str(tmp_path / name)), ManualClock(), print).open()


def test_a_twelve_megapixel_picture_is_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "big.jpg"), red_card(4000, 3000))
    (frame,) = _all(FolderSource(FolderConfig(path=str(tmp_path)), ManualClock(), print))
    assert frame.image.shape == (3000, 4000, 3)
