"""The daemon as a process: started, reloaded, starved, killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from edge.contract.messages import Event, Result
from tests.simulators.daemon import DaemonProcess
from tests.simulators.mosquitto import free_port

_TOPICS = Path(__file__).resolve().parents[2] / "edge" / "demo" / "models" / "topics"
_DIGITS = _TOPICS.parent / "digits"


def head(port: int | None = None) -> str:
    return f"""
[device]
name = "porch-pi"
data_dir = "data"
[broker]
host = "127.0.0.1"
port = {port or free_port()}
"""


def texts(name: str, path: str, *, model: Path | str = _TOPICS, more: str = "") -> str:
    return f"""
[[pipeline]]
name = "{name}"
model = "{model}"
[pipeline.source]
type = "lines"
path = "{path}"
{more}
"""


def results(bodies: list[object], pipeline: str) -> list[Result]:
    return [body for body in bodies if isinstance(body, Result) and body.pipeline == pipeline]


def events(bodies: list[object], name: str) -> list[Event]:
    return [body for body in bodies if isinstance(body, Event) and body.name == name]


def lines(path: Path, count: int) -> None:
    path.write_text("".join(f"the orchestra played piece number {n}\n" for n in range(count)))


def test_without_a_broker_every_line_becomes_a_committed_result_and_it_ends(tmp_path: Path) -> None:
    lines(tmp_path / "in.txt", 120)
    with DaemonProcess(tmp_path, head() + texts("news", "in.txt"), "--until-done") as daemon:
        assert daemon.wait() == 0, daemon.stderr
    found = results(daemon.bodies(), "news")
    assert len(found) == 120
    assert len({result.input for result in found}) == 120
    assert found[0].model.engine
    assert found[0].frame_age_ms is not None


def test_standard_input_is_read_to_its_end(tmp_path: Path) -> None:
    config = head() + texts("news", "x").replace('type = "lines"\npath = "x"', 'type = "stdin"')
    with DaemonProcess(tmp_path, config, "--until-done", stdin="a film\n这是一个关于人工智能的文章\n") as daemon:
        assert daemon.wait() == 0, daemon.stderr
    found = results(daemon.bodies(), "news")
    assert [result.text for result in found] == ["a film", "这是一个关于人工智能的文章"]


def test_without_until_done_it_stays_when_its_sources_have_ended(tmp_path: Path) -> None:
    lines(tmp_path / "in.txt", 3)
    with DaemonProcess(tmp_path, head() + texts("news", "in.txt")) as daemon:
        daemon.hear(lambda said: "ended" in said and "3 results" in said)
        assert daemon.end() == 0
    assert daemon.told[0] == "READY=1"


def test_after_sigterm_everything_it_had_read_is_committed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    config = head() + texts("news", "fifo", more="follow = true")
    with DaemonProcess(tmp_path, config) as daemon, (tmp_path / "fifo").open("w") as writer:
        writer.writelines(f"film number {n}\n" for n in range(300))
        writer.flush()
        daemon.hear(lambda said: " results" in said and " 0 results" not in said)
        assert daemon.end() == 0, daemon.stderr
    numbers = [int(result.input) for result in results(daemon.bodies(), "news")]
    assert numbers
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_bad_model_stops_only_its_own_pipeline_and_is_reported(tmp_path: Path) -> None:
    lines(tmp_path / "in.txt", 5)
    (tmp_path / "bad.tflite").write_bytes(b"no model at all")
    config = head() + texts("bad", "in.txt", model="bad.tflite") + texts("gone", "in.txt", model="gone.tflite")
    with DaemonProcess(tmp_path, config + texts("good", "in.txt")) as daemon:
        daemon.hear(lambda said: "good ended" in said and "5 results" in said)
        daemon.hear(lambda said: said.count("0 results (") == 2)
        assert daemon.end() == 0, daemon.stderr
    bodies = daemon.bodies()
    assert len(results(bodies, "good")) == 5
    assert {(event.pipeline, event.state) for event in events(bodies, "pipeline")} == {
        ("bad", "down"),
        ("gone", "down"),
    }


def test_a_pipeline_comes_back_by_itself_when_its_model_is_put_right(tmp_path: Path) -> None:
    lines(tmp_path / "in.txt", 5)
    (tmp_path / "model").mkdir()
    with DaemonProcess(tmp_path, head() + texts("news", "in.txt", model="model"), "--until-done") as daemon:
        daemon.hear(lambda said: "0 results (" in said)
        for file in _TOPICS.iterdir():
            (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
        assert daemon.wait() == 0, daemon.stderr
    bodies = daemon.bodies()
    assert len(results(bodies, "news")) == 5
    assert [event.state for event in events(bodies, "pipeline")] == ["down", "up"]


def test_poisoned_lines_cost_themselves_and_are_reported(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"a film\n\xff\xfe\xfd\n" + b"x" * 200_000 + b"\nanother film\n")
    with DaemonProcess(tmp_path, head() + texts("news", "in.txt"), "--until-done") as daemon:
        assert daemon.wait() == 0, daemon.stderr
    bodies = daemon.bodies()
    assert [result.text for result in results(bodies, "news")] == ["a film", "another film"]
    assert [event.state for event in events(bodies, "text")] == ["refused", "refused"]


def test_a_reload_starts_what_is_new_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    lines(tmp_path / "in.txt", 4)
    first = head() + texts("news", "in.txt")
    with DaemonProcess(tmp_path, first) as daemon:
        daemon.hear(lambda said: "news ended" in said and "4 results" in said)
        daemon.path.write_text(first + '\n[[pipeline]]\nname = "news"\nmodle = "x"\n')
        daemon.signal(signal.SIGHUP)
        daemon.hear(lambda said: said.startswith("RELOADING=1"))
        daemon.hear(lambda said: said == "READY=1")
        daemon.path.write_text(first + texts("more", "in.txt"))
        daemon.signal(signal.SIGHUP)
        daemon.hear(lambda said: "more ended" in said and said.count("4 results") == 2)
        assert daemon.end() == 0, daemon.stderr
    bodies = daemon.bodies()
    assert (len(results(bodies, "news")), len(results(bodies, "more"))) == (4, 4)
    refused, reloaded = events(bodies, "config")
    assert refused.state == "refused"
    assert "modle" in refused.detail
    assert (reloaded.state, "more" in reloaded.detail) == ("reloaded", True)


def test_a_reload_restarts_a_pipeline_whose_model_file_was_replaced(tmp_path: Path) -> None:
    lines(tmp_path / "in.txt", 4)
    model = tmp_path / "model"
    model.mkdir()
    for file in _TOPICS.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    config = head() + texts("news", "in.txt", model="model") + texts("other", "in.txt")
    with DaemonProcess(tmp_path, config) as daemon:
        daemon.hear(lambda said: said.count("4 results") == 2)
        (model / "MODEL_CARD.md").write_text("another")
        daemon.signal(signal.SIGHUP)
        # Nine rows before (the epoch's first one and eight results), then the event and four results anew.
        daemon.hear(lambda said: "14 rows wait" in said)
        assert daemon.end() == 0, daemon.stderr
    bodies = daemon.bodies()
    assert (len(results(bodies, "news")), len(results(bodies, "other"))) == (8, 4)


def test_a_config_that_cannot_be_used_ends_it_with_78_and_every_fault(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, '[device]\nname = "a b"\nfleeet = "x"\n') as daemon:
        assert daemon.wait() == 78
    assert "fleeet" in daemon.stderr
    assert "a b" in daemon.stderr


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[device", b"device = 3\n", b'[device]\nname = "a"\n'])
def test_a_file_that_is_no_config_ends_it_with_78_and_no_traceback(tmp_path: Path, content: bytes) -> None:
    with DaemonProcess(tmp_path, "", "--config", str(tmp_path / "other.toml")) as daemon:
        assert daemon.wait() != 0  # there is no such file
    (tmp_path / "other.toml").write_bytes(content)
    second = tmp_path / "second"
    second.mkdir()
    with DaemonProcess(second, "", "--config", str(tmp_path / "other.toml")) as daemon:
        assert daemon.wait() == 78
    assert "other.toml" in daemon.stderr
    assert "Traceback" not in daemon.stderr


def test_a_second_daemon_on_the_same_data_is_refused_in_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    config = head() + texts("news", "fifo", more="follow = true")
    second = tmp_path / "second"
    second.mkdir()
    with DaemonProcess(tmp_path, config) as daemon:
        daemon.hear(lambda said: said == "READY=1")
        with DaemonProcess(second, config.replace('data_dir = "data"', 'data_dir = "../data"')) as other:
            assert other.wait() != 0
        assert "Traceback" not in other.stderr
        assert daemon.end() == 0


def test_the_watchdog_is_fed_while_pipelines_wait_for_their_sources(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with DaemonProcess(tmp_path, head() + texts("news", "fifo", more="follow = true")) as daemon:
        daemon.hear(lambda said: said == "WATCHDOG=1")
        daemon.hear(lambda said: said == "WATCHDOG=1")
        assert daemon.end() == 0
        daemon.hear(lambda said: said == "STOPPING=1")


def test_after_a_kill_the_next_run_still_has_every_committed_result(tmp_path: Path) -> None:
    lines(tmp_path / "in.txt", 50)
    config = head() + texts("news", "in.txt")
    with DaemonProcess(tmp_path, config) as daemon:
        daemon.hear(lambda said: "50 results" in said and "; no broker, 5" in said)
        daemon.signal(signal.SIGKILL)
        assert daemon.wait() == -signal.SIGKILL
    assert len(results(daemon.bodies(), "news")) == 50


@pytest.mark.parametrize("is_gated", [True, False])
def test_pictures_from_a_folder_pass_gate_and_model(tmp_path: Path, is_gated: bool) -> None:
    cv2 = pytest.importorskip("cv2")
    import numpy as np

    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(40):
        cv2.imwrite(str(folder / f"{n:02}.png"), np.full((120, 160, 3), 90, np.uint8))
    config = f"""
[[pipeline]]
name = "belt"
model = "{_DIGITS}"
[pipeline.source]
type = "folder"
path = "pictures"
[pipeline.gate]
preset = "{"normal" if is_gated else "always"}"
"""
    with DaemonProcess(tmp_path, head() + config, "--until-done") as daemon:
        assert daemon.wait() == 0, daemon.stderr
    count = len(results(daemon.bodies(), "belt"))
    assert (0 < count < 40) if is_gated else count == 40
