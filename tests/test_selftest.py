"""A bundle's golden samples, replayed: what passes, what fails and why, what is refused before anything runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge.contract.manifest import decode_manifest, encode_manifest
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import InputError, ManifestError, MissingExtraError, ModelError
from edge.golden import Golden, encode_golden
from edge.selftest import CheckStatus, VariantCheck, selftest
from tests.simulators import model_files
from tests.simulators.bundles import RELU, SAMPLES, write_bundle

BOTH = {"larger.tflite": tiny_tflite(), "larger.onnx": tiny_onnx()}
ONE = {"larger.tflite": tiny_tflite()}
OFF = Golden(inputs=(SAMPLES,), outputs=(RELU.outputs[0] + np.array([[[0.0]], [[0.25]], [[0.5]]], np.float32),))


def only(checks: tuple[VariantCheck, ...]) -> VariantCheck:
    (check,) = checks
    return check


def absent(folder: Path, monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if they were not installed, in the children of this process."""
    for package in packages:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(f"raise ModuleNotFoundError('absent', name={package!r})")
    monkeypatch.syspath_prepend(folder)


def test_every_variant_is_run_and_measured(tmp_path: Path) -> None:
    checks = selftest(write_bundle(tmp_path, BOTH))
    assert [(check.file, check.engine, check.status) for check in checks] == [
        ("larger.tflite", "tflite", CheckStatus.PASSED),
        ("larger.onnx", "onnx", CheckStatus.PASSED),
    ]
    for check in checks:
        assert check.reason == ""
        assert check.samples == 3
        assert check.first_failing is None
        assert check.runtime.split(" ")[0] in {"ai-edge-litert", "tflite-runtime", "onnxruntime"}
        assert 0 < check.p50_ms < 1000
        assert [(output.name, output.difference, output.tolerance) for output in check.outputs] == [("y", 0.0, 0.001)]


def test_an_integer_variant_is_compared_in_real_numbers(tmp_path: Path) -> None:
    model = model_files.relu([1, 4], kind=model_files.TFLITE_INT8, quantization=(0.3, -10))
    check = only(selftest(write_bundle(tmp_path, {"larger.int8.tflite": model}, tolerance=[0.16])))
    assert check.status is CheckStatus.PASSED
    assert 0.05 < check.outputs[0].difference <= 0.16, "half a step"


def test_a_variant_that_says_something_else_fails_with_its_first_sample(tmp_path: Path) -> None:
    check = only(selftest(write_bundle(tmp_path, ONE, golden=OFF, tolerance=[0.2])))
    assert check.status is CheckStatus.FAILED
    assert check.reason == "output 'y' is off by 0.5, allowed 0.2, first in sample 1"
    assert check.first_failing == 1
    assert (check.outputs[0].difference, check.outputs[0].is_within) == (0.5, False)


def test_the_tolerance_itself_is_within(tmp_path: Path) -> None:
    assert only(selftest(write_bundle(tmp_path, ONE, golden=OFF, tolerance=[0.5]))).status is CheckStatus.PASSED


def test_an_answer_that_is_no_number_never_passes(tmp_path: Path) -> None:
    model = model_files.onnx_identity([1, 4], operation="Sqrt")
    one_negative = np.abs(SAMPLES) * np.array([[[1]], [[-1]], [[1]]], np.float32)
    roots = Golden(inputs=(one_negative,), outputs=(SAMPLES,))
    check = only(selftest(write_bundle(tmp_path, {"root.onnx": model}, golden=roots, tolerance=[1e300])))
    assert check.status is CheckStatus.FAILED
    assert check.reason == "output 'y' is no number, first in sample 1"
    assert json.loads(msgspec.json.encode(check))["outputs"][0]["difference"] is None


def test_integers_may_differ_in_a_share_of_the_answers(tmp_path: Path) -> None:
    model = model_files.onnx_identity([1, 2], kind=model_files.INT64, operation="Identity")
    given = np.array([[[1, 2]], [[3, 4]]], np.int64)
    golden = Golden(inputs=(given,), outputs=(given + np.array([[[0, 0]], [[0, 1]]]),))
    folder = write_bundle(tmp_path, {"ids.onnx": model}, golden=golden, tolerance=[0.25])
    assert only(selftest(folder)).status is CheckStatus.PASSED
    folder = write_bundle(tmp_path, {"ids.onnx": model}, golden=golden, tolerance=[0.2])
    check = only(selftest(folder))
    assert check.reason == "output 'y': 25.0% of the answers differ, allowed 20.0%, first in sample 1"


def test_each_output_has_its_own_tolerance(tmp_path: Path) -> None:
    value = model_files.onnx_value
    graph = model_files.onnx_graph(
        [model_files.onnx_node("Relu", ["x"], ["first"]), model_files.onnx_node("Neg", ["x"], ["second"])],
        [value("x", model_files.FLOAT32, [1, 4])],
        [value(name, model_files.FLOAT32, [1, 4]) for name in ("first", "second")],
    )
    golden = Golden(inputs=(SAMPLES,), outputs=(RELU.outputs[0], 0.5 - SAMPLES))
    models = {"two.onnx": model_files.onnx_model(graph)}
    assert only(selftest(write_bundle(tmp_path, models, golden=golden, tolerance=[0, 0.6]))).status.value == "passed"
    check = only(selftest(write_bundle(tmp_path, models, golden=golden, tolerance=[0.6, 0])))
    assert [output.is_within for output in check.outputs] == [True, False]
    assert check.reason.startswith("output 'second' is off by 0.5, allowed 0")
    check = only(selftest(write_bundle(tmp_path, models, golden=golden, tolerance=[0.6])))
    assert check.reason == "the manifest has 1 tolerances for 2 outputs"


def test_a_variant_without_a_tolerance_proves_nothing(tmp_path: Path) -> None:
    checks = selftest(write_bundle(tmp_path, BOTH, golden=OFF, tolerance={"larger.onnx": [0.5]}))
    assert [check.status.value for check in checks] == ["skipped", "passed"]
    assert checks[0].reason == "the manifest has no tolerance for it, so its answers prove nothing"
    assert checks[0].outputs[0].difference == 0.5
    with pytest.raises(InputError, match=r"nothing was compared: larger\.tflite: the manifest has no tolerance"):
        selftest(write_bundle(tmp_path, ONE, golden=OFF, tolerance=()))


def test_one_model_of_a_bundle_is_run_alone(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, BOTH)
    assert only(selftest(folder / "larger.onnx")).file == "larger.onnx"
    assert only(selftest(folder, variant="larger.onnx")).file == "larger.onnx"


def test_a_variant_that_is_not_listed_is_named_with_the_nearest(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, BOTH)
    with pytest.raises(InputError, match=r"has no variant large\.onnx; did you mean larger\.onnx\?"):
        selftest(folder, variant="large.onnx")
    with pytest.raises(InputError, match="name the bundle's folder to choose a variant"):
        selftest(folder / "larger.onnx", variant="larger.tflite")


def test_a_variant_whose_engine_is_not_here_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bundle(tmp_path / "bundle", BOTH)
    absent(tmp_path / "stubs", monkeypatch, "onnxruntime")
    checks = selftest(folder)
    assert [check.status.value for check in checks] == ["passed", "skipped"]
    assert checks[1].reason == str(MissingExtraError("ONNX Runtime", "onnx"))


def test_without_any_engine_the_message_adds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bundle(tmp_path / "bundle", BOTH)
    absent(tmp_path / "stubs", monkeypatch, "onnxruntime", "ai_edge_litert", "tflite_runtime")
    with pytest.raises(MissingExtraError, match=r"\[litert\]"):
        selftest(folder)


def test_a_variant_that_kills_its_process_fails_and_the_next_one_runs(tmp_path: Path) -> None:
    models = {"killer.tflite": model_files.loop_in_itself(), "larger.onnx": tiny_onnx()}
    checks = selftest(write_bundle(tmp_path, models))
    assert [check.status.value for check in checks] == ["failed", "passed"]
    assert checks[0].reason.startswith("killer.tflite kills its process (SIG")


def test_a_variant_that_never_answers_fails(tmp_path: Path) -> None:
    check = only(selftest(write_bundle(tmp_path, {"endless.onnx": model_files.endless_onnx()}), timeout_s=1.5))
    assert check.status is CheckStatus.FAILED
    assert check.reason == "endless.onnx did not end within 1.5 s"


def test_a_variant_that_its_engine_refuses_fails(tmp_path: Path) -> None:
    broken = model_files.onnx_identity([1, 4], operation="NoSuchThing")
    check = only(selftest(write_bundle(tmp_path, {"broken.onnx": broken})))
    assert check.status is CheckStatus.FAILED
    assert "refuses the model" in check.reason


def test_golden_samples_of_another_model_are_one_sentence(tmp_path: Path) -> None:
    other = Golden(inputs=(np.zeros((2, 1, 5), np.float32),), outputs=(np.zeros((2, 1, 5), np.float32),))
    check = only(selftest(write_bundle(tmp_path, ONE, golden=other)))
    assert (check.status, check.reason) == (CheckStatus.FAILED, "model wants 1x4 float32, got 1x5 float32")
    other = Golden(inputs=(SAMPLES, SAMPLES), outputs=(SAMPLES,))
    check = only(selftest(write_bundle(tmp_path, ONE, golden=other)))
    assert check.reason == "the model has 1 inputs (x) and the samples have 2"
    other = Golden(inputs=(SAMPLES,), outputs=(SAMPLES[:, 0],))
    check = only(selftest(write_bundle(tmp_path, ONE, golden=other)))
    assert check.reason == "expected answers of shape 4 a sample, got 1x4"
    other = Golden(inputs=(SAMPLES,), outputs=(SAMPLES, SAMPLES))
    check = only(selftest(write_bundle(tmp_path, ONE, golden=other)))
    assert check.reason == "the model has 1 outputs and the golden samples have 2"


def test_a_tampered_variant_is_refused_before_anything_runs(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, BOTH)
    (folder / "larger.onnx").write_bytes(tiny_onnx(opset=14))
    with pytest.raises(ModelError, match=r"larger\.onnx is not the file that its manifest\.json describes"):
        selftest(folder)


@pytest.mark.parametrize("role", ["labels", "vocabulary", "golden", "card", "validation"])
def test_another_file_that_was_tampered_with_is_refused(tmp_path: Path, role: str) -> None:
    name = "golden.npz" if role == "golden" else "other.txt"
    others = {} if role == "golden" else {name: (role, b"as it was")}
    folder = write_bundle(tmp_path, ONE, others=others)
    (folder / name).write_bytes(b"as it is now")
    with pytest.raises(ManifestError, match=rf"{name} is not the file that its manifest\.json describes: 12 bytes"):
        selftest(folder)


def test_what_a_device_does_without_may_be_missing(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, BOTH, others={"card.md": ("card", b"about"), "report.html": ("validation", b"<p>")})
    for name in ("card.md", "report.html", "larger.onnx"):
        (folder / name).unlink()
    checks = selftest(folder)
    assert [(check.status.value, check.reason) for check in checks] == [
        ("passed", ""),
        ("skipped", "the file is not here"),
    ]


def test_what_a_device_needs_may_not_be_missing(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, ONE, others={"labels.txt": ("labels", b"cat\n")})
    (folder / "labels.txt").unlink()
    with pytest.raises(ManifestError, match=r"names the labels labels\.txt: No such file or directory"):
        selftest(folder)
    (folder / "larger.tflite").unlink()
    with pytest.raises(ModelError, match=r"has none of the variants that its manifest\.json lists"):
        selftest(folder)


def test_a_golden_file_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, ONE)
    (folder / "golden.npz").unlink()
    with pytest.raises(ManifestError, match=r"names the golden golden\.npz: No such file or directory"):
        selftest(folder)


def test_a_manifest_without_golden_samples_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"lists no golden samples, so there is nothing to compare .* edge convert"):
        selftest(write_bundle(tmp_path, ONE, golden=None))


@pytest.mark.parametrize("content", [b"", b"hello", encode_golden(RELU)[:200]], ids=["empty", "text", "cut"])
def test_a_golden_file_that_is_none_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ManifestError, match=r"^/.*golden\.npz: these are no golden samples") as raised:
        selftest(write_bundle(tmp_path, ONE, golden=content))
    assert "\n" not in str(raised.value)


def test_a_golden_file_that_is_huge_is_not_read(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, ONE)
    os.truncate(folder / "golden.npz", 1 << 40)  # sparse
    with pytest.raises(ManifestError, match=r"names the golden golden\.npz: above the limit of"):
        selftest(folder)


def test_a_bare_model_says_that_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    (tmp_path / "alone.tflite").write_bytes(tiny_tflite())
    with pytest.raises(InputError, match="there is nothing to compare its answers with; make a bundle") as raised:
        selftest(tmp_path / "alone.tflite")
    assert raised.value.exit_code == 65
    write_bundle(tmp_path, {"other.tflite": tiny_tflite()})
    with pytest.raises(InputError, match=r"comes without a manifest\.json that lists it"):
        selftest(tmp_path / "alone.tflite")


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "the model file is empty"), (b"\x89PNG\r\n", "a PNG picture"), (tiny_onnx()[:40], "cut short")],
    ids=["empty", "picture", "cut"],
)
def test_what_is_no_model_is_one_sentence(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ModelError, match=why):
        selftest(tmp_path / "file")


def test_a_folder_that_is_no_bundle_and_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is a folder without a manifest\.json"):
        selftest(tmp_path)
    with pytest.raises(ModelError, match="No such file or directory"):
        selftest(tmp_path / "nowhere")


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", ONE)
    (tmp_path / "outside.npz").write_bytes((folder / "golden.npz").read_bytes())
    manifest = decode_manifest((folder / "manifest.json").read_bytes())
    out = msgspec.structs.replace(manifest.files[0], file="../outside.npz")
    changed = msgspec.structs.replace(manifest, files=(out,))
    (folder / "manifest.json").write_bytes(encode_manifest(changed))
    with pytest.raises(ManifestError, match="lies outside its folder"):
        selftest(folder)


def test_it_runs_where_converters_opencv_and_the_rest_are_absent(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", ONE)
    blocked = {"converters", "cv2", "PIL", "tokenizers", "paho", "sqlalchemy", "onnxruntime"}
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r} or name.startswith(("edge.central", "edge.demo", "edge.device")):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
sys.argv = ["edge", "selftest", {str(folder)!r}]
from edge.cli import main
main()
"""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout
