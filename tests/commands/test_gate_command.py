from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge.commands.gate import command
from edge.errors import MediaError


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """60 frames at 10 a second; a square crosses from frame 30 to 40."""
    path = tmp_path / "yard.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (320, 240))
    for number in range(60):
        frame = np.full((240, 320, 3), 90, np.uint8)
        if 30 <= number < 40:
            frame[80:160, (number - 30) * 20 + 40 : (number - 30) * 20 + 90] = 220
        writer.write(frame)
    writer.release()
    return path


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["replay", *arguments])


def test_numbers_as_one_json_object(clip: Path) -> None:
    result = replay(str(clip), "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["frames"], told["fps"], told["preset"]) == (60, 10.0, "normal")
    assert told["opened_by"]["motion"] >= 10
    assert told["open"] == sum(told["opened_by"].values())
    assert told["skipped_share"] == pytest.approx(1 - told["open"] / 60, abs=1e-4)
    assert told["openings"][1][0] == 30
    assert told["ms_per_frame"] > 0


def test_words_for_people(clip: Path) -> None:
    result = replay(str(clip))
    assert "60 frames at 10 a second" in result.stdout
    assert "skipped" in result.stdout


def test_a_mask_and_always_are_heard(clip: Path) -> None:
    masked = json.loads(replay(str(clip), "--json", "--mask", "0,0 1,0 1,1 0,1").stdout)
    assert masked["opened_by"] == {"first": 5}
    assert json.loads(replay(str(clip), "--json", "--preset", "always").stdout)["skipped_share"] == 0


def test_the_clip_is_saved_with_its_tiles_and_numbers(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert replay(str(clip), "--save", str(out)).exit_code == 0
    capture = cv2.VideoCapture(str(out / "yard.gate.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 60
    capture.release()
    assert json.loads((out / "yard.gate.json").read_text())["frames"] == 60


def test_the_sheet_shows_each_opening(clip: Path, tmp_path: Path) -> None:
    assert replay(str(clip), "--save", str(tmp_path), "--contact-sheet").exit_code == 0
    sheet = cv2.imread(str(tmp_path / "yard.gate.jpg"))
    assert sheet.shape == (240, 1280, 3)
    assert not (tmp_path / "yard.gate.mp4").exists()


@pytest.mark.parametrize("content", [None, b"", b"not a clip at all" * 100])
def test_a_missing_empty_or_wrong_file_is_one_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "wrong.mp4"
    if content is not None:
        path.write_bytes(content)
    result = replay(str(path))
    assert isinstance(result.exception, MediaError)
    assert "wrong.mp4" in str(result.exception)


def test_a_clip_that_was_cut_off_is_one_error(shared_data: Path, tmp_path: Path) -> None:
    whole = (shared_data / "video" / "one-by-one-person-detection.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 10])
    result = replay(str(path))
    assert isinstance(result.exception, MediaError)
    assert "truncated" in str(result.exception)


@pytest.mark.parametrize(
    "arguments", [["--mask", "0,0 1,1"], ["--mask", "a,b c,d e,f"], ["--mask", "0,0 9,0 1,1"], ["--contact-sheet"]]
)
def test_wrong_options_are_usage_errors(clip: Path, arguments: list[str]) -> None:
    assert replay(str(clip), *arguments).exit_code == 2
