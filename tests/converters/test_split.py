"""Samples are divided and checked before anything is made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters.options import Options
from converters.spec import Port, Signature
from converters.split import Sampling, sample
from edge.contract.manifest import Classify, Manifest, TensorInput
from edge.errors import MediaError, RefusedError

_MANIFEST = Manifest(name="m", input=TensorInput(), output=Classify())


def _sample(folder: Path, dtype: str = "float32", **options) -> Sampling:
    ports = (Port(name="x", shape=(1, 4), dtype=dtype),)
    outputs = (Port(name="y", shape=(1, 3), dtype="float32"),)
    chosen = replace(Options(source="m.tflite", out=folder / "out"), **options)
    return sample(chosen, _MANIFEST, Signature(inputs=ports, outputs=outputs), {})


def _numbers(folder: Path, name: str, rows: int = 60, dtype: str = "float32") -> Path:
    drawn = np.random.default_rng(1).normal(size=(rows, 4)) * 10
    np.savez(folder / name, x=drawn.astype(dtype))
    return folder / name


def test_nan_among_the_evaluation_samples_is_refused_without_calibration_too(tmp_path: Path) -> None:
    array = np.ones((60, 4), np.float32)
    array[7, 2] = np.nan
    np.savez(tmp_path / "e.npz", x=array)
    with pytest.raises(RefusedError, match=r"^E111 e\.npz: 1 of 60 samples hold NaN .* number 7\. Nothing written"):
        _sample(tmp_path, evaluation=tmp_path / "e.npz")


def test_a_factor_on_inputs_of_integers_is_refused_for_it_would_do_nothing(tmp_path: Path) -> None:
    given = _numbers(tmp_path, "c.npz", dtype="int32")
    with pytest.raises(MediaError, match=r"--calib-scale .* input 'x' takes int32"):
        _sample(tmp_path, "int32", calibration=given, sample_scale=1 / 255)
    found = _sample(tmp_path, calibration=_numbers(tmp_path, "f.npz"), sample_scale=0.5)
    assert found.calibration is not None
    assert found.calibration.origin.endswith("times 0.5")
