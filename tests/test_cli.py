"""What every subcommand gets from the command line: closed and full streams, and libraries that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EDGE = (sys.executable, "-c", "from edge.cli import main; main()")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
# A library that is not installed, or whose shared library is absent, as the import machinery tells it.
WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise {error}
sys.meta_path.insert(0, Without())
from edge.cli import main
main()
"""


def run(*command: str, **how: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **how)


@pytest.mark.parametrize(
    ("name", "arguments", "extra"),
    [
        ("cv2", ("infer", "model.tflite", "cat.jpg"), "OpenCV is not installed; try: pip install '{}[device]'"),
        ("numpy", ("inspect", "model.tflite"), "numpy is not installed; try: pip install '{}[device]'"),
        ("numpy", ("run",), "numpy is not installed; try: pip install '{}[device]'"),
        ("cv2", ("gate", "replay", "clip.mp4"), "OpenCV is not installed; try: pip install '{}[vision]'"),
    ],
)
def test_a_missing_library_is_one_sentence_with_the_command_that_adds_it(
    name: str, arguments: tuple[str, ...], extra: str
) -> None:
    code = WITHOUT.format(name=name, error=f"ModuleNotFoundError('No module', name={name!r})")
    done = run(sys.executable, "-c", code, *arguments)
    assert (done.returncode, done.stderr) == (69, f"edge: {extra.format('edge-inference-runtime')}\n")


def test_a_library_that_does_not_load_is_told_with_its_reason() -> None:
    code = WITHOUT.format(name="cv2", error="ImportError('libGL.so.1: cannot open', name='cv2')")
    done = run(sys.executable, "-c", code, "infer", "model.tflite", "cat.jpg")
    assert done.returncode == 69
    assert done.stderr.startswith("edge: OpenCV that loads here (libGL.so.1: cannot open) is not installed; try: pip")
    assert done.stderr.count("\n") == 1


def test_an_output_that_is_full_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = run(*EDGE, "--help", stdout=full)
    assert (done.returncode, done.stderr) == (74, "edge: the output cannot be written: No space left on device\n")


def test_a_reader_that_went_away_ends_it_without_a_word() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = run(*EDGE, "--help", stdout=write)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_output_is_utf8_whatever_the_locale_says() -> None:
    code = "import sys; from edge import cli; sys.argv = ['edge', '--\\u7248']; cli.main()"
    posix = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT | posix, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "No such option" in done.stderr.decode()
    assert "--版" in done.stderr.decode()


def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    done = run(*EDGE, "demo", "--headless", "--dir", str(tmp_path / ("x" * 300)))
    assert done.returncode == 74
    assert done.stderr.endswith("File name too long\n")
    assert done.stderr.count("\n") == 1


def test_closed_standard_streams_are_silence() -> None:
    done = run("sh", "-c", f"{sys.executable} -c 'from edge.cli import main; main()' --version <&- >&-")
    assert (done.returncode, done.stderr) == (0, "")
