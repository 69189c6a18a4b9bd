"""Made-up rows of numbers that a dense network can learn, and not to perfection.

Promises: the same seed gives the same rows from one version of NumPy.
Leaves out: networks.
Thread: any; pure.
"""

from __future__ import annotations

import numpy as np

from converters.zoo.datasets import Rows
from edge.compute.tensors import Array

__all__ = ["draw_blobs"]

_WRONG_SHARE = 0.02  # of labels


def draw_blobs(
    *, features: int, informative: int, classes: int, clusters: int, spread: float, train: int, test: int, seed: int
) -> Rows:
    """Clusters of points, `clusters` for each class, around random corners of a cube in `informative` dimensions.

    The other features are mixtures of the informative ones, and noise. `spread` is the clusters' width where the
    cube's half side is 1. Features have mean 0 and deviation 1 over the training rows; some labels are wrong.
    Returns x (n, features) float32.
    """
    random = np.random.default_rng(seed)
    count = train + test
    corners = _corners(random, informative, classes * clusters)
    cluster = random.integers(0, classes * clusters, count)
    core = corners[cluster] + spread * random.standard_normal((count, informative))
    mixed = core @ random.standard_normal((informative, (features - informative) // 2)) / np.sqrt(informative)
    noise = random.standard_normal((count, features - informative - mixed.shape[1]))
    x = np.concatenate([core, mixed, noise], axis=1)[:, random.permutation(features)]
    x = (x - x[:train].mean(axis=0)) / x[:train].std(axis=0)
    y = cluster % classes
    wrong = random.random(count) < _WRONG_SHARE
    y[wrong] = random.integers(0, classes, int(wrong.sum()))
    x = x.astype(np.float32)
    return Rows(train_x=x[:train], train_y=y[:train], test_x=x[train:], test_y=y[train:])


def _corners(random: np.random.Generator, dimensions: int, count: int) -> Array:
    """Different corners of the cube from -1 to 1."""
    numbers = random.choice(1 << dimensions, count, replace=False)
    bits = (numbers[:, None] >> np.arange(dimensions)) & 1
    return np.asarray(2.0 * bits - 1.0)
