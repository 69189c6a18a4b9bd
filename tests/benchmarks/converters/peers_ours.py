"""One rung of ours alone, in a process of its own as the other tools have it: from a float file and samples to a file.

    python -m tests.benchmarks.converters.peers_ours RECIPE FORMAT FLOAT SAMPLES.npz OUT

What `edge convert` does besides (the other rungs, three engines, judging, the report) is not in its seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from converters.emit import onnx, tflite
from converters.emit.quantizer import _tools
from converters.emit.ranges import CollectRequest
from converters.ladder.recipes import find
from converters.spec import Format, Scheme
from tests.benchmarks.converters.peers_tflite import run_alone, tell_seconds


def made_alone(recipe: str, wanted: Format, model: Path, samples: Path, target: Path) -> float:
    """Seconds to make one file.

    Raises:
        PeerError: it failed.
    """
    return run_alone(__spec__.name, recipe, wanted, model, samples, target)


def _make(name: str, wanted: Format, model: str, samples: str, target: str) -> None:
    (rung,) = find(name, (wanted,))
    recipe = rung.recipe
    if wanted == "onnx":
        import onnxruntime.quantization.calibrate  # noqa: F401 - loaded before the clock runs, as the others have it

        began_s = time.monotonic()
        onnx.emit(onnx.EmitRequest(model=model, recipe=recipe, output=target, samples=samples))
        tell_seconds(began_s)
        return
    _tools()
    began_s = time.monotonic()
    ranges = ""
    if recipe.scheme is Scheme.STATIC:
        ranges = f"{target}.ranges.json"
        tflite.collect(CollectRequest(model=model, samples=samples, output=ranges))
    tflite.emit(tflite.EmitRequest(model=model, recipe=recipe, output=target, ranges=ranges, samples=samples))
    tell_seconds(began_s)


if __name__ == "__main__":
    _make(*sys.argv[1:])  # type: ignore[arg-type]
