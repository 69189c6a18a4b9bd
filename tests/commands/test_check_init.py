"""`edge init` and `edge check`: from nothing to a config that was tried."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from click.testing import CliRunner, Result

from edge.commands import check, init
from edge.commands.init import starter_text
from edge.contract.ids import check_name
from edge.device.config import DeviceConfig, load_config
from edge.device.sources.config import V4l2Config
from edge.errors import InputError
from tests.simulators.cameras import red_card, write_clip
from tests.simulators.mosquitto import Mosquitto, free_port

STARTER = starter_text("porch-pi")
DETECTOR = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
SWITCHED_OFF = re.compile(r"#([a-z_]+ = .*)")


def _invoke(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def _load(folder: Path, text: str) -> DeviceConfig:
    (folder / "models").mkdir(exist_ok=True)
    for name in ("model.tflite", "labels.txt", "text.tflite"):
        (folder / "models" / name).touch()
    path = folder / "edge.toml"
    path.write_text(text)
    return load_config(path, environ={})


def test_the_starter_config_loads_as_it_is(tmp_path: Path) -> None:
    assert _invoke(init.command, tmp_path).exit_code == 0
    config = _load(tmp_path, (tmp_path / "edge.toml").read_text())
    assert config.pipelines[0].source == V4l2Config()
    assert config.device.data_dir == tmp_path / "data"


def test_what_the_starter_shows_is_the_default(tmp_path: Path) -> None:
    shown = _load(tmp_path, STARTER)
    bare = (
        '[device]\nname = "porch-pi"\ndata_dir = "data"\n[[pipeline]]\nname = "camera"\nmodel = "models/model.tflite"\n'
    )
    assert shown == _load(tmp_path, bare + 'source = {type = "v4l2"}\n')


def _switched_off() -> list[tuple[int, str]]:
    """Single settings that are switched off: line, and the setting. Other sources are taken as a group below."""
    found = []
    lines = STARTER.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("# Texts:"):
            break
        match = SWITCHED_OFF.match(line)
        is_grouped = any(start.startswith("#type = ") for start in _group(lines, number))
        if match and not is_grouped and not any(start.startswith("#[") for start in _group(lines, number)):
            found.append((number, match.group(1)))
    return found


def _group(lines: list[str], number: int) -> list[str]:
    """The paragraph around a line."""
    first = number
    while first and lines[first - 1].strip():
        first -= 1
    last = number
    while last < len(lines) and lines[last].strip():
        last += 1
    return lines[first:last]


@pytest.mark.parametrize(("number", "setting"), _switched_off(), ids=lambda value: str(value).split(" ")[0])
def test_each_setting_that_is_switched_off_can_be_switched_on(tmp_path: Path, number: int, setting: str) -> None:
    lines = STARTER.splitlines()
    lines[number] = setting
    _load(tmp_path, "\n".join(lines))


def test_there_are_settings_that_are_switched_off() -> None:
    assert len(_switched_off()) >= 8


def _sources() -> list[str]:
    paragraphs = re.split(r"\n\s*\n", STARTER)
    return [
        "\n".join(match.group(1) for line in paragraph.splitlines() if (match := SWITCHED_OFF.match(line)))
        for paragraph in paragraphs
        if "\n#type = " in paragraph and "#[[" not in paragraph
    ]


@pytest.mark.parametrize("source", _sources(), ids=lambda source: source.splitlines()[0])
def test_each_other_source_can_take_the_place_of_the_first(tmp_path: Path, source: str) -> None:
    begin, end = STARTER.index("[pipeline.source]"), STARTER.index("[pipeline.gate]")
    config = _load(tmp_path, STARTER[:begin] + "[pipeline.source]\n" + source + "\n\n" + STARTER[end:])
    assert not isinstance(config.pipelines[0].source, V4l2Config)


def test_there_is_a_paragraph_for_each_other_kind_of_camera() -> None:
    assert len(_sources()) == 7


def test_the_text_pipeline_and_the_hints_can_be_switched_on(tmp_path: Path) -> None:
    head, tail = STARTER.split("#[pipeline.hints]")
    text = head + "\n".join(
        line[1:] if re.match(r"#[a-z\[]", line) else line for line in ("#[pipeline.hints]" + tail).splitlines()
    )
    config = _load(tmp_path, text)
    assert [pipeline.name for pipeline in config.pipelines] == ["camera", "texts"]
    assert config.pipelines[0].hints.threshold == 0.5


@pytest.mark.parametrize("name", ["pi 4 (porch)", "-x-", "all", "", "pi.local", "\u4e09", "x" * 80])
def test_whatever_the_machine_is_called_the_device_gets_a_name_that_topics_take(name: str) -> None:
    found = re.search(r'^name = "(.*)"$', starter_text(name), re.MULTILINE)
    assert found is not None
    check_name("device name", found.group(1))


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert _invoke(init.command, tmp_path / "a" / "b").exit_code == 0
    assert (tmp_path / "a" / "b" / "edge.toml").is_file()


def test_a_toml_name_is_taken_as_the_file(tmp_path: Path) -> None:
    assert "site.toml written" in _invoke(init.command, tmp_path / "site.toml").output
    assert (tmp_path / "site.toml").is_file()


def test_a_file_that_exists_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text("mine")
    result = _invoke(init.command, path)
    assert isinstance(result.exception, InputError)
    assert "--force" in str(result.exception)
    assert path.read_text() == "mine"


def test_force_keeps_the_old_file_beside_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text("mine")
    assert _invoke(init.command, path, "--force").exit_code == 0
    assert (tmp_path / "edge.toml.old").read_text() == "mine"
    assert path.read_text().startswith("# edge.toml")


# --- check


def _config(folder: Path, *, model: str = "none.tflite", source: str, port: int, more: str = "") -> Path:
    path = folder / "edge.toml"
    path.write_text(
        f'[device]\nname = "porch-pi"\ndata_dir = "data"\n[broker]\nhost = "127.0.0.1"\nport = {port}\n'
        f"connect_timeout_s = 1.0\n[outbox]\nquota_mb = 1\n{more}"
        f'[[pipeline]]\nname = "porch"\nmodel = "{model}"\n[pipeline.source]\n{source}\n'
    )
    return path


def _findings(path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    result = _invoke(check.command, "--config", path, "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(set(line) == {"what", "ok", "found", "advice"} for line in lines)
    return result.exit_code, {line["what"]: line for line in lines}


def test_a_config_with_mistakes_is_told_line_by_line_and_exits_78(tmp_path: Path) -> None:
    path = _config(tmp_path, source='type = "v4l"', port=0)
    result = _invoke(check.command, "--config", path)
    assert result.exit_code == 78
    assert len(result.output.splitlines()) == 2
    assert all(line.startswith("problem  config: ") for line in result.output.splitlines())


def test_a_config_that_is_missing_exits_78(tmp_path: Path) -> None:
    result = _invoke(check.command, "--config", tmp_path / "edge.toml")
    assert result.exit_code == 78
    assert "edge init" in result.output


def test_everything_is_tried_even_where_nothing_works(tmp_path: Path) -> None:
    path = _config(tmp_path, source='type = "file"\npath = "none.mp4"', port=free_port())
    code, found = _findings(path)
    assert code == 1
    assert list(found) == ["config", "disk", "porch: model", "porch: source", "broker"]
    assert [found[what]["ok"] for what in found] == [True, True, False, False, False]
    assert "none.tflite" in found["porch: model"]["found"]
    assert "none.mp4" in found["porch: source"]["found"]
    assert "loses nothing" in found["broker"]["advice"]
    assert not (tmp_path / "data").exists()


@pytest.mark.needs_data
@pytest.mark.needs_mosquitto
def test_a_config_that_works_is_all_ok_and_exits_0(tmp_path: Path, shared_data: Path, mosquitto: str) -> None:
    shutil.copytree(shared_data / "models" / "detection", tmp_path / "model")
    write_clip(tmp_path / "clip.avi", [red_card()] * 40, fps=50)
    with Mosquitto(mosquitto) as broker:
        path = _config(tmp_path, model=f"model/{DETECTOR}", source='type = "file"\npath = "clip.avi"', port=broker.port)
        code, found = _findings(path)
        people = _invoke(check.command, "--config", path)
    assert all(finding["ok"] for finding in found.values()), found
    assert code == 0
    assert re.search(r"file: 64x48 at [0-9.]+ frames a second", found["porch: source"]["found"])
    assert "detect" in found["porch: model"]["found"]
    assert people.exit_code == 0
    assert people.output.count("ok ") == 5


@pytest.mark.needs_data
def test_a_model_for_pictures_on_a_source_of_texts_is_a_problem(tmp_path: Path, shared_data: Path) -> None:
    shutil.copytree(shared_data / "models" / "detection", tmp_path / "model")
    (tmp_path / "texts").write_text("hello\n")
    path = _config(tmp_path, model=f"model/{DETECTOR}", source='type = "lines"\npath = "texts"', port=free_port())
    _, found = _findings(path)
    assert not found["porch: model"]["ok"]
    assert "wants image, the source gives text" in found["porch: model"]["found"]
    assert found["porch: source"]["ok"]


@pytest.mark.parametrize("content", [b"", b"not a model", b"TFL3" * 100])
def test_a_file_that_is_no_model_is_one_problem(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.tflite").write_bytes(content)
    path = _config(tmp_path, model="bad.tflite", source='type = "mqtt"', port=free_port())
    code, found = _findings(path)
    assert code == 1
    assert "bad.tflite" in found["porch: model"]["found"]
    assert "\n" not in found["porch: model"]["found"]


@pytest.mark.parametrize(
    ("source", "is_ok", "text"),
    [
        ('type = "stdin"', True, "not read"),
        ('type = "mqtt"', True, "MQTT"),
        ('type = "lines"\npath = "none"', False, "no such file"),
        ('type = "lines"\npath = "fifo"', True, "FIFO"),
        ('type = "folder"\npath = "pictures"', True, "folder: 64x48"),
        ('type = "folder"\npath = "broken"', False, "not one picture"),
        ('type = "v4l2"\ndevice = "/dev/video63"', False, "plugged in"),
        ('type = "pipe"\ncommand = ["no-such-tool"]\npixel_format = "bgr24"', False, "no-such-tool"),
    ],
)
def test_each_kind_of_source_is_tried(tmp_path: Path, source: str, is_ok: bool, text: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("pictures", "broken"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "a.png"), red_card())
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    _, found = _findings(_config(tmp_path, source=source, port=free_port()))
    assert found["porch: source"]["ok"] is is_ok
    assert text in found["porch: source"]["found"]


@pytest.mark.needs_mosquitto
def test_a_broker_that_refuses_the_password_is_a_problem(tmp_path: Path, mosquitto: str) -> None:
    with Mosquitto(mosquitto, options=("allow_anonymous false",)) as broker:
        code, found = _findings(_config(tmp_path, source='type = "mqtt"', port=broker.port))
    assert code == 1
    assert not found["broker"]["ok"]
    assert "refused" in found["broker"]["found"] or "authori" in found["broker"]["found"]


def test_a_broker_that_accepts_and_stays_silent_is_a_problem(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        _, found = _findings(_config(tmp_path, source='type = "mqtt"', port=silent.getsockname()[1]))
    assert not found["broker"]["ok"]


def test_a_disk_smaller_than_the_outbox_is_a_problem(tmp_path: Path) -> None:
    path = _config(tmp_path, source='type = "mqtt"', port=free_port())
    path.write_text(path.read_text().replace("quota_mb = 1\n", "quota_mb = 1e12\n"))
    _, found = _findings(path)
    assert not found["disk"]["ok"]
    assert "quota_mb" in found["disk"]["advice"]


def test_a_data_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    path = _config(tmp_path, source='type = "mqtt"', port=free_port())
    path.write_text(path.read_text().replace('"data"', '"/proc/edge"'))
    _, found = _findings(path)
    assert not found["disk"]["ok"]
    assert "data_dir" in found["disk"]["advice"]


def test_json_on_stdout_is_all_there_is(tmp_path: Path) -> None:
    path = _config(tmp_path, source='type = "mqtt"', port=free_port())
    done = subprocess.run(
        [sys.executable, "-c", "from edge.cli import main; main()", "check", "--config", str(path), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert [json.loads(line)["what"] for line in done.stdout.splitlines()] == [
        *("config", "disk", "porch: model", "porch: source", "broker")
    ]
