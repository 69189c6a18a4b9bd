"""Has variants made, in child processes that stay for all variants of a format.

Promises: ranges are taken once for a float file and its samples; a child that died of one recipe is started anew for
the next; nothing is started that memory is too short for.
Leaves out: how variants are made (`emit`), which (`climb`).
Thread: main.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from converters.emit import onnx, tflite
from converters.emit.rangefile import Range, read_ranges
from converters.emit.ranges import Collected, CollectRequest
from converters.graph.groups import groups
from converters.ladder.bench import Built
from converters.load.memory import available_bytes, require
from converters.spec import FloatFile, Group, Recipe, Scheme
from edge.child import Child
from edge.clock import Clock

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FormatBuilder"]

_Answer = TypeVar("_Answer", bound=Struct)
_MODULES = {"tflite": "converters.emit.tflite", "onnx": "converters.emit.onnx"}

# Measured with VGG16 and with dense layers of 190 MB: 4.4 and less, 2.9 to 3.6, 3.6 to 5.4.
_STATIC_FILES, _WEIGHT_FILES, _ONNX_FILES = 5, 3, 5


class FormatBuilder:
    """Makes the variants of one float file; a context manager. See `bench.Builder`."""

    def __init__(
        self,
        floats: FloatFile,
        samples: Path | None,
        folder: Path,
        *,
        memory_mb: int,
        timeout_s: float,
        clock: Clock,
        available: Callable[[], int | None] = available_bytes,
    ) -> None:
        """Take over a float file.

        Args:
            floats: the canonical file.
            samples: calibration samples in its axes, an `.npz`; None: no static recipes.
            folder: where ranges and logs go.
            memory_mb: private memory of the child, in units of 2^20 bytes.
            timeout_s: wall seconds for one variant.
            clock: for the time that a variant takes.
            available: says how many bytes of memory are free; None: nobody knows.
        """
        self._available = available()  # before the child takes its own
        self._floats = floats
        self._samples = "" if samples is None else str(samples)
        self._ranges = folder / f"ranges-{floats.format}.json"
        self._log = folder / f"build-{floats.format}.log"
        self._memory_mb = memory_mb
        self._timeout_s = timeout_s
        self._clock = clock
        self._stack = ExitStack()
        self._child: Child | None = None
        self._has_ranges = False

    def build(self, recipe: Recipe, target: Path) -> Built:
        """See `bench.Builder`.

        Raises:
            OutOfMemoryError: memory is too short, or ran out.
        """
        began_s = self._clock.monotonic_s()
        model, output = self._floats.path, str(target)
        if recipe.scheme in {Scheme.FLOAT32, Scheme.GIVEN}:
            target.unlink(missing_ok=True)
            os.link(model, target)  # the same file, which may be half a gigabyte
            return Built(notes=(), seconds=self._clock.monotonic_s() - began_s)
        needed = self._floats.size_bytes * _files_held(recipe)
        require(needed, f"making {recipe.name} of {Path(model).name}", self._available)
        if self._floats.format == "tflite":
            request = tflite.EmitRequest(
                model=model, recipe=recipe, output=output, ranges=self._collected(), samples=self._samples
            )
            notes = self._call("emit", request, tflite.Emitted).notes
        else:
            asked = onnx.EmitRequest(model=model, recipe=recipe, output=output, samples=self._samples)
            notes = self._call("emit", asked, onnx.Emitted).notes
        return Built(notes=notes, seconds=self._clock.monotonic_s() - began_s)

    def groups(self, *, is_equalized: bool) -> tuple[Group, ...]:
        """See `bench.Builder`. Ranges are those before equalization: they show what there was to even out."""
        if self._floats.format == "onnx":
            asked = onnx.GroupsRequest(model=self._floats.path, samples=self._samples, is_equalized=is_equalized)
            return self._call("look", asked, onnx.Grouped).groups
        found = groups(Path(self._floats.path).read_bytes())
        if not self._samples:
            return found
        ranges = read_ranges(self._collected(), self._floats.sha256).tensors
        return tuple(_with_range(group, ranges) for group in found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _collected(self) -> str:
        """Path of the ranges, taken the first time; "" without samples."""
        if self._samples and not self._has_ranges:
            request = CollectRequest(model=self._floats.path, samples=self._samples, output=str(self._ranges))
            self._call("collect", request, Collected)
            self._has_ranges = True
        return str(self._ranges) if self._samples else ""

    def _call(self, function: str, request: Struct, answer: type[_Answer]) -> _Answer:
        if self._child is None or not self._child.is_alive:
            self._stack.close()
            self._child = self._stack.enter_context(
                Child(
                    _MODULES[self._floats.format],
                    what=f"the {self._floats.format} quantizer",
                    memory_mb=self._memory_mb,
                    log=self._log,
                )
            )
        return self._child.call(function, request, answer, timeout_s=self._timeout_s)


def _files_held(recipe: Recipe) -> int:
    """Memory that making a variant takes, as a multiple of the float file."""
    if recipe.format == "onnx":
        return _ONNX_FILES
    return _STATIC_FILES if recipe.scheme is Scheme.STATIC else _WEIGHT_FILES


def _with_range(group: Group, ranges: Mapping[str, Range]) -> Group:
    """The group with the range of the tensor that stands out most."""
    seen = [ranges[name] for name in group.tensors if name in ranges]
    if not seen:
        return group
    worst = max(seen, key=lambda one: one.largest / one.p999 if one.p999 else 0.0)
    return replace(group, range_max=worst.largest, range_p999=worst.p999, histogram=worst.histogram)
