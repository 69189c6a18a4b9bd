"""Other tools' own defaults for TFLite: Google's quantizer, and TensorFlow's converter.

    python -m tests.benchmarks.converters.peers_tflite quantizer FLOAT.tflite SAMPLES.npz OUT.tflite
    python -m tests.benchmarks.converters.peers_tflite converter MODEL.keras SAMPLES.npz OUT.tflite

Each runs in a process of its own, which prints the seconds of the work itself, the loading of libraries left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge.compute.tensors import Array

_TIMEOUT_S = 900.0
_SECONDS = "seconds:"


class PeerError(Exception):
    """A tool that failed, in its own words."""


def quantized_by_default(model: Path, samples: Path, target: Path, *, most: int | None = None) -> float:
    """litert-quantizer: its recipe `static_wi8_ai8` and its own `calibrate`. Returns seconds.

    Raises:
        PeerError: it failed.
    """
    return run_alone(__spec__.name, "quantizer", model, samples, target, *([] if most is None else [str(most)]))


def converted_by_default(source: Path, samples: Path, target: Path) -> float:
    """TensorFlow's `TFLiteConverter`, as its guide has it: `DEFAULT` and a representative data set. Returns seconds.

    Raises:
        PeerError: it failed.
    """
    return run_alone(__spec__.name, "converter", source, samples, target)


def run_alone(module: str, *arguments: Path | str) -> float:
    """Run one of these modules in a process; the seconds that it tells.

    Raises:
        PeerError: it failed; the last line that it wrote.
    """
    argv = [sys.executable, "-m", module, *map(str, arguments)]
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "ORT_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, env=environ, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as err:
        raise PeerError(f"not done after {_TIMEOUT_S:.0f} s") from err
    told = [line for line in done.stdout.splitlines() if line.startswith(_SECONDS)]
    if done.returncode or not told:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["it said nothing"]
        raise PeerError(lines[-1].strip()[:160])
    return float(told[-1].removeprefix(_SECONDS))


def tell_seconds(began_s: float) -> None:
    """For `run_alone`."""
    print(f"{_SECONDS} {time.monotonic() - began_s:.3f}", flush=True)


def read_samples(path: Path, most: int | None = None) -> list[tuple[Array, ...]]:
    """For each sample one array for each input."""
    with np.load(path, allow_pickle=False) as archive:
        stacks = [archive[name][:most] for name in archive.files]
    return list(zip(*stacks, strict=True))


def _quantizer(model: str, samples: str, target: str, most: str = "") -> None:
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer, recipe

    given = read_samples(Path(samples), int(most) if most else None)
    signature, ports = next(iter(Interpreter(model_path=model).get_signature_list().items()))
    specs = Interpreter(model_path=model).get_signature_runner(signature).get_input_details()
    began_s = time.monotonic()
    maker = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    # The file's signature lists its inputs by the alphabet, its subgraph in the order of our samples.
    names = sorted(ports["inputs"], key=lambda name: _order(model, specs[name]))
    data = {signature: [dict(zip(names, sample, strict=True)) for sample in given]}
    done = maker.quantize(maker.calibrate(data))
    Path(target).write_bytes(bytes(done.quantized_model))
    tell_seconds(began_s)


def _order(model: str, detail: Any) -> int:
    from ai_edge_litert.interpreter import Interpreter

    return [each["index"] for each in Interpreter(model_path=model).get_input_details()].index(detail["index"])


def _converter(source: str, samples: str, target: str) -> None:
    import keras
    import tensorflow as tf

    given = read_samples(Path(samples))
    began_s = time.monotonic()
    if Path(source).is_dir():
        converter = tf.lite.TFLiteConverter.from_saved_model(source)
    else:
        converter = tf.lite.TFLiteConverter.from_keras_model(_opened(keras, source))

    def representative() -> Iterator[list[Array]]:
        for sample in given:
            yield list(sample)

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    Path(target).write_bytes(converter.convert())
    tell_seconds(began_s)


def _opened(keras: Any, source: str) -> Any:
    """A Keras file; Keras 2 wrote an argument of depthwise layers that Keras 3 does not know."""

    class DepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
        def __init__(self, *args: Any, groups: int = 1, **more: Any) -> None:
            super().__init__(*args, **more)

    own = {"DepthwiseConv2D": DepthwiseConv2D} if source.endswith(".h5") else None
    return keras.models.load_model(source, compile=False, custom_objects=own)


if __name__ == "__main__":
    {"quantizer": _quantizer, "converter": _converter}[sys.argv[1]](*sys.argv[2:])
