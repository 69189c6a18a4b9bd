"""ONNX models on ONNX Runtime's CPU provider.

Promises: threads are set explicitly and none of them spins (spinning costs 23 % of a core at five inferences a
second, and gains nothing); nothing is reported to anyone; outputs are the caller's own; `fill` writes into the memory
that the runtime reads; int8 models answer alike on every processor, where by default x86 without VNNI saturates.
Leaves out: what the numbers mean; other file formats (`tflite`).
Thread: an engine is opened, run and closed by one thread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edge.compute.tensors import Array, TensorSpec
from edge.engines.inputs import check, is_fixed
from edge.engines.quiet import quiet_stderr
from edge.errors import InferenceError, MissingExtraError, ModelError

__all__ = ["OnnxEngine"]

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : ")
_LONGEST_COMPLAINT = 200
_LOG_FATAL = 4  # errors are raised as exceptions; printing them as well would say everything twice
_CPUINFO = Path("/proc/cpuinfo")
_VNNI = frozenset({b"avx512_vnni", b"avx_vnni"})


class OnnxEngine:
    """An `Engine` on an ONNX Runtime session."""

    def __init__(self, content: bytes, *, threads: int, cpuinfo: Path = _CPUINFO) -> None:
        """Open `content`; `cpuinfo` is where the processor's flags are read.

        Raises:
            ModelError: the runtime refuses it, or it has inputs that are no plain tensors.
            MissingExtraError: ONNX Runtime is not installed.
        """
        # Read at import and at the first session: later versions report to their maker unless told not to.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        try:
            with quiet_stderr():
                import onnxruntime
        except ModuleNotFoundError as err:
            raise MissingExtraError("ONNX Runtime", "onnx") from err
        except ImportError as err:
            raise ModelError(f"ONNX Runtime cannot be loaded: {err}; try: pip install 'onnxruntime<1.29'") from err
        self._runtime = f"onnxruntime {onnxruntime.__version__}"
        with _opening(self._runtime), quiet_stderr():
            session = _session(onnxruntime, content, threads, is_exact=_saturates(cpuinfo))
        self._session: Any = session
        self._accepted = tuple(_spec(node, batch="") for node in session.get_inputs())
        batch = _batch_of(session.get_inputs())
        self._inputs = tuple(_spec(node, batch=batch) for node in session.get_inputs())
        self._outputs = tuple(_spec(node, batch=batch) for node in session.get_outputs())
        self._buffers: list[Array | None] = [None] * len(self._inputs)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """In the model's own order. A free leading dimension of the first input is the batch and is given as 1."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """In the model's own order."""
        return self._outputs

    @property
    def runtime(self) -> str:
        """What runs it: "onnxruntime 1.28.0"."""
        return self._runtime

    def fill(self, index: int, write: Callable[[Array], None]) -> None:
        """Let `write` put input `index` into the memory that the session reads; it must not keep the array.

        Raises:
            InferenceError: the input has a free dimension, so there is no memory for it; pass a tensor to `run`.
        """
        spec = self._inputs[index]
        if not is_fixed(spec):
            raise InferenceError(f"input {spec.name!r} has free dimensions; give its tensor to run")
        write(self._buffer(index))

    def run(self, tensors: Sequence[Array] = ()) -> tuple[Array, ...]:
        """Infer on `tensors`, or on what `fill` left. The outputs are the caller's own.

        Raises:
            InferenceError: a tensor does not fit, or the runtime failed.
        """
        if self._session is None:
            raise InferenceError("the model is closed")
        if tensors:
            check(tensors, self._accepted)
            given = list(tensors)
        else:
            given = [self._buffer(index) for index in range(len(self._inputs))]
        feed = {spec.name: tensor for spec, tensor in zip(self._inputs, given, strict=True)}
        with _running():
            return tuple(self._session.run(None, feed))

    def close(self) -> None:
        """Give the memory back. Idempotent."""
        self._session = None
        self._buffers = [None] * len(self._inputs)

    def _buffer(self, index: int) -> Array:
        buffer = self._buffers[index]
        if buffer is None:
            spec = self._inputs[index]
            if not is_fixed(spec):
                raise InferenceError(f"input {spec.name!r} has free dimensions; give its tensor to run")
            # The session reads a contiguous CPU array in place, so this is the engine's own memory.
            buffer = self._buffers[index] = np.zeros(spec.shape, spec.dtype)
        return buffer


@cache
def _saturates(cpuinfo: Path) -> bool:
    """Whether this processor adds up products of int8 in 16 bits, which overflow: x86 without VNNI.

    The same file scored 17.7 dB there and 40.1 dB with exact kernels. Unreadable flags count as "without".
    """
    if os.uname().machine != "x86_64":
        return False
    try:
        with cpuinfo.open("rb") as file:
            flags = next((line for line in file if line.startswith(b"flags")), b"")
    except OSError:
        flags = b""
    return _VNNI.isdisjoint(flags.split())


def _session(onnxruntime: Any, content: bytes, threads: int, *, is_exact: bool) -> Any:
    options = _options(onnxruntime, threads)
    if is_exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return onnxruntime.InferenceSession(content, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception:  # its exceptions share no base but this one
        if not is_exact:
            raise
    # A weight that two layers share cannot be opened so ("AddInitializedOrtValue Attempt to replace the existing
    # tensor", and other words in other versions). Without the fusions into integer kernels it is exact, and slower.
    options = _options(onnxruntime, threads)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(content, sess_options=options, providers=["CPUExecutionProvider"])


def _options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _LOG_FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _batch_of(inputs: Sequence[Any]) -> str | None:
    """The name of the free leading dimension of the first input: "" for none, None for one without a name."""
    if not inputs or not inputs[0].shape:
        return ""
    first = inputs[0].shape[0]
    return "" if isinstance(first, int) else first


def _spec(node: Any, *, batch: str | None) -> TensorSpec:
    """An input or output; a leading dimension called `batch` counts as 1, any other free dimension is -1."""
    if node.type not in _DTYPES:
        raise ModelError(f"{node.name!r} is a {node.type}; only tensors of numbers are supported")
    shape = [size if isinstance(size, int) and size >= 0 else -1 for size in node.shape]
    if shape and shape[0] < 0 and node.shape[0] == batch:
        shape[0] = 1
    return TensorSpec(name=node.name, shape=tuple(shape), dtype=np.dtype(_DTYPES[node.type]))


def _first_line(err: BaseException) -> str:
    lines = str(err).strip().splitlines()
    return _CODE.sub("", lines[0])[:_LONGEST_COMPLAINT] if lines else type(err).__name__


@contextmanager
def _opening(runtime: str) -> Iterator[None]:
    try:
        yield
    except Exception as err:  # its exceptions share no base but this one
        if "external data" in str(err).lower() or "model_path must not be empty" in str(err):
            raise ModelError(
                "the ONNX model keeps its weights in another file; save it as one file "
                "(onnx.save(model, path, save_as_external_data=False))"
            ) from err
        raise ModelError(f"{runtime} refuses the model: {_first_line(err)}") from err


@contextmanager
def _running() -> Iterator[None]:
    try:
        yield
    except Exception as err:  # its exceptions share no base but this one
        raise InferenceError(f"ONNX Runtime failed: {_first_line(err)}") from err
