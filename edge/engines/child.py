"""What an `EngineHost` does in its child process: open one model, look at it, run it.

Promises: a model is opened from its bytes, once for a call; real numbers are quantised on the way in and real numbers
come out; the clock runs around the engine alone.
Leaves out: limits and surviving (`edge.child`), judging what was seen (`probe`, the golden samples).
Thread: main, in its own process.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from edge.clock import SystemClock
from edge.compute.tensors import Array, TensorSpec, dequantize, quantize
from edge.engines.api import Engine
from edge.engines.inputs import is_fixed
from edge.engines.open import open_engine
from edge.errors import InferenceError

__all__ = ["LookRequest", "Looked", "ReplayRequest", "Replayed", "Tensor", "look", "replay"]

_WARM_UPS = 2  # the first run fills caches and, in some kernels, packs the weights
_MOST_TIMES = 2000


class Tensor(Struct, frozen=True, kw_only=True):
    """A `TensorSpec` as JSON."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0


class LookRequest(Struct, frozen=True, kw_only=True):
    """A model file."""

    model: str


class Looked(Struct, frozen=True, kw_only=True):
    """What a model looks like from outside."""

    runtime: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class ReplayRequest(Struct, frozen=True, kw_only=True):
    """A model file and where its inputs lie and its outputs go, both `.npz` with the tensors in their order."""

    model: str
    inputs: str
    outputs: str
    threads: int
    least_s: float


class Replayed(Struct, frozen=True, kw_only=True):
    """What it took. Memory in units of 10^6 bytes, on top of what the process had before it opened the model."""

    looked: Looked
    open_ms: float
    run_ms: tuple[float, ...]
    memory_mb: float


def look(request: LookRequest) -> Looked:
    """Open a model and, unless it leaves a size free, run it once on zeros."""
    engine = open_engine(Path(request.model).read_bytes())
    if all(is_fixed(spec) for spec in engine.inputs):
        engine.run([np.zeros(spec.shape, spec.dtype) for spec in engine.inputs])
    looked = _looked(engine)
    engine.close()
    return looked


def replay(request: ReplayRequest) -> Replayed:
    """Run a model on each sample, then go on for `least_s` seconds to time it."""
    with np.load(request.inputs, allow_pickle=False) as archive:
        stacks = [archive[name] for name in archive.files]
    before_kb = _reset_peak_kb()
    clock = SystemClock()
    began = clock.monotonic_s()
    engine = open_engine(Path(request.model).read_bytes(), threads=request.threads)
    open_ms = (clock.monotonic_s() - began) * 1000
    samples = _samples(stacks, engine.inputs)
    answers = [engine.run(sample) for sample in samples]
    run_ms = _time(engine, samples, request.least_s, clock)
    memory_mb = max(0, _status_kb("VmHWM") - before_kb) * 1024 / 1e6
    looked = _looked(engine)
    real = [
        np.stack([dequantize(answer[place], spec) for answer in answers]) for place, spec in enumerate(engine.outputs)
    ]
    engine.close()
    with open(request.outputs, "wb") as file:  # noqa: PTH123 - a descriptor's path must not be resolved
        np.savez(file, *real)
    return Replayed(looked=looked, open_ms=open_ms, run_ms=run_ms, memory_mb=memory_mb)


def _samples(stacks: Sequence[Array], specs: Sequence[TensorSpec]) -> list[tuple[Array, ...]]:
    if len(stacks) != len(specs):
        names = ", ".join(spec.name for spec in specs)
        raise InferenceError(f"the model has {len(specs)} inputs ({names}) and the samples have {len(stacks)}")
    return [
        tuple(quantize(np.asarray(one), spec) for one, spec in zip(sample, specs, strict=True))
        for sample in zip(*stacks, strict=True)
    ]


def _time(
    engine: Engine, samples: Sequence[tuple[Array, ...]], least_s: float, clock: SystemClock
) -> tuple[float, ...]:
    """Milliseconds of each run, for `least_s` seconds or `_MOST_TIMES` runs, whichever is over first."""
    if least_s <= 0.0 or not samples:
        return ()
    for sample in samples[:_WARM_UPS]:
        engine.run(sample)
    times: list[float] = []
    end = clock.monotonic_s() + least_s
    while len(times) < _MOST_TIMES:
        sample = samples[len(times) % len(samples)]
        began = clock.monotonic_s()
        engine.run(sample)
        ended = clock.monotonic_s()
        times.append((ended - began) * 1000)
        if ended >= end:
            break
    return tuple(times)


def _looked(engine: Engine) -> Looked:
    return Looked(
        runtime=engine.runtime,
        inputs=tuple(_tensor(spec) for spec in engine.inputs),
        outputs=tuple(_tensor(spec) for spec in engine.outputs),
    )


def _tensor(spec: TensorSpec) -> Tensor:
    scale = zero_point = None
    if spec.quantization is not None:
        scale, zero_point = spec.quantization.scale, spec.quantization.zero_point
    return Tensor(name=spec.name, shape=spec.shape, dtype=str(spec.dtype), scale=scale, zero_point=zero_point or 0)


def _reset_peak_kb() -> int:
    """Let the high-water mark of this process's memory start anew; where it stands now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status_kb("VmRSS")


def _status_kb(key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
