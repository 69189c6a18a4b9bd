"""TFLite models on LiteRT or tflite-runtime, whichever opens a tiny model first.

Promises: threads are set explicitly; outputs are copies; `fill` writes into the interpreter's own memory; whatever
the runtime complains about ends as one sentence of ours.
Leaves out: what the numbers mean; other file formats (`onnx`).
Thread: an engine is opened, run and closed by one thread. Finding the runtime happens once in a process.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.compute.tensors import Array, Quantization, TensorSpec
from edge.engines.inputs import check, is_fixed
from edge.engines.quiet import quiet_stderr
from edge.engines.tiny import tiny_tflite
from edge.errors import InferenceError, MissingExtraError, ModelError

__all__ = ["TfliteEngine", "find_runtime"]

# (import name, distribution). LiteRT first: it is maintained, and runs uint8 models five times faster on x86.
_PACKAGES = (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime"))
_CUSTOM_OP = re.compile(r"unresolved custom op: ([^\s.]+)")
_NODE = re.compile(r"(?<=\S)\.?(Node number \d)")  # the interpreter glues its second sentence to the first
_NUMPY_2 = 2
_LONGEST_COMPLAINT = 200

# What a native interpreter raises for a file or tensor it does not like; which one depends on the version.
_NATIVE_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, MemoryError, SystemError)


@dataclass(frozen=True, slots=True)
class Runtime:
    """A TFLite interpreter that has opened a model."""

    name: str  # "ai-edge-litert 2.3.0"
    interpreter: Any  # the class


@functools.lru_cache(maxsize=1)
def find_runtime() -> Runtime:
    """The first installed interpreter that really opens a model; importing one proves nothing.

    Raises:
        MissingExtraError: none is installed.
        ModelError: one is installed and does not work; the message has the command that mends it.
    """
    problems = []
    for package, distribution in _PACKAGES:
        tried = _try_package(package, distribution)
        if isinstance(tried, Runtime):
            return tried
        if tried is not None:
            problems.append(tried)
    if problems:
        raise ModelError("no TFLite engine works here: " + "; ".join(problems))
    raise MissingExtraError("a TFLite engine (ai-edge-litert or tflite-runtime)", "litert")


def _try_package(package: str, distribution: str) -> Runtime | str | None:
    """The runtime, or why it does not work, or None where it is not installed."""
    try:
        with quiet_stderr(is_dropped_on_error=True):
            interpreter = importlib.import_module(f"{package}.interpreter").Interpreter
            interpreter(model_content=tiny_tflite(), num_threads=1).allocate_tensors()
    except ModuleNotFoundError as err:
        missing = (err.name or "").split(".")[0]
        return None if missing == package else f"{distribution} lacks {missing}; try: pip install {missing}"
    except (ImportError, AttributeError, OSError, *_NATIVE_ERRORS) as err:
        return _why_broken(package, distribution, err)
    # Every release says so itself; asking the installation records would load 2.5 MB of e-mail parser.
    return Runtime(f"{distribution} {importlib.import_module(package).__version__}", interpreter)


def _why_broken(package: str, distribution: str, err: Exception) -> str:
    if package == "tflite_runtime" and int(np.__version__.split(".")[0]) >= _NUMPY_2:
        # tflite-runtime 2.14 was built for numpy 1 and does not say so; it imports, then dies at the first model.
        return f"{distribution} needs numpy 1, and numpy {np.__version__} is installed; try: pip install 'numpy<2'"
    return f"{distribution} cannot open a model: {_first_line(err)}"


class TfliteEngine:
    """An `Engine` on a TFLite interpreter."""

    def __init__(self, content: bytes, *, threads: int) -> None:
        """Open `content`.

        Raises:
            ModelError: the interpreter refuses it.
            MissingExtraError: no interpreter is installed.
        """
        found = find_runtime()
        self._runtime = found.name
        with _opening(found.name), quiet_stderr():
            interpreter = found.interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._interpreter: Any = interpreter
        self._input_ids = [int(detail["index"]) for detail in inputs]
        self._output_ids = [int(detail["index"]) for detail in outputs]
        self._accepted = tuple(_spec(detail, detail["shape_signature"]) for detail in inputs)
        self._inputs = tuple(_spec(detail, _one_of_a_batch(detail)) for detail in inputs)
        self._outputs = tuple(_spec(detail, _one_of_a_batch(detail)) for detail in outputs)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """In the model's own order. A free leading dimension is the batch and is given as 1."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """In the model's own order."""
        return self._outputs

    @property
    def runtime(self) -> str:
        """What runs it: "ai-edge-litert 2.3.0"."""
        return self._runtime

    def fill(self, index: int, write: Callable[[Array], None]) -> None:
        """Let `write` put input `index` straight into the interpreter's memory; it must not keep the array.

        Raises:
            InferenceError: the input has a free dimension, so there is no memory yet; pass a tensor to `run`.
        """
        interpreter, spec = self._opened(), self._inputs[index]
        if not is_fixed(spec):
            raise InferenceError(f"input {spec.name!r} has free dimensions; give its tensor to run")
        if tuple(interpreter.tensor(self._input_ids[index])().shape) != spec.shape:
            self._resize(index, spec.shape)
        write(interpreter.tensor(self._input_ids[index])())

    def run(self, tensors: Sequence[Array] = ()) -> tuple[Array, ...]:
        """Infer on `tensors`, or on what `fill` left. The outputs are copies.

        Raises:
            InferenceError: a tensor does not fit, or the interpreter failed.
        """
        interpreter = self._opened()
        with _running():
            if tensors:
                check(tensors, self._accepted)
                for index, tensor in enumerate(tensors):
                    if interpreter.tensor(self._input_ids[index])().shape != tensor.shape:
                        self._resize(index, tensor.shape)
                for index, tensor in zip(self._input_ids, tensors, strict=True):
                    interpreter.set_tensor(index, tensor)
            interpreter.invoke()
            return tuple(interpreter.get_tensor(index) for index in self._output_ids)

    def close(self) -> None:
        """Give the memory back. Idempotent."""
        self._interpreter = None

    def _opened(self) -> Any:
        if self._interpreter is None:
            raise InferenceError("the model is closed")
        return self._interpreter

    def _resize(self, index: int, shape: tuple[int, ...]) -> None:
        self._interpreter.resize_tensor_input(self._input_ids[index], shape)
        self._interpreter.allocate_tensors()


def _spec(detail: dict[str, Any], shape: Sequence[int]) -> TensorSpec:
    scales, zero_points = detail["quantization_parameters"]["scales"], detail["quantization_parameters"]["zero_points"]
    quantization = None
    if len(scales) == 1 and np.issubdtype(detail["dtype"], np.integer):
        quantization = Quantization(scale=float(scales[0]), zero_point=int(zero_points[0]))
    return TensorSpec(
        name=str(detail["name"]),
        shape=tuple(int(size) for size in shape),
        dtype=np.dtype(detail["dtype"]),
        quantization=quantization,
    )


def _one_of_a_batch(detail: dict[str, Any]) -> tuple[int, ...]:
    """The declared shape with a free first dimension, the batch, set to 1."""
    signature = [int(size) for size in detail["shape_signature"]]
    if signature and signature[0] < 0:
        signature[0] = 1
    return tuple(signature)


def _first_line(err: BaseException) -> str:
    """The runtime's complaint; one without words is an allocation that failed."""
    if isinstance(err, MemoryError):
        return "not enough memory"
    lines = str(err).strip().splitlines()
    return _NODE.sub(r"; \1", lines[0].rstrip("."))[:_LONGEST_COMPLAINT] if lines else "not enough memory"


@contextmanager
def _opening(runtime: str) -> Iterator[None]:
    try:
        yield
    except _NATIVE_ERRORS as err:
        if custom := _CUSTOM_OP.search(str(err)):
            raise ModelError(
                f"the model needs the custom operation {custom[1]!r}, which {runtime} does not have; "
                "convert it again with built-in operations only"
            ) from err
        if "Select TensorFlow op" in str(err) or "Flex" in str(err):
            raise ModelError(
                f"the model needs full TensorFlow operations, which {runtime} does not have; "
                "convert it again with TFLITE_BUILTINS only"
            ) from err
        raise ModelError(f"{runtime} refuses the model: {_first_line(err)}") from err


@contextmanager
def _running() -> Iterator[None]:
    try:
        yield
    except _NATIVE_ERRORS as err:
        raise InferenceError(f"the TFLite engine failed: {_first_line(err)}") from err
