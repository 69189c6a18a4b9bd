"""Other tools' own defaults for ONNX: `onnxruntime.quantization`, static and dynamic.

python -m tests.benchmarks.converters.peers_onnx static FLOAT.onnx SAMPLES.npz OUT.onnx
python -m tests.benchmarks.converters.peers_onnx dynamic FLOAT.onnx OUT.onnx
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from edge.compute.tensors import Array
from tests.benchmarks.converters.peers_tflite import read_samples, run_alone, tell_seconds

__all__ = ["dynamic_by_default", "static_by_default"]


def static_by_default(model: Path, samples: Path, target: Path) -> float:
    """`quantize_static` with nothing said but what it must be told. Returns seconds.

    Raises:
        PeerError: it failed.
    """
    return run_alone(__spec__.name, "static", model, samples, target)


def dynamic_by_default(model: Path, target: Path) -> float:
    """`quantize_dynamic` with nothing said. Returns seconds.

    Raises:
        PeerError: it failed.
    """
    return run_alone(__spec__.name, "dynamic", model, target)


def _static(model: str, samples: str, target: str) -> None:
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    names = [each.name for each in onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(read_samples(Path(samples)))

        def get_next(self) -> dict[str, Array] | None:
            sample = next(self._rest, None)
            return None if sample is None else dict(zip(names, sample, strict=True))

    reader = Reader()
    began_s = time.monotonic()
    quantize_static(model, target, reader)
    tell_seconds(began_s)


def _dynamic(model: str, target: str) -> None:
    from onnxruntime.quantization import quantize_dynamic

    began_s = time.monotonic()
    quantize_dynamic(model, target)
    tell_seconds(began_s)


if __name__ == "__main__":
    {"static": _static, "dynamic": _dynamic}[sys.argv[1]](*sys.argv[2:])
