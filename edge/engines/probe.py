"""Opens a model where it can do no harm.

Promises: a file that kills, hangs or starves the process that opens it kills, hangs or starves a child, and ends here
as one `ModelError`; engines are found by opening a model, never by importing a package.
Leaves out: what the model means (`dropin`), whether its answers are right (golden samples).
Thread: any; blocks until the child is done or its time is up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge.compute.tensors import Quantization, TensorSpec
from edge.engines.child import Answer, Tensor
from edge.engines.open import EngineKind, open_engine
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import EdgeError, MissingExtraError, ModelError

__all__ = ["EngineStatus", "ProbeReport", "available", "probe"]


_MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a model looks like from outside."""

    runtime: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


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
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as chatter:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "edge.engines.child", str(answer.fileno()), str(limit_mb), str(timeout_s)],
                input=content,
                stdout=chatter,
                stderr=chatter,
                pass_fds=(answer.fileno(),),
                env=_environment(),
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise ModelError(f"the model did not open and answer within {timeout_s:g} s") from err
        except OSError as err:
            raise ModelError(f"no process could be started to try the model in: {err.strerror or err}") from err
        answer.seek(0)
        chatter.seek(0)
        return _report(done.returncode, answer.read(), chatter.read())


def available() -> tuple[EngineStatus, ...]:
    """For each kind of model, the runtime that opens a tiny one here, or what keeps it from doing so."""
    return (_try("tflite", tiny_tflite()), _try("onnx", tiny_onnx()))


def _environment() -> dict[str, str]:
    """Ours, with our own import path and nothing of the working directory's on it by accident."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _try(kind: EngineKind, content: bytes) -> EngineStatus:
    try:
        engine = open_engine(content)
        engine.run([np.zeros(spec.shape, spec.dtype) for spec in engine.inputs])
    except EdgeError as err:
        return EngineStatus(kind=kind, problem=str(err))
    runtime = engine.runtime
    engine.close()
    return EngineStatus(kind=kind, runtime=runtime)


def _report(status: int, answer: bytes, chatter: bytes) -> ProbeReport:
    if status < 0:
        raise ModelError(f"the model kills the process that opens it ({_signal_name(-status)}{_last_words(chatter)})")
    try:
        told = msgspec.json.decode(answer, type=Answer)
    except msgspec.DecodeError as err:
        raise ModelError(f"the probe of the model ended with status {status}{_last_words(chatter)}") from err
    if told.missing_extra is not None:
        raise MissingExtraError(told.error, told.missing_extra)
    if told.error:
        raise ModelError(told.error)
    return ProbeReport(
        runtime=told.runtime,
        inputs=tuple(_spec(tensor) for tensor in told.inputs),
        outputs=tuple(_spec(tensor) for tensor in told.outputs),
    )


def _spec(tensor: Tensor) -> TensorSpec:
    quantization = None
    if tensor.scale is not None:
        quantization = Quantization(scale=tensor.scale, zero_point=tensor.zero_point)
    return TensorSpec(name=tensor.name, shape=tensor.shape, dtype=np.dtype(tensor.dtype), quantization=quantization)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(chatter: bytes) -> str:
    lines = chatter.decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""
