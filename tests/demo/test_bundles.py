"""The demo's releases: whole, so that a registry takes them, and each as good or as bad as it is said to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.contract.manifest import decode_manifest
from edge.demo import bundles
from edge.demo.intruder import flip
from edge.engines.host import EngineHost
from edge.golden import decode_golden
from edge.selftest import CheckStatus, VariantCheck, check_files, selftest

_MAKERS = [
    bundles.wrong_answers,
    bundles.hanging,
    bundles.killing,
    bundles.slow,
    lambda folder: bundles.another(folder, "2.0.0"),
]


def _checks(maker: Callable[[Path], Path], folder: Path, **limits: float) -> tuple[VariantCheck, ...]:
    return selftest(maker(folder / "bundle"), **limits)


@pytest.mark.parametrize("maker", _MAKERS)
def test_every_release_is_a_whole_bundle_and_a_version_of_its_own(
    maker: Callable[[Path], Path], tmp_path: Path
) -> None:
    manifest = check_files(maker(tmp_path / "bundle"))
    assert manifest.name == "digits"
    assert manifest.version != check_files(bundles.BETTER).version
    assert all(variant.tolerance for variant in manifest.variants)


def test_samples_of_another_model_fail_every_variant(tmp_path: Path) -> None:
    checks = _checks(bundles.wrong_answers, tmp_path)
    assert len(checks) == 2
    for check in checks:
        assert check.status is CheckStatus.FAILED
        assert "is off by" in check.reason


def test_a_model_that_hangs_is_told_by_its_time(tmp_path: Path) -> None:
    (check,) = _checks(bundles.hanging, tmp_path, timeout_s=3.0)
    assert check.status is CheckStatus.FAILED
    assert check.reason == "hanging.onnx did not end within 3 s"


def test_a_model_that_kills_its_process_is_told_by_the_signal(tmp_path: Path) -> None:
    (check,) = _checks(bundles.killing, tmp_path)
    assert check.status is CheckStatus.FAILED
    assert check.reason.startswith("killing.tflite kills its process (SIG")


def test_a_slow_model_gives_the_same_answers_and_takes_ten_times_as_long_at_least(tmp_path: Path) -> None:
    folder = bundles.slow(tmp_path / "bundle")
    (check,) = selftest(folder)
    assert check.status is CheckStatus.PASSED, check.reason
    golden = decode_golden((folder / "golden.npz").read_bytes())
    answers, times = [], []
    for file in (bundles.BETTER / "digits.int8.onnx", folder / "digits.int8.onnx"):
        with EngineHost() as host:
            replay = host.replay(file, golden.inputs, least_s=0.2, timeout_s=60)
        answers.append(replay.outputs[0])
        times.append(np.median(replay.run_ms))
    np.testing.assert_array_equal(answers[0], answers[1])
    assert times[1] > 10 * times[0]


def test_another_one_has_bytes_of_its_own_and_passes(tmp_path: Path) -> None:
    (check,) = _checks(lambda folder: bundles.another(folder, "2.0.0"), tmp_path)
    assert check.status is CheckStatus.PASSED, check.reason
    better = decode_manifest((bundles.BETTER / "manifest.json").read_bytes())
    mine = decode_manifest((tmp_path / "bundle/manifest.json").read_bytes())
    assert mine.variants[0].sha256 not in {variant.sha256 for variant in better.variants}


def test_a_flipped_bit_is_one_bit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(9))
    flip([path])
    assert sorted(path.read_bytes()) == [0] * 8 + [1]
    flip([path])
    assert path.read_bytes() == bytes(9)
