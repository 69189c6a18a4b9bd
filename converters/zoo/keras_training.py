"""Trains Keras models the way most people do: compile, fit.

Promises: fixed seeds, a fixed number of threads: on one machine and one set of versions, the same call gives the same
weights; what comes back has no optimizer in it.
Leaves out: data and the shape of networks, which are the recipes'.
Thread: main.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from converters.zoo.course import Course
from converters.zoo.frameworks import Network, open_keras
from edge.compute.tensors import Array

__all__ = ["answers", "fit"]

_BATCH = 256
_SLOWEST = 0.05  # share of the rate that a warm-up starts from


def fit(make: Callable[[Any], Network], inputs: Array, classes: Array, course: Course, *, threads: int = 1) -> Network:
    """Train a fresh classifier.

    Args:
        make: gives the network for the `keras` module; its last layer is a softmax, or one sigmoid.
        inputs: (n, ...) float32 or int32.
        classes: (n,) int64.
        course: how.
        threads: processor threads; another number gives other weights.

    Raises:
        MissingExtraError: Keras is not installed.
    """
    keras = open_keras(threads=threads)
    model = make(keras)
    width = model.output_shape[-1]
    losses = keras.losses
    loss_of = losses.BinaryCrossentropy if width == 1 else losses.CategoricalCrossentropy
    truth = classes[:, None].astype(np.float32) if width == 1 else np.eye(width, dtype=np.float32)[classes]
    steps = course.epochs * -(-len(inputs) // course.batch)
    optimizer = keras.optimizers.AdamW(_schedule(keras, course, steps), weight_decay=course.decay)
    model.compile(optimizer=optimizer, loss=loss_of(label_smoothing=course.smoothing))
    tell = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print(f"  epoch {epoch + 1:3d} of {course.epochs}: loss {logs['loss']:.4f}")
    )
    model.fit(inputs, truth, batch_size=course.batch, epochs=course.epochs, verbose=0, callbacks=[tell])
    keras.utils.clear_session(free_memory=False)
    bare = make(keras)
    bare.set_weights(model.get_weights())
    return bare


def answers(model: Network, inputs: Array) -> Array:
    """What the model makes of `inputs` (n, ...), one row each."""
    return np.asarray(model.predict(inputs, batch_size=_BATCH, verbose=0))


def _schedule(keras: Any, course: Course, steps: int) -> Any:
    decay = keras.optimizers.schedules.CosineDecay
    warmup = round(course.warmup * steps)
    if not warmup:
        return decay(course.rate, steps)
    return decay(course.rate * _SLOWEST, steps - warmup, warmup_target=course.rate, warmup_steps=warmup)
