"""`edge infer` as a person and as a script sees it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import pytest

from edge.commands.infer import command

pytestmark = pytest.mark.needs_data

_DETECTOR = "detection/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
_SENTIMENT = "text/test_model_nl_classifier_with_regex_tokenizer.tflite"
_SINE = "hello/hello_world_float.tflite"
_DIGITS = "digits/mnist-opset8.onnx"


@dataclass(frozen=True, kw_only=True)
class _Done:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def infer(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., _Done]:
    def run(model: str, *arguments: str | Path) -> _Done:
        code = 0
        try:
            command.main([str(shared_data / "models" / model), *map(str, arguments)], standalone_mode=False)
        except SystemExit as err:
            code = int(err.code or 0)
        captured = capsys.readouterr()
        return _Done(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))

    return give


def test_every_picture_is_one_json_object_with_the_expected_things(
    infer: Callable[..., _Done], shared_data: Path
) -> None:
    expected = json.loads((shared_data / "expected.json").read_text(encoding="utf-8"))["coco_ssd_mobilenet_v1_quant"]
    pictures = [shared_data / "images" / name for name in expected]
    done = infer(_DETECTOR, *pictures, "--json")
    assert (done.code, done.err) == (0, "")
    assert [line["input"] for line in done.lines] == [str(picture) for picture in pictures]
    for line, things in zip(done.lines, expected.values(), strict=True):
        assert set(line) == {"input", "kind", "model", "items", "timing_ms"}
        assert (line["kind"], line["model"]) == ("image", "Coco SSD MobileNetV1")
        assert set(line["timing_ms"]) == {"prepare", "run", "decode"}
        assert [item["label"] for item in line["items"]] == [label for label, _, _ in things]
        for item, (_, score, (ymin, xmin, ymax, xmax)) in zip(line["items"], things, strict=True):
            assert item["score"] == pytest.approx(score, abs=2 / 256)
            assert item["box"] == pytest.approx([xmin, ymin, xmax, ymax], abs=0.02)
            assert len(item["box_px"]) == 4


def test_a_bad_input_among_many_is_told_and_the_others_are_inferred(
    infer: Callable[..., _Done], shared_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"no picture")
    good = shared_data / "images/mnist_sample3.png"
    done = infer(_DIGITS, tmp_path / "empty.jpg", good, tmp_path / "text.png", tmp_path / "absent.png", good, "--json")
    assert done.code == 65
    assert [line.get("items", [{}])[0].get("label") for line in done.lines] == [None, "3", None, None, "3"]
    assert done.lines[0]["error"].endswith("empty.jpg: the file is empty")
    assert set(done.lines[2]) == {"input", "error"}
    assert [line.split(": ")[-1] for line in done.err.splitlines()] == [
        "the file is empty",
        "no picture format that is known here",
        "no such file",
    ]


def test_a_folder_is_walked_in_sorted_order(infer: Callable[..., _Done], shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("c.png", "b/z.png", "b/a.PNG", "a.png"):
        shutil.copy(shared_data / "images/mnist_sample1.png", tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture", encoding="utf-8")
    done = infer(_DIGITS, tmp_path, "--json")
    assert done.code == 0
    assert [Path(line["input"]).relative_to(tmp_path).as_posix() for line in done.lines] == [
        "a.png",
        "b/a.PNG",
        "b/z.png",
        "c.png",
    ]


def _clip(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), number * 8, np.uint8))
    writer.release()


def test_of_a_clip_every_nth_frame_is_inferred_and_saved(infer: Callable[..., _Done], tmp_path: Path) -> None:
    _clip(tmp_path / "clip.avi", 10)
    done = infer(_DIGITS, tmp_path / "clip.avi", "--every", "4", "--json", "--save", tmp_path / "out")
    assert done.code == 0
    assert [line["input"].rpartition("#")[2] for line in done.lines] == ["0", "4", "8"]
    assert sorted(path.name for path in (tmp_path / "out/clip").iterdir()) == [
        "frame_000000.jpg",
        "frame_000004.jpg",
        "frame_000008.jpg",
    ]


def test_a_broken_clip_is_told(infer: Callable[..., _Done], tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no clip")
    done = infer(_DIGITS, tmp_path / "clip.mp4", tmp_path / "absent.mp4")
    assert done.code == 65
    assert "not a clip that can be read here" in done.err
    assert "absent.mp4: no such file" in done.err


def test_saved_pictures_carry_the_boxes_and_keep_their_names(
    infer: Callable[..., _Done], shared_data: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in/deep/grace.png"
    source.parent.mkdir(parents=True)
    cv2.imwrite(str(source), cv2.imread(str(shared_data / "images/grace_hopper.bmp")))
    infer(_DETECTOR, tmp_path / "in", "--save", tmp_path / "out", "--json")
    before, after = cv2.imread(str(source)), cv2.imread(str(tmp_path / "out/deep/grace.png"))
    assert before.shape == after.shape
    changed = (before != after).any(axis=2)
    assert changed[33, 300:500].mean() > 0.9  # the upper edge of the person
    assert changed.mean() < 0.2


def test_segments_are_blended_into_saved_pictures(
    infer: Callable[..., _Done], shared_data: Path, tmp_path: Path
) -> None:
    done = infer(
        "segmentation/deeplabv3_mnv2_dm05_pascal_quant.tflite",
        shared_data / "images/bird_segmentation.bmp",
        "--save",
        tmp_path,
        "--json",
    )
    assert done.lines[0]["items"][0]["label"] == "bird"
    before = cv2.imread(str(shared_data / "images/bird_segmentation.bmp"))
    after = cv2.imread(str(tmp_path / "bird_segmentation.bmp"))
    truth = cv2.imread(str(shared_data / "images/bird_segmentation_mask.bmp"), cv2.IMREAD_GRAYSCALE) > 0
    changed = (before != after).any(axis=2)[150:]  # below the list
    assert (changed == truth[150:]).mean() > 0.9


def test_saving_never_overwrites_the_source(infer: Callable[..., _Done], shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "digit.png"
    shutil.copy(shared_data / "images/mnist_sample3.png", source)
    content = source.read_bytes()
    done = infer(_DIGITS, source, "--save", tmp_path)
    assert done.code == 65
    assert "would overwrite it" in done.err
    assert source.read_bytes() == content


def test_a_folder_that_cannot_be_written_to_is_told(
    infer: Callable[..., _Done], shared_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = infer(_DIGITS, shared_data / "images/mnist_sample3.png", "--save", tmp_path / "file")
    assert done.code == 65
    assert "cannot be written" in done.err


def test_texts_come_from_the_command_line_from_files_and_from_stdin(
    infer: Callable[..., _Done], stdin: Callable[[bytes], None], tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_bytes(
        b"\xef\xbb\xbfit was terrible and boring\n\n  \ncaf\xe9\r\nWhat a waste of my time."
    )
    stdin(b"a wonderful, moving film with great acting\n")
    done = infer(_SENTIMENT, "What a waste of my time.", tmp_path / "texts.txt", "-", "--json", "--top-k", "1")
    assert done.code == 65
    told = [(line["input"], line.get("items", [{}])[0].get("label")) for line in done.lines]
    file = tmp_path / "texts.txt"
    assert told == [
        ("What a waste of my time.", "Negative"),
        (f"{file}:1", "Positive"),
        (f"{file}:4", None),
        (f"{file}:5", "Negative"),
        ("-:1", "Positive"),
    ]
    assert "byte 3 is 0xe9" in done.err


def test_a_text_may_have_the_name_of_a_file(infer: Callable[..., _Done], tmp_path: Path) -> None:
    file = tmp_path / "boring.txt"
    file.write_text("great", encoding="utf-8")
    assert infer(_SENTIMENT, file, "--text", "--json").lines[0]["input"] == str(file)
    done = infer(_SENTIMENT, tmp_path / "absent.txt")
    assert done.code == 65
    assert "add --text" in done.err


def test_a_line_of_ten_megabytes_is_refused_and_the_next_is_read(infer: Callable[..., _Done], tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_bytes(b"word " * 2_000_000 + b"\nWhat a waste of my time.\n")
    done = infer(_SENTIMENT, tmp_path / "texts.txt", "--json")
    assert done.code == 65
    assert "a line of 10,000,001 bytes" in done.lines[0]["error"]
    assert done.lines[1]["items"][0]["label"] == "Negative"


def test_numbers_come_as_words_as_csv_and_as_npy(
    infer: Callable[..., _Done], stdin: Callable[[bytes], None], tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("0.0\n1.5708\n", encoding="utf-8")
    np.save(tmp_path / "one.npy", np.array([[4.7124]]))
    (tmp_path / "bad.csv").write_text("a,b\n", encoding="utf-8")
    (tmp_path / "empty.csv").write_bytes(b"")
    stdin(b"3.1416\n")
    done = infer(
        _SINE, "1.5708", tmp_path / "rows.csv", tmp_path / "one.npy", "-", "x", "1,2,3", tmp_path / "bad.csv",
        tmp_path / "empty.csv", tmp_path / "absent.csv", "--json",
    )  # fmt: skip
    values = [line["items"][0]["value"] for line in done.lines if "items" in line]
    assert values == pytest.approx([0.9957, 0.0264, 0.9957, -1.0057, -0.005, 0.8746, 0.9, 0.14], abs=0.05)
    errors = [line["error"].partition(": ")[2] for line in done.lines if "error" in line]
    assert done.code == 65
    assert [error.split(" (")[0] for error in errors] == [
        "expected numbers, or a .npy or .csv file of them",
        "expected a .npy array or a table of numbers",
        "the file is empty",
        "no such file",
    ]


def test_a_picture_may_come_through_stdin(
    infer: Callable[..., _Done], stdin: Callable[[bytes], None], shared_data: Path
) -> None:
    stdin((shared_data / "images/mnist_sample5.png").read_bytes())
    assert infer(_DIGITS, "-", "--json").lines[0]["items"][0]["label"] == "5"
    stdin(b"")
    done = infer(_DIGITS, "-", "--json")
    assert (done.code, done.lines) == (65, [{"input": "-", "error": "-: the file is empty"}])


def test_without_json_a_table_is_printed_for_people(infer: Callable[..., _Done], shared_data: Path) -> None:
    done = infer(_DETECTOR, shared_data / "images/cat.bmp", shared_data / "images/snow_4032_3024_3.jpg")
    assert done.code == 0
    rows = done.out.splitlines()
    assert rows[0].split() == ["input", "label", "score", "where", "ms"]
    assert "cat.bmp" in rows[1]
    assert " cat " in rows[1]
    assert "0.7" in rows[1]
    assert "%" not in done.err  # no bar without a terminal


def test_threshold_and_top_k_and_labels_come_from_the_flags(
    infer: Callable[..., _Done], shared_data: Path, tmp_path: Path
) -> None:
    faces = shared_data / "images/face.jpg"
    assert len(infer(_DETECTOR, faces, "--threshold", "0.66", "--json").lines[0]["items"]) == 1
    assert (
        len(infer(_DIGITS, shared_data / "images/mnist_sample5.png", "--top-k", "2", "--json").lines[0]["items"]) == 2
    )
    (tmp_path / "labels.txt").write_text(
        "zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n", encoding="utf-8"
    )
    done = infer(_DIGITS, shared_data / "images/mnist_sample5.png", "--labels", tmp_path / "labels.txt", "--json")
    assert done.lines[0]["items"][0]["label"] == "five"


def test_an_input_whose_name_is_no_utf8_is_told_with_a_replacement(
    infer: Callable[..., _Done], shared_data: Path, tmp_path: Path
) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.png")
    shutil.copy(shared_data / "images/mnist_sample5.png", name)
    done = infer(_DIGITS, name, name + ".absent.png", "--json")
    assert done.lines[0]["input"].endswith("caf\ufffd.png")
    assert done.lines[1]["error"].endswith("no such file")


def test_saving_makes_no_sense_for_texts(infer: Callable[..., _Done], tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="takes none"):
        infer(_SENTIMENT, "a text", "--save", tmp_path)


def _edge(*arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from edge.cli import main; main()", "infer", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, **more)


def test_a_file_that_is_no_model_ends_with_one_sentence_and_exit_code_65(shared_data: Path, tmp_path: Path) -> None:
    done = _edge(shared_data / "images/cat.bmp", shared_data / "images/cat.bmp")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (65, "", 1)
    assert "not a model" in done.stderr


def test_a_reader_that_goes_away_ends_the_command_without_a_word(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("What a waste of my time.\n" * 3000, encoding="utf-8")
    program = [sys.executable, "-c", "from edge.cli import main; main()", "infer", "--json"]
    program += [str(shared_data / "models" / _SENTIMENT), str(tmp_path / "texts.txt")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"Negative" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) != 0


def test_an_empty_name_is_not_the_folder_that_we_stand_in(
    infer: Callable[..., _Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "x.txt").write_text("words")
    monkeypatch.chdir(tmp_path)
    for model in (_DETECTOR, _SENTIMENT, _SINE):
        done = infer(model, "", "--json")
        assert (done.code, len(done.lines)) == (65, 1), model
        assert "empty one" in done.err or "got none" in done.err


def test_a_folder_or_file_without_anything_to_infer_is_told(infer: Callable[..., _Done], tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "pictures").mkdir()
    for model, name, message in (
        (_DETECTOR, "pictures", "nothing in this folder ends in"),
        (_SENTIMENT, "pictures", "nothing in this folder ends in"),
        (_SENTIMENT, "blank.txt", "no text in it"),
    ):
        done = infer(model, tmp_path / name)
        assert done.code == 65
        assert message in done.err


@pytest.mark.parametrize(
    ("content", "message"),
    [("wörter\n".encode("utf-16"), "UTF-16"), (bytes(range(256)) * 100, "not a text file")],
)
def test_a_file_that_is_no_text_is_one_message_and_not_one_for_each_line(
    infer: Callable[..., _Done], tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    done = infer(_SENTIMENT, tmp_path / "file", "a good film", "--json")
    assert done.code == 65
    assert [message in line.get("error", "") for line in done.lines] == [True, False]


def test_a_nul_in_a_text_is_a_character(infer: Callable[..., _Done], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("a\0b\n很好\n".encode())
    assert len(infer(_SENTIMENT, tmp_path / "file", "--json").lines) == 2


def test_an_endless_device_is_refused(infer: Callable[..., _Done]) -> None:
    for model in (_DETECTOR, _SENTIMENT, _SINE):
        done = infer(model, "/dev/zero")
        assert done.code == 65
        assert "a device, not a file" in done.err


def test_numbers_that_are_not_finite_are_refused(infer: Callable[..., _Done]) -> None:
    done = infer(_SINE, "nan", "inf", "1e39", "1.5")
    assert done.code == 65
    assert done.err.count("expected finite numbers") == 3


def test_a_name_gives_a_terminal_no_commands(infer: Callable[..., _Done], tmp_path: Path) -> None:
    name = "a\x1b[2J\nb.jpg"
    done = infer(_DETECTOR, tmp_path / name, "--json")
    assert "\x1b" not in done.err
    assert done.err.count("\n") == 1
    assert done.lines[0]["input"].endswith(name)


def test_a_disk_that_is_full_leaves_no_part_of_a_picture(
    infer: Callable[..., _Done], shared_data: Path, tmp_path: Path
) -> None:
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400000, 400000)); from edge.cli import main; main()"
    )
    # A small model and a large picture: the limit holds for the memory in which the model goes to its child as well.
    model, picture = shared_data / "models/vww/vww_96_int8.tflite", shared_data / "images/snow_4032_3024_3.jpg"
    done = subprocess.run(
        [sys.executable, "-c", limited, "infer", model, picture, "--save", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 65
    assert "cannot be written (File too large)" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [("--threads", "65"), ("--threshold", "nan"), ("--mean", "inf"), ("--std", "1,nan")])
def test_a_number_that_cannot_be_is_refused_before_anything_runs(infer: Callable[..., _Done], flags: tuple) -> None:
    with pytest.raises(click.BadParameter):
        infer(_DETECTOR, "cat.jpg", *flags)


def test_a_name_that_is_too_long_costs_only_itself(infer: Callable[..., _Done], shared_data: Path) -> None:
    done = infer(_DETECTOR, "x" * 5000, "x" * 5000 + ".mp4", shared_data / "images/pets.jpg", "--json")
    assert (done.code, len(done.lines)) == (65, 3)
    assert done.err.count("File name too long") == 2


def test_a_clip_that_was_cut_short_is_told_once_after_what_it_holds(shared_data: Path, tmp_path: Path) -> None:
    whole = (shared_data / "video/one-by-one-person-detection.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    model = shared_data / "models/vww/vww_96_float.tflite"
    done = subprocess.run(  # in its own process: decoders write past Python's stderr
        [
            *(sys.executable, "-c", "from edge.cli import main; main()"),
            *("infer", model, tmp_path / "half.mp4", "--every", "200", "--json"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 65
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["items" in line for line in lines] == [True] * 4 + [False]
    assert done.stderr.count("\n") == 1
    assert "ends at frame" in done.stderr
