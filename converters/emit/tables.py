"""Tables that rows are looked up in, as word vectors are: whether all rows may share one scale.

Promises: rows share a scale only where nearly all of them stay right to a tenth of their size. A row's own scale
is a quarter more bytes of 16 numbers in ONNX, and three quarters in TFLite, which keeps a zero point beside it.
Leaves out: storing (`onnx_weights`, `quantizer`).
Thread: any; pure.
"""

from __future__ import annotations

import numpy as np

from edge.compute.tensors import Array

__all__ = ["is_one_scale_enough"]

_STEPS = 127
_RIGHT_DB = 20.0
_NEARLY_ALL = 0.95


def is_one_scale_enough(table: Array, *, widest: int) -> bool:
    """Whether a float table, (rows, ...), does as well with one scale in int8.

    Wider rows than `widest` numbers keep their own: there it costs little.
    """
    if table.ndim < 2 or not table.size or table[0].size > widest:  # noqa: PLR2004 - rows and what is in them
        return False
    peak = np.float32(np.abs(table).max())
    if not 0.0 < peak < np.inf:
        return False
    step = peak / _STEPS
    across = tuple(range(1, table.ndim))
    noise = np.square(table - np.rint(table / step) * step).sum(axis=across)
    signal = np.square(table).sum(axis=across)
    return bool(np.mean(signal >= noise * 10 ** (_RIGHT_DB / 10)) >= _NEARLY_ALL)
