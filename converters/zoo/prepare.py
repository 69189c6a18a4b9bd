"""Pictures and texts as a model takes them: the device's own code, run on training data.

Promises: what a network is trained on is what the device will hand it: `edge.compute` runs the manifest's steps here,
and nothing else does.
Leaves out: reading data (`datasets`).
Thread: main.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edge.compute.steps import compile_steps
from edge.compute.tensors import Array, TensorSpec
from edge.compute.text import compile_text
from edge.contract.manifest import ImageInput, TextInput

__all__ = ["prepare_pictures", "prepare_texts"]


def prepare_pictures(spec: ImageInput, pictures: Array, shape: tuple[int, ...]) -> Array:
    """Run a manifest's steps.

    `pictures`: uint8, (n, h, w) gray or (n, h, w, 3) RGB. Returns (n, *shape without its batch axis) float32.
    """
    steps = compile_steps(spec, TensorSpec(name="input", shape=shape, dtype=np.dtype(np.float32)))
    made: Array = np.empty((len(pictures), *shape[1:]), np.float32)
    for row, picture in enumerate(pictures):
        steps.write(_as_bgr(picture), made[row : row + 1])
    return made


def _as_bgr(picture: Array) -> Array:
    is_gray = picture.ndim == 2  # noqa: PLR2004 - height and width
    return np.ascontiguousarray(np.repeat(picture[..., None], 3, axis=2) if is_gray else picture[..., ::-1])


def prepare_texts(
    spec: TextInput, texts: Iterable[str], tensor: TensorSpec, files: Mapping[str, bytes] | None = None
) -> Array:
    """Run a manifest's tokenizer: (n, length) of the dtype of `tensor`, the model's only input.

    `files`: the vocabulary by the name that the manifest uses.
    """
    prepare = compile_text(spec, files or {}, (tensor,))
    return np.concatenate([prepare(text)[0] for text in texts])
