"""What an engine is.

Promises: outputs are copies; inputs are checked with one sentence before native code sees them; threads are set
explicitly and none of them spins.
Leaves out: what the numbers mean (`contract.manifest`, `compute`).
Thread: an engine is opened, run and closed by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from edge.compute.tensors import Array, TensorSpec

__all__ = ["Engine"]


class Engine(Protocol):
    """One loaded model."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """In the model's own order."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """In the model's own order."""
        ...

    @property
    def runtime(self) -> str:
        """What runs it, with its version: "ai-edge-litert 1.2.0"."""
        ...

    def fill(self, index: int, write: Callable[[Array], None]) -> None:
        """Let `write` put an input straight into the engine's own memory (shape and dtype of `inputs[index]`).

        `write` must not keep the array.
        """
        ...

    def run(self, tensors: Sequence[Array] = ()) -> tuple[Array, ...]:
        """Infer, on `tensors` (one for each input) or, when none are given, on what `fill` left.

        Raises:
            InferenceError: a tensor has the wrong shape or dtype, or the runtime failed.
        """
        ...

    def close(self) -> None:
        """Give the memory back. Idempotent."""
        ...
