"""A model of the zoo all the way: trained, converted, and its bundle's golden samples replayed on every engine here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import edge
from converters.environments.making import Environment, Ready
from converters.spec import Report, RunStatus
from converters.zoo.catalogue import DEMO
from converters.zoo.converting import convert_made
from edge.child import import_path
from edge.contract.manifest import decode_manifest
from edge.errors import EnvironmentFailedError
from edge.model import Model
from tests.zoo.answering import Maker

# An exporter of PyTorch 2.13 asks NumPy for what NumPy 2 calls otherwise.
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation:DeprecationWarning",
        "ignore::DeprecationWarning:torch",
        "ignore::FutureWarning:torch",
    ),
]

_HERE = Ready(python=sys.executable, path=import_path())
_OLDER = ("tflite-runtime-2.14", "litert-1.2")
_SELFTEST = """
import json, sys
from pathlib import Path
from edge.selftest import selftest
print(json.dumps({check.file: [check.status.value, check.reason] for check in selftest(Path(sys.argv[1]))}))
"""


def _older_engines() -> dict[str, Ready]:
    """Those whose environment was made; this test makes none."""
    found = {}
    for name in _OLDER:
        try:
            found[name] = Environment(name, is_offline=True).ensure()
        except EnvironmentFailedError:  # noqa: PERF203 - two rounds
            continue
    return found


def _checks(bundle: Path, where: Ready) -> dict[str, list[str]]:
    """What `edge selftest` says of each file there: its status, and why."""
    environ = {**os.environ, "PYTHONPATH": where.path, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [where.python, "-c", _SELFTEST, bundle], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _assert_passes_everywhere(bundle: Path) -> None:
    variants = decode_manifest((bundle / "manifest.json").read_bytes()).variants
    assert {variant.engine for variant in variants} == {"tflite", "onnx"}
    assert _checks(bundle, _HERE) == {variant.file: ["passed", ""] for variant in variants}
    for name, ready in _older_engines().items():
        found = _checks(bundle, ready)
        for variant in variants:
            status, reason = found[variant.file]
            if variant.engine == "tflite":
                assert (name, status, reason) == (name, "passed", "")
            else:
                assert "ONNX Runtime is not installed" in reason


def _convert(name: str, make: Maker, out: Path) -> Report:
    for module in ("litert_torch", "onnxscript", "litert_quantizer", "onnxruntime"):  # looked for, not imported
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    report = convert_made(make(name), out, is_offline=True)
    assert report.is_within_budget
    executed = {run.engine for trial in report.trials if trial.is_chosen for run in trial.runs if run.agreement}
    assert executed >= {*_older_engines()}
    assert not any(run.status is RunStatus.REFUSED for trial in report.trials if trial.is_chosen for run in trial.runs)
    return report


def test_a_keras_model_of_the_zoo_becomes_a_bundle_that_passes_on_every_engine(make: Maker, tmp_path: Path) -> None:
    report = _convert("dense", make, tmp_path / "out")
    assert report.source.framework.startswith("keras ")
    bundle = tmp_path / "out/bundle"
    _assert_passes_everywhere(bundle)
    assert (bundle / "MODEL_CARD.md").read_text(encoding="utf-8").startswith("# dense 1.0.0\n")


def test_a_text_model_of_the_zoo_becomes_a_bundle_that_passes_on_every_engine(make: Maker, tmp_path: Path) -> None:
    report = _convert("bag", make, tmp_path / "out")
    assert report.source.framework.startswith("torch ")
    _assert_passes_everywhere(tmp_path / "out/bundle")
    with Model.open(tmp_path / "out/bundle") as model:
        assert model("the train was late again").items


@pytest.mark.parametrize("name", DEMO)
def test_the_bundles_that_ship_pass_on_every_engine(name: str) -> None:
    """Made by the same way, and here without any framework."""
    _assert_passes_everywhere(Path(edge.__file__).parent / "demo/models" / name)
