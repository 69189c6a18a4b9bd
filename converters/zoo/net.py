"""Small networks: their shape, their training, and their float exports.

Promises: one thread, fixed seeds, deterministic kernels: on one machine and one set of versions, the same call gives
the same weights. Exports have batch 1 and carry no trace of the folder they were made in.
Leaves out: data (`digits`, `topics`) and integers (`quantize`).
Thread: main.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge.compute.tensors import Array

__all__ = ["Course", "digits", "onnx_float", "tflite_float", "topics", "train"]

_SEED = 20


def digits() -> nn.Module:
    """The classic: Conv2D 32, pool, Conv2D 64, pool, Dense 128, ten classes. (n, 28, 28, 1) float -1..1 -> (n, 10).

    The single channel makes NHWC and NCHW the same memory, so that both files take the same tensor.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 5 * 5, 128),
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.Linear(128, 10),
    )


def topics(buckets: int, hidden: int, classes: int) -> nn.Module:
    """A bag of hashed n-grams through one small hidden layer. (n, buckets) float -> (n, classes)."""
    return nn.Sequential(
        nn.Dropout(0.3), nn.Linear(buckets, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, classes)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long and how hard to train."""

    epochs: int
    batch: int = 64
    rate: float = 2e-3
    decay: float = 1e-4
    smoothing: float = 0.05


def train(make: Callable[[], nn.Module], draw: Callable[[int], tuple[Array, Array]], course: Course) -> nn.Module:
    """Train a fresh network with AdamW and a cosine schedule.

    `draw(epoch)` gives that epoch's inputs (n, ...) float32 and classes (n,) int64, in the order they are shown.
    Returns the network in evaluation mode.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(_SEED)
    net = make()
    optimizer = torch.optim.AdamW(net.parameters(), lr=course.rate, weight_decay=course.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, course.epochs)
    loss_of = nn.CrossEntropyLoss(label_smoothing=course.smoothing)
    for epoch in range(course.epochs):
        inputs, classes = (torch.from_numpy(np.ascontiguousarray(part)) for part in draw(epoch))
        total = 0.0
        for start in range(0, len(inputs), course.batch):
            optimizer.zero_grad()
            loss = loss_of(net(inputs[start : start + course.batch]), classes[start : start + course.batch])
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(inputs[start : start + course.batch])
        schedule.step()
        if (epoch + 1) % 10 == 0 or epoch == course.epochs - 1:
            print(f"  epoch {epoch + 1:3d} of {course.epochs}: loss {total / len(inputs):.4f}", flush=True)
    return net.eval()


def tflite_float(net: nn.Module, shape: tuple[int, ...]) -> bytes:
    """The network with a softmax behind it as a float32 TFLite file for inputs of `shape` (batch 1)."""
    import litert_torch

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.tflite"
        litert_torch.convert(_with_softmax(net), (torch.zeros(shape),)).export(str(path))
        return path.read_bytes()


def onnx_float(net: nn.Module, shape: tuple[int, ...]) -> bytes:
    """The same as a float32 ONNX file, opset 18, input `input`, output `scores`."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            _with_softmax(net),
            (torch.zeros(shape),),
            str(path),
            dynamo=True,
            external_data=False,
            opset_version=18,
            input_names=["input"],
            output_names=["scores"],
        )
        return path.read_bytes()


def _with_softmax(net: nn.Module) -> nn.Module:
    return nn.Sequential(net, nn.Softmax(dim=-1)).eval()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both exporters chat on stdout."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
