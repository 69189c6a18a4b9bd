"""The libraries that train: opened when a recipe needs them, and set up so that training can be repeated.

Promises: one random seed, deterministic kernels, a fixed number of threads: on one machine and one set of versions the
same recipe gives the same weights. A library that is absent is one sentence with the command that adds it.
Leaves out: training (`torch_training`, `keras_training`).
Thread: main; the settings hold for the whole process.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, TypeAlias

from edge.errors import MissingExtraError

__all__ = ["SEED", "Network", "open_keras", "open_sklearn", "open_torch"]

Network: TypeAlias = Any  # a torch module or a Keras model

SEED = 20


def open_torch(*, threads: int = 1) -> Any:
    """PyTorch, seeded. `threads`: 1 is the fastest for networks of a few thousand weights.

    Raises:
        MissingExtraError: it is not installed.
    """
    # Threads that wait by spinning take seven times as long where something else wants the cores too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch = _open("torch", "torch", "torch")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a tenth of the time, and nothing reads it
    torch.manual_seed(SEED)
    return torch


def open_keras(*, threads: int = 1) -> Any:
    """Keras, seeded, with layer names counted from the start; on PyTorch unless `KERAS_BACKEND` says otherwise.

    Raises:
        MissingExtraError: it, or PyTorch below it, is not installed.
    """
    if os.environ.setdefault("KERAS_BACKEND", "torch") == "torch":
        open_torch(threads=threads)
    keras = _open("keras", "keras", "torch")
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(SEED)
    return keras


def open_sklearn(module: str) -> Any:
    """A module of scikit-learn, "datasets" for one.

    Raises:
        MissingExtraError: it is not installed.
    """
    return _open(f"sklearn.{module}", "scikit-learn", "sklearn")


def _open(module: str, what: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as err:
        if err.name is not None and err.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is there, and broken
        raise MissingExtraError(what, extra) from err
