"""Reading edge.toml: what is taken, and how every mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.device.config import ENVIRONMENT, DeviceConfig, load_config
from edge.device.sources.config import FileConfig, LinesConfig, PipeConfig, PipePreset, StreamConfig, V4l2Config
from edge.dropin.found import Task
from edge.errors import ConfigError

HEAD = """\
[device]
name = "porch-pi"
"""

CAMERA = """\
[[pipeline]]
name = "porch"
model = "model.tflite"
[pipeline.source]
type = "v4l2"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    (tmp_path / "labels.txt").write_text("a\nb\n")
    return tmp_path


def _load(folder: Path, text: str, **environ: str) -> DeviceConfig:
    path = folder / "edge.toml"
    path.write_text(text)
    return load_config(path, environ=environ)


def _problems(folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _load(folder, text, **environ)
    assert caught.value.exit_code == 78
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_a_small_config_is_filled_with_defaults(folder: Path) -> None:
    config = _load(folder, HEAD + CAMERA)
    assert config.device.fleet == "home"
    assert config.device.data_dir == Path("/var/lib/edge")
    assert (config.broker.host, config.broker.port) == ("localhost", 1883)
    assert config.outbox.quota_mb == 512
    (pipeline,) = config.pipelines
    assert pipeline.threads == 1
    assert pipeline.gate.preset == "normal"
    assert pipeline.source == V4l2Config()


def test_relative_paths_are_meant_from_the_folder_of_the_file(folder: Path) -> None:
    (folder / "secret").write_text("x")
    text = (
        '[device]\nname = "a"\ndata_dir = "state"\n[broker]\nusername = "a"\npassword_file = "secret"\n'
        '[[pipeline]]\nname = "p"\nmodel = "model.tflite"\nlabels = "labels.txt"\n'
        'source = {type = "file", path = "clip.mp4"}\n'
    )
    config = _load(folder, text)
    (pipeline,) = config.pipelines
    assert config.device.data_dir == folder / "state"
    assert config.broker.password_file == str(folder / "secret")
    assert pipeline.model == folder / "model.tflite"
    assert pipeline.labels == folder / "labels.txt"
    assert pipeline.source == FileConfig(path=str(folder / "clip.mp4"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('type = "stream"\nurl = "rtsp://cam/1"', StreamConfig(url="rtsp://cam/1")),
        ('type = "pipe"\npreset = "rpicam-vid"', PipeConfig(preset=PipePreset.RPICAM)),
        ('type = "lines"\npath = "/dev/fifo"\nfollow = true', LinesConfig(path="/dev/fifo", follow=True)),
    ],
)
def test_each_source_type_has_its_own_options(folder: Path, source: str, expected: object) -> None:
    config = _load(folder, HEAD + f'[[pipeline]]\nname = "p"\nmodel = "model.tflite"\n[pipeline.source]\n{source}\n')
    assert config.pipelines[0].source == expected


@pytest.mark.parametrize(
    ("repository", "expected"),
    [("mqtt", "mqtt"), ("https://models.example", "https://models.example"), ("usb", "{folder}/usb")],
)
def test_updates_come_over_the_broker_a_web_server_or_a_folder(folder: Path, repository: str, expected: str) -> None:
    (folder / "root.json").write_bytes(b"{}")
    updates = f'[updates]\nroot = "root.json"\nrepository = "{repository}"\n'
    found = _load(folder, HEAD + updates + CAMERA).updates
    assert found is not None
    assert found.root == folder / "root.json"
    assert found.repository == expected.format(folder=folder)


def test_without_a_root_file_there_are_no_updates(folder: Path) -> None:
    assert _load(folder, HEAD + CAMERA).updates is None
    assert "root.json does not exist" in _problems(folder, HEAD + '[updates]\nroot = "root.json"\n' + CAMERA)[0]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file_with_line_and_suggestion(folder: Path) -> None:
    text = """\
[device]
name = "porch pi"
flet = "home"

[broker]
port = "mqtt"
hots = "x"

[[pipeline]]
name = "porch"
model = "models/none.tflite"
threads = 0
[pipeline.source]
type = "v4l"

[[pipeline]]
name = "porch"
model = "model.tflite"
[pipeline.source]
type = "pipe"
preset = "rpicam"
fsp = 30
[pipeline.gate]
preset = "norml"
masks = [[[0.0, 0.1], [2.0, 0.5], [1.0, 1.0]]]
"""
    found = _problems(folder, text)
    starts = [
        ("edge.toml:2: device.name:", "cannot be used"),
        ("edge.toml:3: device.flet:", 'did you mean "fleet"?'),
        ("edge.toml:6: broker.port:", "expected a whole number, found a string"),
        ("edge.toml:7: broker.hots:", 'did you mean "host"?'),
        ("edge.toml:11: pipeline.model:", "does not exist"),
        ("edge.toml:12: pipeline.threads:", ">= 1"),
        ("edge.toml:14: pipeline.source.type:", 'did you mean "v4l2"?'),
        ("edge.toml:17: pipeline.name:", "taken by an earlier pipeline"),
        ("edge.toml:21: pipeline.source.preset:", 'did you mean "rpicam-vid"?'),
        ("edge.toml:22: pipeline.source.fsp:", 'did you mean "fps"?'),
        ("edge.toml:24: pipeline.gate.preset:", 'did you mean "normal"?'),
        ("edge.toml:25: pipeline.gate.masks:", "<= 1.0"),
    ]
    assert len(found) == len(starts), found
    for problem, (start, end) in zip(found, starts, strict=True):
        assert problem.startswith(start), problem
        assert end in problem, problem


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "edge.toml", "device is missing"),
        (HEAD, "edge.toml", "no [[pipeline]]"),
        (HEAD + CAMERA + "[outbox]\nquota_mb = inf\n", "edge.toml:9", "expected a finite number, found inf"),
        (HEAD + CAMERA + "[outbox]\nquota_mb = nan\n", "edge.toml:9", "expected a finite number, found nan"),
        (HEAD + CAMERA + f"[outbox]\nqueue_rows = 1{'0' * 30}\n", "edge.toml:9", "past 64 bits"),
        (HEAD + CAMERA + "[broker]\nhost = 'a\\u0000b'\n".replace("'", '"'), "edge.toml:9", "a NUL character"),
        (HEAD + CAMERA + "[broker]\nconnect_timeout_s = 1e300\n", "edge.toml:9", "at most 3600"),
        (HEAD + CAMERA.replace('"model.tflite"', '""'), "edge.toml:5", "expected a path, found an empty string"),
        ("pipeline = 3\n" + HEAD, "edge.toml:1", "double brackets"),
        (HEAD + "[pipeline]\nname = 'x'\n", "edge.toml:3", "double brackets"),
        (HEAD + "[[pipeline]]\nname = 'x'\nsource = 'v4l2'\nmodel='model.tflite'\n", "edge.toml:5", "expected a table"),
        (HEAD + "[[pipeline]]\nname = 'x'\nmodel='model.tflite'\n", "edge.toml:3", "source is missing"),
        (HEAD + "broker = 3\n" + CAMERA, "edge.toml:3", "unknown key"),
        ("broker = 3\n" + HEAD + CAMERA, "edge.toml:1", "expected a table"),
        (HEAD + "[broker]\nport = 0\n" + CAMERA, "edge.toml:4", "1 to 65535"),
        (HEAD + "[broker]\npassword_file = 'none'\nusername='x'\n" + CAMERA, "edge.toml:4", "does not exist"),
        (HEAD + CAMERA + "max_fps = true\n", "edge.toml:8", "expected a number"),
        (HEAD + CAMERA + "fourcc = 'MJPEG'\n", "edge.toml:8", "4"),
        (HEAD + CAMERA + "[pipeline.gate]\nhold_s = -1\n", "edge.toml:9", ">= 0"),
        (HEAD + "[device]\n" + CAMERA, "edge.toml:3", "not TOML"),
        (HEAD + 'fleet = "home\n' + CAMERA, "edge.toml:3:14", "not TOML"),
        (HEAD + "fleet = [1,\n", "edge.toml", "not TOML"),
    ],
)
def test_one_mistake_is_told_with_its_place(folder: Path, text: str, place: str, message: str) -> None:
    found = _problems(folder, text)
    assert any(problem.startswith(place + ":") and message in problem for problem in found), found


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ('type = "stdin"', 'type = "stdin"', "standard input is taken"),
        ('type = "v4l2"', 'type = "v4l2"\ndevice = "/dev/video0"', "/dev/video0 is taken"),
        ('type = "picamera2"', 'type = "picamera2"', "picamera2 camera 0 is taken"),
    ],
)
def test_two_pipelines_cannot_share_what_only_one_can_have(folder: Path, first: str, second: str, message: str) -> None:
    text = HEAD
    for name, source in (("a", first), ("b", second)):
        text += f'[[pipeline]]\nname = "{name}"\nmodel = "model.tflite"\n[pipeline.source]\n{source}\n'
    (found,) = _problems(folder, text)
    assert message in found


def test_a_gate_on_texts_is_a_mistake(folder: Path) -> None:
    text = HEAD + CAMERA.replace("v4l2", "stdin") + '[pipeline.gate]\npreset = "normal"\n'
    (found,) = _problems(folder, text)
    assert found.startswith("edge.toml:8: pipeline.gate:")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "either preset"),
        ('command = ["cam"]', "pixel_format"),
        ('preset = "ffmpeg"', "needs input"),
        ('preset = "rpicam-vid"\nwidth_px = 650', "multiple of 64"),
        ('preset = "rpicam-vid"\npixel_format = "bgr24"', "remove the key"),
        ('preset = "gst-nvargus"\ninput = "/dev/video0"', "number of a camera"),
        ('command = ["cam"]\npixel_format = "yuv420"\nwidth_px = 101', "even"),
    ],
)
def test_a_pipe_without_a_sensible_command_is_a_mistake(folder: Path, options: str, message: str) -> None:
    (found,) = _problems(folder, HEAD + CAMERA.replace("v4l2", "pipe") + options + "\n")
    assert message in found


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('type = "v4l2"\nfps = 0.1', "expected at least 20, two frames"),
        ('type = "picamera2"\nstall_after_s = 0.1', "two frames"),
        ('type = "stream"\nurl = "192.168.1.20/stream1"', "expected rtsp://, rtsps://, http:// or https://"),
        ('type = "lines"\npath = "x"\nstart = "end"', "nothing would ever be read"),
    ],
)
def test_a_source_that_could_never_work_is_a_mistake(folder: Path, source: str, message: str) -> None:
    (found,) = _problems(folder, HEAD + CAMERA.replace('type = "v4l2"', source))
    assert message in found


def test_the_environment_overrides_the_file(folder: Path) -> None:
    config = _load(
        folder,
        HEAD + CAMERA,
        EDGE_DEVICE_NAME="other",
        EDGE_BROKER_HOST="broker.lan",
        EDGE_BROKER_PORT="8883",
        EDGE_BROKER_TLS="true",
        EDGE_DATA_DIR="/data",
    )
    assert (config.device.name, config.device.data_dir) == ("other", Path("/data"))
    assert (config.broker.host, config.broker.port, config.broker.tls) == ("broker.lan", 8883, True)


def test_a_mistake_in_the_environment_names_the_variable(folder: Path) -> None:
    (found,) = _problems(folder, HEAD + CAMERA, EDGE_BROKER_PORT="mqtt")
    assert found.startswith("environment variable EDGE_BROKER_PORT: broker.port: expected a whole number")


def test_the_environment_can_give_what_the_file_lacks(folder: Path) -> None:
    assert _load(folder, CAMERA, EDGE_DEVICE_NAME="x").device.name == "x"


def test_every_documented_variable_names_a_key_that_exists(folder: Path) -> None:
    config = _load(folder, HEAD + CAMERA)
    for section, key in ENVIRONMENT.values():
        assert hasattr(getattr(config, section), key)


def test_what_a_bare_model_file_does_not_say_can_be_said_here(folder: Path) -> None:
    text = HEAD + CAMERA.replace("[pipeline.source]", 'labels = "labels.txt"\n[pipeline.source]')
    text += '[pipeline.hints]\ntask = "classify"\nmean = [127.5]\nthreshold = 0.4\nvocabulary = "labels.txt"\n'
    found = _load(folder, text).pipelines[0].overrides()
    assert (found.task, found.mean, found.threshold) == (Task.CLASSIFY, (127.5,), 0.4)
    assert (found.labels, found.vocabulary) == (folder / "labels.txt", folder / "labels.txt")


def test_hints_are_as_strict_as_the_rest(folder: Path) -> None:
    text = HEAD + CAMERA + '[pipeline.hints]\ntask = "clasify"\nvocabulary = "none.txt"\n'
    found = _problems(folder, text)
    assert [problem.split(": ")[1] for problem in found] == ["pipeline.hints.task", "pipeline.hints.vocabulary"]
    assert 'did you mean "classify"?' in found[0]


def test_a_missing_model_can_be_left_to_its_pipeline(folder: Path) -> None:
    path = folder / "edge.toml"
    path.write_text(HEAD + CAMERA.replace("model.tflite", "gone.tflite"))
    assert load_config(path, environ={}, is_checking_files=False).pipelines[0].model == folder / "gone.tflite"


def test_a_file_that_is_not_there_is_told_with_what_to_try(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="edge init"):
        load_config(tmp_path / "edge.toml", environ={})


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        load_config(tmp_path, environ={})


def test_a_file_that_is_not_utf8_is_told_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_bytes(HEAD.encode() + b"# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"edge\.toml:3: not UTF-8"):
        load_config(path, environ={})


def test_a_byte_order_mark_is_no_mistake(folder: Path) -> None:
    path = folder / "edge.toml"
    path.write_text(HEAD + CAMERA, encoding="utf-8-sig")
    assert load_config(path, environ={}).device.name == "porch-pi"
