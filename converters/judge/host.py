"""Where figures are taken: the processor, and the tools.

Promises: only what changes a figure is told: flags of integer arithmetic, versions of the converter's own libraries
that are installed; nothing is imported to find out.
Leaves out: what the figures are; other machines (`edge probe` on the board).
Thread: any; reads /proc once a call.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from converters.spec import Host

__all__ = ["host"]

_CPUINFO = Path("/proc/cpuinfo")
_MODEL = Path("/proc/device-tree/model")  # "Raspberry Pi 5 Model B Rev 1.0", with a zero at the end
# Widest registers, products of int8 in 32 bits, half precision; by x86, by 64-bit ARM, by 32-bit ARM.
_FLAGS = (
    "avx2", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "avx512_bf16", "avx512_fp16",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2",
    "neon", "vfpv4",
)  # fmt: skip
_TOOLS = (
    "ai-edge-litert", "ai-edge-quantizer", "h5py", "keras", "litert-converter", "litert-quantizer", "litert-torch",
    "numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "onnxslim", "protobuf", "scikit-learn", "skl2onnx",
    "skops", "tensorflow", "tensorflow-cpu", "tf2onnx", "tflite-runtime", "torch", "torchao",
)  # fmt: skip


def host(cpuinfo: Path = _CPUINFO) -> Host:
    """This machine; `cpuinfo` is where the processor describes itself."""
    lines = _read(cpuinfo).splitlines()
    fields = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]
    known = {value for key, values in fields if key in {"flags", "Features"} for value in values.split()}
    named = next((value for key, value in fields if key in {"model name", "Model"} and value), "")
    board = _read(_MODEL).rstrip("\0\n") if cpuinfo == _CPUINFO else ""
    return Host(
        processor=board or named or platform.machine(),
        cores=os.cpu_count() or 1,
        flags=tuple(flag for flag in _FLAGS if flag in known),
        python=platform.python_version(),
        tools={tool: found for tool in _TOOLS if (found := _version(tool))},
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:  # another system
        return ""


def _version(tool: str) -> str:
    try:
        return version(tool)
    except PackageNotFoundError:
        return ""
