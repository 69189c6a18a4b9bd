"""Everything Pillow does for us; the only module that names it.

Promises: a missing Pillow is one sentence; a file Pillow refuses is one `MediaError`; pictures leave as BGR uint8.
Leaves out: files (`media`) and what OpenCV does faster (`picture`).
Thread: any; pure.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edge.compute.tensors import Array
from edge.errors import MediaError, MissingExtraError

__all__ = ["decode_with_pillow", "resize_with_pillow"]


def _pillow() -> Any:
    try:
        from PIL import Image, ImageOps
    except ImportError as err:
        raise MissingExtraError("Pillow", "vision") from err
    return Image, ImageOps


def resize_with_pillow(image: Array, width: int, height: int) -> Array:
    """Pillow's BILINEAR resize of a uint8 (h, w) or (h, w, 3) picture; the result is read-only.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    module, _ = _pillow()
    return np.asarray(module.fromarray(image).resize((width, height), module.Resampling.BILINEAR))


def decode_with_pillow(content: bytes, *, most_pixels: int) -> Array:
    """First frame of a picture file, upright, as uint8 (h, w, 3) BGR; transparency lies on white.

    Raises:
        MediaError: not a picture, damaged, or larger than `most_pixels`.
        MissingExtraError: Pillow is not installed.
    """
    module, operations = _pillow()
    try:
        with _without_warnings(), module.open(io.BytesIO(content)) as file:
            if file.width * file.height > most_pixels:
                raise MediaError(f"the picture, {file.width}x{file.height}, is above the limit of {most_pixels} pixels")
            # A PNG holds 16 bits at most, and Pillow has called them 32 until version 11.
            is_16_bit = file.mode.startswith("I;16") or (file.mode == "I" and file.format == "PNG")
            return _to_bgr(operations.exif_transpose(file), module, is_16_bit=is_16_bit)
    except module.UnidentifiedImageError as err:
        raise MediaError("no picture format that is known here") from err
    except module.DecompressionBombError as err:
        raise MediaError(f"the picture is above the limit of {most_pixels} pixels") from err
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError, KeyError) as err:
        raise MediaError(f"damaged picture ({err})") from err


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns of sizes that we refuse ourselves, and of odd EXIF; from `open` on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _to_bgr(picture: Any, module: Any, *, is_16_bit: bool) -> Array:
    if picture.mode.startswith("I") or picture.mode == "F":
        grey = np.asarray(picture).astype(np.float64)
        if is_16_bit or grey.max(initial=0) > np.iinfo(np.uint8).max:
            grey /= 257  # 16 bits: white is 65535, however dark this picture is
        elif picture.mode == "F" and grey.max(initial=0) <= 1:
            grey *= 255  # shares of white
        picture = module.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    if picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = module.new("RGBA", layer.size, "white")
        picture.alpha_composite(layer)
    return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])
