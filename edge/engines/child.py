"""The child process of `probe`: opens one model, runs it once on zeros, writes what it saw.

Promises: reads the model from standard input, never from a path; limits its own memory and processor time before any
native code sees a byte; is the first to go when the machine runs out of memory.
Leaves out: judging (`probe`).
Thread: main, in its own process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from edge.compute.tensors import TensorSpec
from edge.engines.inputs import is_fixed
from edge.engines.open import open_engine
from edge.errors import EdgeError, MissingExtraError

__all__ = ["Answer", "Tensor", "main"]


class Tensor(Struct, frozen=True, kw_only=True):
    """A `TensorSpec` as JSON."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0


class Answer(Struct, frozen=True, kw_only=True):
    """What the child saw, or why it saw nothing. With `missing_extra`, `error` names what is not installed."""

    runtime: str = ""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    error: str = ""
    missing_extra: str | None = None


def main() -> None:
    """`python -m edge.engines.child ANSWER_FD MEMORY_MB TIMEOUT_S < MODEL`."""
    answer_fd, memory_mb, timeout_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    content = sys.stdin.buffer.read()
    _limit(memory_mb, timeout_s)
    with os.fdopen(answer_fd, "wb") as answer:
        answer.write(msgspec.json.encode(_look(content)))


def _limit(memory_mb: int, timeout_s: float) -> None:
    # Private memory and not address space: both runtimes map far more than they touch.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 20, memory_mb << 20))
    # The parent keeps the wall clock; this ends a spinning child whose parent has died.
    seconds = int(timeout_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (4 * seconds, 4 * seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # another kernel or a locked-down container: the limits above still stand
        Path("/proc/self/oom_score_adj").write_text("1000")


def _look(content: bytes) -> Answer:
    try:
        engine = open_engine(content)
        if all(is_fixed(spec) for spec in engine.inputs):
            engine.run([np.zeros(spec.shape, spec.dtype) for spec in engine.inputs])
    except MissingExtraError as err:
        return Answer(error=str(err).split(" is not installed", maxsplit=1)[0], missing_extra=err.extra)
    except EdgeError as err:
        return Answer(error=str(err))
    except MemoryError:
        return Answer(error="the model needs more memory than it may have")
    return Answer(
        runtime=engine.runtime,
        inputs=tuple(_tensor(spec) for spec in engine.inputs),
        outputs=tuple(_tensor(spec) for spec in engine.outputs),
    )


def _tensor(spec: TensorSpec) -> Tensor:
    scale = zero_point = None
    if spec.quantization is not None:
        scale, zero_point = spec.quantization.scale, spec.quantization.zero_point
    return Tensor(name=spec.name, shape=spec.shape, dtype=str(spec.dtype), scale=scale, zero_point=zero_point or 0)


if __name__ == "__main__":
    main()
