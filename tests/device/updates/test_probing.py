"""Golden samples before a release may run, and the choice among its variants."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.contract.manifest import Variant, decode_manifest
from edge.device.updates.choice import Choice, Measured, decode_choice, encode_choice, to_fetch
from edge.device.updates.probing import Limits, choose, probe
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import ModelError, ProtocolError
from edge.golden import Golden
from tests.simulators import model_files
from tests.simulators.bundles import RELU, SAMPLES, write_bundle

OFF = Golden(inputs=(SAMPLES,), outputs=(RELU.outputs[0] + 1,))


def variants(folder: Path) -> tuple[Variant, ...]:
    return decode_manifest((folder / "manifest.json").read_bytes()).variants


def test_all_variants_that_fit_are_measured_and_the_answer_is_kept(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, {"larger.tflite": tiny_tflite(), "larger.onnx": tiny_onnx()})
    choice = probe(folder, variants(folder), variants(folder), Limits(threads=2))
    assert [each.problem for each in choice.measured] == ["", ""]
    assert all(each.p50_ms and each.open_ms and each.memory_mb is not None for each in choice.measured)
    fastest = min(choice.measured, key=lambda each: each.p50_ms or 0)
    assert (choice.file, choice.threads) == (fastest.file, 2)
    assert choice.offered == (("tflite", "float32"), ("onnx", "float32"))
    assert decode_choice(encode_choice(choice)) == choice
    with pytest.raises(ProtocolError):
        decode_choice(b"{}")


def test_a_release_whose_answers_are_wrong_is_refused_with_the_figures(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, {"larger.tflite": tiny_tflite()}, golden=OFF)
    with pytest.raises(ModelError, match=r"larger\.tflite: output 'y' is off by 1, allowed 0\.001"):
        probe(folder, variants(folder), variants(folder), Limits())


def test_a_release_without_tolerances_proves_nothing_and_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, {"larger.tflite": tiny_tflite()}, tolerance=())
    with pytest.raises(ModelError, match="no tolerance"):
        probe(folder, variants(folder), variants(folder), Limits())


def test_a_model_that_kills_its_process_kills_a_child_and_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, {"killer.tflite": model_files.loop_in_itself()})
    with pytest.raises(ModelError, match=r"killer\.tflite"):
        probe(folder, variants(folder), variants(folder), Limits(time_s=30))


def test_a_good_variant_stands_in_for_a_bad_one_and_what_was_wrong_is_kept(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, {"killer.tflite": model_files.loop_in_itself(), "larger.onnx": tiny_onnx()})
    choice = probe(folder, variants(folder), variants(folder), Limits(time_s=30))
    assert choice.file == "larger.onnx"
    assert choice.measured[0].problem


def test_one_that_loads_too_slowly_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, {"larger.onnx": tiny_onnx()})
    with pytest.raises(ModelError, match=r"loads in .* s, allowed 1e-06 s"):
        probe(folder, variants(folder), variants(folder), Limits(open_s=0.000001))


def test_of_equals_the_first_is_taken_and_the_fastest_of_the_rest() -> None:
    measured = [
        Measured(file="a", engine="onnx", precision="int8", p50_ms=5.0),
        Measured(file="b", engine="tflite", precision="int8", p50_ms=4.0),
        Measured(file="c", engine="tflite", precision="float32", p50_ms=4.0),
        Measured(file="d", engine="tflite", precision="float16", p50_ms=1.0, problem="wrong"),
    ]
    assert choose(measured, (), Limits()).file == "b"
    with pytest.raises(ModelError, match="d: wrong"):
        choose(measured[3:], (), Limits())


def test_what_was_chosen_once_is_all_that_is_fetched_next_time(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, {"l.tflite": tiny_tflite(), "l.onnx": tiny_onnx(), "m.tflite": tiny_tflite()})
    manifest = decode_manifest((folder / "manifest.json").read_bytes())
    both = ["tflite", "onnx"]

    def names(engines: list[str], earlier: Choice | None, threads: int = 1) -> list[str]:
        return [each.file for each in to_fetch(manifest, engines, earlier=earlier, threads=threads, most=2)]

    assert names(both, None) == ["l.tflite", "l.onnx"]
    assert names(["onnx"], None) == ["l.onnx"]
    assert names([], None) == []
    kinds = tuple((each.engine, each.precision) for each in manifest.variants)
    earlier = Choice(file="x", engine="onnx", precision="float32", threads=1, offered=kinds, measured=())
    assert names(both, earlier) == ["l.onnx"]
    assert names(both, earlier, threads=4) == ["l.tflite", "l.onnx"]
    assert names(both, replace(earlier, offered=kinds[:1])) == ["l.tflite", "l.onnx"]
