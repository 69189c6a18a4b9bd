from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge.device.hands import Hands
from edge.errors import MediaError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "porch.hand"


def opened(path: Path) -> Hands:
    hands = Hands(path)
    hands.open()
    return hands


def die_holding(path: Path, text: str) -> None:
    """A process of its own, killed by the kernel with the text in hand."""
    code = (
        "import os, signal, sys; from pathlib import Path; from edge.device.hands import Hands\n"
        "hands = Hands(Path(sys.argv[1])); hands.open()\n"
        "with hands.holding('harmless'): pass\n"
        "with hands.holding(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path), text], check=False, timeout=60)
    assert ended.returncode in (-9, 1)


def test_a_text_that_ends_the_process_three_times_is_refused_and_others_are_not(path: Path) -> None:
    for _ in range(3):
        die_holding(path, "deadly")
    hands = opened(path)
    with pytest.raises(MediaError, match="3 times"), hands.holding("deadly"):
        pass
    with hands.holding("harmless"):
        pass
    with pytest.raises(MediaError), opened(path).holding("deadly"):
        pass


def test_a_text_that_goes_well_starts_from_nothing(path: Path) -> None:
    die_holding(path, "a")
    die_holding(path, "a")
    with opened(path).holding("a"):
        pass
    die_holding(path, "a")
    die_holding(path, "a")
    with opened(path).holding("a"):
        pass


def test_an_error_is_no_death(path: Path) -> None:
    for _ in range(5):
        with pytest.raises(RuntimeError), opened(path).holding("a"):
            raise RuntimeError
    with opened(path).holding("a"):
        pass


@pytest.mark.parametrize("content", [b"", b"garbage\nx y\n", b"\xff\xfe", b"0" * 64 + b"\nonly-one-word\n"])
def test_a_note_that_cannot_be_read_counts_for_nothing(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with opened(path).holding("a"):
        pass


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "missing" / "porch.hand").holding("a"):
        pass


def test_what_is_remembered_is_bounded(path: Path) -> None:
    lines = [f"{number:064d} 3" for number in range(500)]
    path.write_text("\n".join(["-" * 64, *lines]) + "\n")
    opened(path)
    assert len(path.read_text().splitlines()) == 65
