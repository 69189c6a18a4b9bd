"""Finds out what the engine at hand can do by letting it try.

Promises: a profile holds what an engine did with models of a few hundred bytes, never what a table of releases says; an
engine that dies of one of them is asked for the rest in a new process, and the one counts as refused.
Leaves out: what a board's memory and processor allow; judging a model by a profile (`converters`).
Thread: one; blocks for a second or two, ten on the smallest boards.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from edge.contract.profile import EngineProfile, Lack
from edge.engines.builtin import NUMBERS
from edge.engines.host import EngineHost
from edge.engines.open import EngineKind
from edge.engines.semantics import Case, cases
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import ChildError, InferenceError, ModelError

__all__ = ["profile_engine"]

_CALL_S = 30.0  # loading a runtime on a slow card is most of it
_MEMORY_MB = 1024
_MOST_DEATHS = 16  # an engine that dies of more is broken, and each death costs the start of a process
_REFUSALS = 3  # in a row, and a higher version is not asked for: BROADCAST_TO starts at 2, nothing has a gap
_HIGHEST = 64  # an engine that takes this takes everything
_OPSET, _IR_VERSION = 13, 7  # of the tiny model that every ONNX Runtime here opens

# 8-bit inputs and 16-bit outputs cost this much; what the cases are there to find is off by far more.
_RELATIVE, _ABSOLUTE = 0.02, 0.005

# A 32-bit system on a 64-bit kernel says the kernel's.
_NARROW = {"aarch64": "armv7l", "x86_64": "i686"}


def profile_engine(kind: EngineKind, *, python: str = sys.executable, path: str | None = None) -> EngineProfile:
    """Probe the engine that runs models of `kind`.

    Args:
        kind: "tflite" or "onnx".
        python: the interpreter, which may be another environment's.
        path: its `PYTHONPATH`; by default this process's own import path.

    Raises:
        MissingExtraError: the engine is not installed.
        ModelError: it does not work, or dies of everything.
        ChildError: no process could be started.
    """
    with EngineHost(what="the engine", python=python, path=path, memory_mb=_MEMORY_MB) as host:
        trier = _Trier(host)
        runtime = host.look(tiny_tflite() if kind == "tflite" else tiny_onnx(), timeout_s=_CALL_S).runtime
        name, machine = _short(runtime), _machine()
        match kind:
            case "tflite":
                operators = _operators(trier)
                lacks = tuple(lack for lack in Lack if not all(map(trier.is_right, cases(lack, operators))))
                return EngineProfile(name=name, runtime=runtime, machine=machine, operators=operators, lacks=lacks)
            case "onnx":
                return EngineProfile(
                    name=name,
                    runtime=runtime,
                    machine=machine,
                    opset=_highest(lambda opset: trier.opens(tiny_onnx(opset=opset)), above=_OPSET),
                    ir_version=_highest(lambda number: trier.opens(tiny_onnx(ir_version=number)), above=_IR_VERSION),
                )


class _Trier:
    """Shows models to an engine that may die of them."""

    def __init__(self, host: EngineHost) -> None:
        self._host = host
        self._deaths = 0

    def opens(self, model: bytes) -> bool:
        """Whether it opens the model and runs it on zeros."""
        try:
            self._host.look(model, timeout_s=_CALL_S)
        except (ModelError, InferenceError):
            return False
        except ChildError as err:
            self._mourn(err)
            return False
        return True

    def is_right(self, case: Case) -> bool:
        """Whether it answers as it must."""
        try:
            done = self._host.replay(case.model, [one[None] for one in case.inputs], timeout_s=_CALL_S)
        except (ModelError, InferenceError):
            return False
        except ChildError as err:
            self._mourn(err)
            return False
        answer = done.outputs[0][0]
        return answer.shape == case.expected.shape and bool(
            np.allclose(answer, case.expected, rtol=_RELATIVE, atol=_ABSOLUTE)
        )

    def _mourn(self, err: ChildError) -> None:
        self._deaths += 1
        if self._deaths > _MOST_DEATHS:
            raise ModelError(f"the engine died {self._deaths} times while it was probed, the last time: {err}") from err


def _operators(trier: _Trier) -> dict[str, int]:
    found = {name: _highest(partial(_registers, trier, number)) for name, number in NUMBERS.items()}
    return {name: version for name, version in found.items() if version}


def _registers(trier: _Trier, number: int, version: int) -> bool:
    return trier.opens(tiny_tflite((number, version)))


def _highest(accepts: Callable[[int], bool], *, above: int = 0) -> int:
    """The highest version from `above` on that is accepted, `above` itself where none is."""
    highest = version = above
    while version - highest < _REFUSALS and version < _HIGHEST:
        version += 1
        if accepts(version):
            highest = version
    return highest


def _short(runtime: str) -> str:
    """Engine and minor version, "litert-2.3" of "ai-edge-litert 2.3.0": patch releases bring no operators."""
    distribution, _, version = runtime.removeprefix("ai-edge-").partition(" ")
    minor = re.match(r"\d+(\.\d+)?", version)
    return f"{distribution}-{minor[0]}" if minor else distribution


def _machine() -> str:
    machine = platform.machine()
    return _NARROW.get(machine, machine) if sys.maxsize < 1 << 32 else machine
