"""Two small networks with channels that stand out two hundredfold, and nothing else wrong with them.

Promises: trained on scikit-learn's digits in seconds, the same weights every time on one machine; the outliers are put
in afterwards by multiplying a channel and dividing whoever reads it, so that the float network answers as before;
quantised to int8, a tensor that holds such a channel has one step for all its others.
Leaves out: quantising (`converters`). Needs torch and scikit-learn.
Thread: main.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edge.compute.tensors import Array

__all__ = ["Digits", "accuracy", "depthwise", "digits", "transformer"]

_SEED = 20
_TEST = 400
_CONVOLVED, _ATTENDED = 250.0, 220.0  # how far the outliers stand out
_ROWS = 8  # of an image; each is a word of the transformer's sentence
_WIDTH = 64
_HEADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """`x` (n, 1, 8, 8) float32 0..1 and `y` (n,) int64, to train on and to test on."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array

    @property
    def calibration(self) -> Array:
        """A hundred of those trained on, (100, 1, 1, 8, 8): the leading axis counts samples."""
        return self.train_x[:100, None]


def digits() -> Digits:
    """Scikit-learn's 1797 digits, 400 of them to test on."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(_SEED).permutation(len(data.target))
    x = data.images.astype(np.float32)[:, None] / 16
    y = data.target.astype(np.int64)
    test, train = order[:_TEST], order[_TEST:]
    return Digits(train_x=x[train], train_y=y[train], test_x=x[test], test_y=y[test])


def accuracy(scores: Array, classes: Array) -> float:
    """Share of rows of (n, 10) scores whose largest is at the class."""
    return float((scores.reshape(len(classes), -1).argmax(axis=1) == classes).mean())


# -- depthwise


class _Block(nn.Module):
    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(narrow, narrow, 3, padding=1, groups=narrow)
        self.dw_norm = nn.BatchNorm2d(narrow)
        self.pw = nn.Conv2d(narrow, wide, 1)
        self.pw_norm = nn.BatchNorm2d(wide)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.pw_norm(self.pw(torch.relu(self.dw_norm(self.dw(x))))))

    def fuse(self) -> None:
        self.dw, self.dw_norm = fuse_conv_bn_eval(self.dw, self.dw_norm), nn.Identity()
        self.pw, self.pw_norm = fuse_conv_bn_eval(self.pw, self.pw_norm), nn.Identity()


class _Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.stem_norm = nn.BatchNorm2d(16)
        self.block1, self.block2, self.block3 = _Block(16, 32), _Block(32, 48), _Block(48, 64)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block1(torch.relu(self.stem_norm(self.stem(x))))
        x = self.block3(self.block2(self.pool(x)))
        return torch.softmax(self.head(x.mean((2, 3))), dim=-1)


def depthwise(data: Digits) -> nn.Module:
    """A depthwise-separable net, (1, 1, 8, 8) -> (1, 10), with an outlier behind four of its layers."""
    net = _trained(_Depthwise, data, epochs=8, rate=2e-2)
    net.stem, net.stem_norm = fuse_conv_bn_eval(net.stem, net.stem_norm), nn.Identity()
    for block in (net.block1, net.block2, net.block3):
        block.fuse()
    with torch.no_grad():
        for made, read in (
            (net.stem, net.block1.dw),
            (net.block1.dw, net.block1.pw),
            (net.block1.pw, net.block2.dw),
            (net.block2.dw, net.block2.pw),
        ):
            channel = int(made.weight.abs().amax((1, 2, 3)).argmax())  # one that is alive
            _scale_row(made, channel, _CONVOLVED)
            if read.groups > 1:
                read.weight[channel] /= _CONVOLVED
            else:
                read.weight[:, channel] /= _CONVOLVED
    return net


# -- transformer


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(_ROWS, _WIDTH)
        self.place = nn.Parameter(torch.randn(1, _ROWS, _WIDTH) * 0.1)
        self.q, self.k, self.v, self.out = (nn.Linear(_WIDTH, _WIDTH) for _ in range(4))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(_WIDTH) for _ in range(3))
        self.up, self.down = nn.Linear(_WIDTH, 2 * _WIDTH), nn.Linear(2 * _WIDTH, _WIDTH)
        self.head = nn.Linear(_WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x[:, 0]) + self.place
        y = self.norm1(x)
        q, k, v = (
            part(y).reshape(-1, _ROWS, _HEADS, _WIDTH // _HEADS).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        shares = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(_WIDTH // _HEADS), dim=-1)
        x = x + self.out((shares @ v).transpose(1, 2).reshape(-1, _ROWS, _WIDTH))
        x = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return torch.softmax(self.head(self.norm3(x).mean(1)), dim=-1)


def transformer(data: Digits) -> nn.Module:
    """One block of attention, (1, 1, 8, 8) -> (1, 10), with outliers in Q and K, and in V and what reads it."""
    net = _trained(_Transformer, data, epochs=15, rate=1e-2)
    with torch.no_grad():
        for channel in (5, 21, 40):
            _scale_row(net.v, channel, _ATTENDED)
            net.out.weight[:, channel] /= _ATTENDED
            _scale_row(net.q, channel, _ATTENDED)
            _scale_row(net.k, channel, 1 / _ATTENDED)
    return net


def _scale_row(layer: nn.Conv2d | nn.Linear, row: int, factor: float) -> None:
    layer.weight[row] *= factor
    layer.bias[row] *= factor


def _trained(make: Callable[[], nn.Module], data: Digits, *, epochs: int, rate: float, batch: int = 64) -> nn.Module:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    net = make()
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-3)
    steps = epochs * math.ceil(len(data.train_y) / batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    random = np.random.default_rng(_SEED)
    for _ in range(epochs):
        order = random.permutation(len(data.train_y))
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            scores = net(torch.from_numpy(data.train_x[chosen]))
            loss = nn.functional.nll_loss(torch.log(scores + 1e-9), torch.from_numpy(data.train_y[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    torch.set_num_threads(threads)
    return net.eval()
