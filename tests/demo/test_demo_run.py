"""The whole demo, shortened: nothing is lost although the broker and the daemon are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge.clock import SystemClock

_EDGE = (sys.executable, "-c", "from edge.cli import main; main()")
_KEYS = {
    "produced", "received", "lost", "doubled", "frames", "gated",
    "digits_shown", "digits_right", "texts", "texts_right", "seconds",
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def _demo(folder: Path, *more: str) -> tuple[str, ...]:
    return (*_EDGE, "demo", "--headless", "--dir", str(folder), *more)


def _alive(folder: Path) -> list[str]:
    """Processes that have to do with `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(folder) in command:
                found.append(command)
    return found


@pytest.mark.parametrize("broker", ["mosquitto", "amqtt"])
def test_nothing_is_lost_or_doubled_when_broker_and_daemon_are_killed(
    broker: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if broker == "mosquitto":
        request.getfixturevalue("mosquitto")
    folder = tmp_path / "demo"
    done = subprocess.run(
        _demo(folder, "--json", "--broker", broker, "--seconds", "16"),
        capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert len(done.stdout.splitlines()) == 1
    assert set(figures) >= _KEYS
    assert figures["lost"] == 0
    assert figures["doubled"] == 0
    assert figures["produced"] == figures["received"] > 80
    assert figures["digits_shown"] >= 4
    assert 0 < figures["gated"] < figures["frames"]
    assert (folder / "labels.png").stat().st_size > 1000
    assert "SIGKILL" in done.stderr
    assert not _alive(folder)


@pytest.mark.timeout(300)
def test_a_better_model_comes_while_the_demo_runs_and_nothing_that_is_bad_stays(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        _demo(folder, "--update", "--json", "--seconds", "12"),
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    update = figures["update"]
    assert figures["lost"] == figures["doubled"] == 0
    assert update["ends_with"] == update["target"] == "models/digits/1.json"
    before, after = (update[when]["right"] / update[when]["shown"] for when in ("before", "after"))
    assert before < 0.7
    assert after >= 0.8
    reasons = [each["why"] for each in update["refused"]]
    for why, expected in zip(
        reasons,
        ("off by", "did not end within", "kills its process", "ms an inference", "came twice", "hash"),
        strict=True,
    ):
        assert expected in why
    assert [bool(each["results"]) for each in update["refused"]] == [False, False, False, True, False, False]
    answers = [answer for _, answer in update["attacks"]]
    for answer, expected in zip(answers, ("signature", "was accepted before", "must be >="), strict=True):
        assert expected in answer
    story = ("release 1:", "release 2 goes out", "  refused: ", "the rollout halted by itself; release 1 runs on",
             "  rolled back: ", "somebody with the broker's password", "every result is at the centre, once")  # fmt: skip
    places = [done.stderr.find(line) for line in story]
    assert -1 not in places
    assert places == sorted(places)
    assert not _alive(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_end_every_part(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo = subprocess.Popen(_demo(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "the belt runs" in line:
            break
    assert len(_alive(folder)) >= 3
    demo.send_signal(number)
    rest = demo.stdout.read()
    assert demo.wait(60) != 0, rest
    assert not _alive(folder)
    demo.stdout.close()


def test_a_part_that_dies_ends_the_demo_with_its_last_words(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo = subprocess.Popen(_demo(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "the belt runs" in line:
            break
    log = folder / "logs" / "central.log"
    while "ready" not in log.read_text():
        SystemClock().wait(threading.Event(), 0.02)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"central" in command and str(folder / "central.toml").encode() in command:
                os.kill(int(entry.name), signal.SIGKILL)
    rest = demo.stdout.read()
    demo.stdout.close()
    assert demo.wait(60) == 1
    assert "central ended with code -9" in rest
    assert "central: ready" in rest
    assert not _alive(folder)


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("do not touch")
    done = subprocess.run(_demo(tmp_path), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
