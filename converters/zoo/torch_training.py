"""Trains small PyTorch networks.

Promises: one thread, fixed seeds, deterministic kernels: on one machine and one set of versions, the same call gives
the same weights.
Leaves out: data and the shape of networks, which are the recipes'.
Thread: main.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from converters.zoo.course import Course
from converters.zoo.frameworks import Network, open_torch
from edge.compute.tensors import Array

__all__ = ["answers", "count_parameters", "train"]

_BATCH = 512
_TELL_EVERY = 10  # epochs


def train(make: Callable[[], Network], draw: Callable[[int], tuple[Array, Array]], course: Course) -> Network:
    """Train a fresh classifier, and put a softmax behind it.

    `make()` gives a network from (n, ...) float32 to (n, classes) logits; `draw(epoch)` that epoch's inputs and
    classes (n,) int64, in the order they are shown. Returns the network in evaluation mode.

    Raises:
        MissingExtraError: PyTorch is not installed.
    """
    torch = open_torch()
    net = make()
    optimizer = torch.optim.AdamW(net.parameters(), lr=course.rate, weight_decay=course.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, course.epochs)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=course.smoothing)
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
        if (epoch + 1) % _TELL_EVERY == 0 or epoch == course.epochs - 1:
            print(f"  epoch {epoch + 1:3d} of {course.epochs}: loss {total / len(inputs):.4f}", flush=True)
    return torch.nn.Sequential(net, torch.nn.Softmax(dim=-1)).eval()


def answers(net: Network, inputs: Array) -> Array:
    """What the network makes of `inputs` (n, ...), one row each."""
    torch = open_torch()
    with torch.inference_mode():
        parts = [
            net(torch.from_numpy(np.ascontiguousarray(inputs[start : start + _BATCH]))).numpy()
            for start in range(0, len(inputs), _BATCH)
        ]
    return np.concatenate(parts)


def count_parameters(net: Network) -> int:
    """Trained numbers."""
    return sum(int(part.numel()) for part in net.parameters())
