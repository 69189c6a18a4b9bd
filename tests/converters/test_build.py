"""Memory is asked for before a variant is made and before a float file is run: no process starts that it is short for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.floats import checked
from converters.ladder.build import FormatBuilder
from converters.load.sklearn.dense import Dense, to_onnx, to_tflite
from converters.spec import FloatFile, Format, Recipe, Scheme
from edge.clock import SystemClock
from edge.errors import OutOfMemoryError

pytestmark = pytest.mark.usefixtures("quantising")

_SAID_BYTES = 1_000_000_000  # which the file does not have: how large it is decides, before anybody reads it
_LAYER = Dense(weights=np.eye(16, dtype=np.float32), bias=np.zeros(16, np.float32), activation="relu")
_WRITERS: dict[Format, Callable[..., bytes]] = {"tflite": to_tflite, "onnx": to_onnx}


@pytest.fixture
def floats(tmp_path: Path) -> Callable[[Format], FloatFile]:
    def made(wanted: Format) -> FloatFile:
        path = tmp_path / f"model.fp32.{wanted}"
        path.write_bytes(_WRITERS[wanted]([_LAYER], 16, batch=1, names=("x", "y")))
        return FloatFile(
            format=wanted, path=str(path), sha256="", size_bytes=_SAID_BYTES, made_by="a test", axes=((0, 1),)
        )

    return made


def _build(floats: FloatFile, scheme: Scheme, folder: Path, free_bytes: int) -> None:
    recipe = Recipe(name="it", format=floats.format, scheme=scheme)
    with FormatBuilder(
        floats, None, folder, memory_mb=2048, timeout_s=60.0, clock=SystemClock(), available=lambda: free_bytes
    ) as builder:
        builder.build(recipe, folder / "it")


@pytest.mark.parametrize(
    ("wanted", "scheme", "needed_gb"),
    [
        ("tflite", Scheme.WEIGHT_ONLY, 3),
        ("tflite", Scheme.STATIC, 5),
        ("onnx", Scheme.WEIGHT_ONLY, 5),
        ("onnx", Scheme.STATIC, 5),
    ],
)
def test_a_variant_that_memory_is_too_short_for_is_one_sentence_with_both_figures(
    floats: Callable[[Format], FloatFile], tmp_path: Path, wanted: Format, scheme: Scheme, needed_gb: int
) -> None:
    free_bytes = needed_gb * _SAID_BYTES - 500_000_000
    sentence = rf"^E602 making it of model.fp32.{wanted} needs about {needed_gb}.0 GB .* {needed_gb - 1}.5 GB are free"
    with pytest.raises(OutOfMemoryError, match=sentence):
        _build(floats(wanted), scheme, tmp_path, free_bytes)
    assert not list(tmp_path.glob("build-*.log")), "no process was started for it"


@pytest.mark.parametrize(
    ("scheme", "needed_gb"), [(Scheme.FLOAT32, 0), (Scheme.WEIGHT_ONLY, 3)], ids=["the float file itself", "weights"]
)
def test_a_variant_that_memory_does_for_is_made(
    floats: Callable[[Format], FloatFile], tmp_path: Path, scheme: Scheme, needed_gb: int
) -> None:
    _build(floats("tflite"), scheme, tmp_path, needed_gb * _SAID_BYTES)
    assert (tmp_path / "it").stat().st_size > 0


@pytest.mark.parametrize(("wanted", "needed_gb"), [("tflite", 2), ("onnx", 3)])
def test_a_float_file_that_memory_is_too_short_for_is_not_run(
    floats: Callable[[Format], FloatFile], wanted: Format, needed_gb: int
) -> None:
    inputs = [np.ones((2, 1, 16), np.float32)]
    with pytest.raises(OutOfMemoryError, match=f"^E602 running model.fp32.{wanted} needs about {needed_gb}.0 GB"):
        checked(floats(wanted), inputs, inputs, available=lambda: int((needed_gb - 0.5) * 1e9))
    file, _ = checked(floats(wanted), inputs, inputs, available=lambda: int((needed_gb + 0.5) * 1e9))
    assert file.parity_db is not None
