"""A process that runs models in place of this one.

Promises: what a model does to the process that opens it, it does to the host's; arrays and models go over in memory,
never through a file on disk; after a model that killed it, the host starts a new process for the next.
Leaves out: what the answers are worth.
Thread: one thread starts, uses and closes a host.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from msgspec import Struct

from edge.child import Child
from edge.compute.tensors import Array, Quantization, TensorSpec
from edge.engines.child import Looked, LookRequest, Replayed, ReplayRequest, Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EngineHost", "ProbeReport", "Replay"]

_Answer = TypeVar("_Answer", bound=Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a model looks like from outside."""

    runtime: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a model said of each sample, and what it took.

    `outputs` has one array for each output of the model, real numbers (integers where the model gives plain integers),
    shape (samples, *tensor's shape). `run_ms` are the times of single runs, empty unless asked for. `memory_mb` is what
    the process took on top of what it had, in units of 10^6 bytes; exact for the first model of a host.
    """

    report: ProbeReport
    outputs: tuple[Array, ...]
    open_ms: float
    run_ms: tuple[float, ...]
    memory_mb: float


class EngineHost:
    """A context manager."""

    def __init__(
        self,
        *,
        what: str = "the model",
        python: str = sys.executable,
        path: str | None = None,
        memory_mb: int | None = None,
    ) -> None:
        """See `edge.child.Child` for the arguments. The process starts with the first model."""
        self._what = what
        self._python = python
        self._path = path
        self._memory_mb = memory_mb
        self._child: Child | None = None
        self._model, self._inputs, self._outputs = (os.memfd_create(name) for name in ("model", "inputs", "outputs"))

    def look(self, model: bytes | Path, *, timeout_s: float) -> ProbeReport:
        """Open a model and run it once on zeros; one that leaves a size free is opened only.

        Raises:
            ModelError, InferenceError, MissingExtraError: as `open_engine` and the engine raise them.
            OutOfTimeError, OutOfMemoryError, ChildError: the process did not survive it.
        """
        request = LookRequest(model=self._as_path(model, self._model))
        return _report(self._call("look", request, Looked, timeout_s))

    def replay(
        self,
        model: bytes | Path,
        inputs: Path | Sequence[Array],
        *,
        threads: int = 1,
        least_s: float = 0.0,
        timeout_s: float,
    ) -> Replay:
        """Run a model on samples.

        Args:
            model: the file or its bytes.
            inputs: one array for each input of the model, shape (samples, *tensor's shape), in real numbers; or an
                `.npz` of them in this order.
            threads: processor threads that one inference may use.
            least_s: seconds to go on for, to time single runs.
            timeout_s: wall seconds for all of it.

        Raises:
            As `look`.
        """
        if not isinstance(inputs, Path):
            packed = io.BytesIO()
            np.savez(packed, *inputs)
            given = self._as_path(packed.getvalue(), self._inputs)
        else:
            given = str(inputs)
        os.ftruncate(self._outputs, 0)
        request = ReplayRequest(
            model=self._as_path(model, self._model),
            inputs=given,
            outputs=_descriptor(self._outputs),
            threads=threads,
            least_s=least_s,
        )
        done = self._call("replay", request, Replayed, timeout_s)
        with np.load(_descriptor(self._outputs), allow_pickle=False) as archive:
            outputs = tuple(archive[name] for name in archive.files)
        return Replay(
            report=_report(done.looked),
            outputs=outputs,
            open_ms=done.open_ms,
            run_ms=done.run_ms,
            memory_mb=done.memory_mb,
        )

    def close(self) -> None:
        """End the process. Idempotent."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.__exit__(kind, error, trace)
            self._child = None
        for descriptor in (self._model, self._inputs, self._outputs):
            os.close(descriptor)

    def _call(
        self, function: str, request: LookRequest | ReplayRequest, answer: type[_Answer], timeout_s: float
    ) -> _Answer:
        if self._child is None or not self._child.is_alive:
            self.close()
            self._child = Child(
                "edge.engines.child",
                what=self._what,
                python=self._python,
                path=self._path,
                memory_mb=self._memory_mb,
                files=(self._model, self._inputs, self._outputs),
            )
        return self._child.call(function, request, answer, timeout_s=timeout_s)

    @staticmethod
    def _as_path(content: bytes | Path, descriptor: int) -> str:
        if isinstance(content, Path):
            return str(content)
        os.ftruncate(descriptor, 0)
        with open(_descriptor(descriptor), "wb") as file:  # noqa: PTH123 - a descriptor's path must not be resolved
            file.write(content)
        return _descriptor(descriptor)


def _descriptor(number: int) -> str:
    """A path to an open file that holds in this process and in a child that inherited it."""
    return f"/proc/self/fd/{number}"


def _report(looked: Looked) -> ProbeReport:
    return ProbeReport(
        runtime=looked.runtime,
        inputs=tuple(_spec(tensor) for tensor in looked.inputs),
        outputs=tuple(_spec(tensor) for tensor in looked.outputs),
    )


def _spec(tensor: Tensor) -> TensorSpec:
    quantization = None
    if tensor.scale is not None:
        quantization = Quantization(scale=tensor.scale, zero_point=tensor.zero_point)
    return TensorSpec(name=tensor.name, shape=tensor.shape, dtype=np.dtype(tensor.dtype), quantization=quantization)
