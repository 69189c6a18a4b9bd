"""What preparing a frame costs, against the way it is usually written.

The peer swaps colours on the whole frame, resizes with Pillow and does the arithmetic in numpy. Processor time of this
thread, best of many: other work on the machine does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from edge.compute.steps import compile_steps
from edge.compute.tensors import Array, TensorSpec
from edge.contract.manifest import Color, ImageInput, Interpolation, Normalize, Resize, Step

_ROUNDS = 100
_SIDE = 300


def _best_ms(run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.thread_time()
        run()
        best = min(best, time.thread_time() - start)
    return best * 1000.0


def _usual(frame: Array, *, is_float: bool) -> Array:
    rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    small = np.asarray(Image.fromarray(rgb).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
    return ((small - 127.5) / 127.5).astype(np.float32) if is_float else small.copy()


def main() -> None:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    print(f"{'frame':>10} {'tensor':>8} {'resize':>10} {'usual ms':>9} {'ours ms':>8} {'ratio':>6}")
    for width, height in ((768, 432), (1280, 720)):
        frame = cv2.resize(rng.integers(0, 256, (54, 96, 3), dtype=np.uint8), (width, height))
        for dtype in (np.uint8, np.float32):
            numbers: tuple[Step, ...] = () if dtype is np.uint8 else (Normalize(mean=(127.5,), std=(127.5,)),)
            peer = _best_ms(lambda: _usual(frame, is_float=dtype is np.float32))  # noqa: B023 - run at once
            for how in (Interpolation.ANTIALIAS, Interpolation.LINEAR):
                steps = (Resize(width=_SIDE, height=_SIDE, interpolation=how), *numbers)
                tensor = TensorSpec(name="image", shape=(1, _SIDE, _SIDE, 3), dtype=np.dtype(dtype))
                prepare = compile_steps(ImageInput(color=Color.RGB, steps=steps), tensor)
                out: Array = np.empty(tensor.shape, dtype)
                ours = _best_ms(lambda: prepare.write(frame, out))  # noqa: B023 - run at once
                name = np.dtype(dtype).name
                print(f"{width:>5}x{height:<4} {name:>8} {how.value:>10} {peer:9.2f} {ours:8.2f} {ours / peer:6.2f}")


if __name__ == "__main__":
    main()
