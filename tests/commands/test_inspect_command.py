from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.commands.inspect import command
from edge.contract.manifest import decode_manifest
from edge.errors import ModelError
from tests.simulators import model_files


def inspect(*arguments: str | Path) -> str:

    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(model_files.relu([1, 8, 8, 3], kind=model_files.TFLITE_INT8, quantization=(1 / 255, -128)))
    return path


def test_inspect_shows_what_a_model_wants_and_who_said_so(model: Path) -> None:
    shown = inspect(model)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    for words in (
        digest,
        "segment",
        "1x8x8x3 int8",
        "real = (stored + 128) * 0.00392157",
        "resize 8x8",
        "input quantisation (0..1)",
        "assumed: rgb; --color overrules it",
    ):
        assert words in shown


def test_inspect_json_is_one_object_with_a_manifest_to_keep(model: Path) -> None:
    told = json.loads(inspect(model, "--json"))
    assert told["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert told["size_bytes"] == len(model.read_bytes())
    assert told["kind"] == "tflite"
    assert told["inputs"] == [
        {"name": "x", "shape": [1, 8, 8, 3], "dtype": "int8", "scale": pytest.approx(1 / 255), "zero_point": -128}
    ]
    assert {"what": "color", "rule": "rgb; --color overrules it", "assumed": True} in told["rules"]
    assert decode_manifest(json.dumps(told["manifest"]).encode()).name == "tiny"


def test_inspect_takes_the_flags_of_infer(model: Path) -> None:
    told = json.loads(inspect(model, "--json", "--name", "mine", "--color", "bgr"))
    assert told["manifest"]["name"] == "mine"
    assert told["manifest"]["input"]["color"] == "bgr"


def test_inspect_shows_the_first_labels_and_their_count(model: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\nowl\n")
    assert "3: cat | dog | owl" in inspect(model)


def test_inspect_names_the_unit_that_a_manifest_gives(model: Path, tmp_path: Path) -> None:
    told = json.loads(inspect(model, "--json"))
    variant = {
        "file": model.name,
        "engine": "tflite",
        "precision": "int8",
        "sha256": told["sha256"],
        "size_bytes": told["size_bytes"],
    }
    gauge = told["manifest"] | {"output": {"task": "regress", "unit": "bar"}, "labels": [], "variants": [variant]}
    (tmp_path / "manifest.json").write_text(json.dumps(gauge))
    assert "regress, in bar" in inspect(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", model_files.loop_in_itself()], ids=["empty", "text", "killer"])
def test_inspect_of_what_is_no_model_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError) as raised:
        inspect(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        "detection/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite",
        "classification/mobilenet_v2_quant.onnx",
        "text/regex_one_embedding_with_metadata.tflite",
        "hello/hello_world_float.tflite",
    ],
)
def test_inspect_shows_shared_models(shared_data: Path, name: str) -> None:
    shown = inspect(shared_data / "models" / name)
    assert "which rule said so" in shown
    assert "None" not in shown
