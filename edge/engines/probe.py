"""Opens a model where it can do no harm.

Promises: a file that kills, hangs or starves the process that opens it kills, hangs or starves a child, and ends here
as one `ModelError`; engines are found by opening a model, never by importing a package.
Leaves out: what the model means (`dropin`), whether its answers are right (golden samples).
Thread: any; blocks until the child is done or its time is up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.engines.host import EngineHost, ProbeReport
from edge.engines.open import EngineKind, open_engine
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import ChildError, EdgeError, InferenceError, ModelError, OutOfMemoryError, OutOfTimeError

__all__ = ["EngineStatus", "ProbeReport", "available", "probe"]


_MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """Whether models of one kind can run here. Exactly one of `runtime` and `problem` is set."""

    kind: EngineKind
    runtime: str | None = None
    problem: str | None = None


def probe(content: bytes, *, timeout_s: float = 30.0, memory_mb: int | None = None) -> ProbeReport:
    """Open a model and run it once on zeros, in a child process.

    A model with free dimensions beyond the batch is opened and not run: zeros of a guessed size prove nothing.

    Args:
        content: the whole file.
        timeout_s: wall seconds for opening and running; 30 is ten times what the slowest board needs for a good file.
        memory_mb: private memory the child may take, libraries and thread stacks included; by default 1 GB and four
            times the file, which a good model stays far below.

    Raises:
        ModelError: no model, refused by the runtime, or the child died, hung, starved or could not be started.
        MissingExtraError: the engine is not installed.
    """
    limit_mb = memory_mb if memory_mb is not None else 1024 + 4 * len(content) // _MEGABYTE
    try:
        with EngineHost(memory_mb=limit_mb) as host:
            return host.look(content, timeout_s=timeout_s)
    except OutOfTimeError as err:
        raise ModelError(f"the model did not open and answer within {timeout_s:g} s") from err
    except OutOfMemoryError as err:
        raise ModelError(f"the model needs more memory than the {limit_mb} MB it may have") from err
    except ChildError as err:
        raise ModelError(str(err)) from err
    except InferenceError as err:
        raise ModelError(f"the model opens and does not run: {err}") from err


def available() -> tuple[EngineStatus, ...]:
    """For each kind of model, the runtime that opens a tiny one here, or what keeps it from doing so."""
    return (_try("tflite", tiny_tflite()), _try("onnx", tiny_onnx()))


def _try(kind: EngineKind, content: bytes) -> EngineStatus:
    try:
        engine = open_engine(content)
        engine.run([np.zeros(spec.shape, spec.dtype) for spec in engine.inputs])
    except EdgeError as err:
        return EngineStatus(kind=kind, problem=str(err))
    runtime = engine.runtime
    engine.close()
    return EngineStatus(kind=kind, runtime=runtime)
