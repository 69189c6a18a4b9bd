"""Run a manifest's steps: from a BGR frame to the model's input tensor.

Promises: geometry comes first and colours are swapped on the small picture, never on the frame; scale, mean, std and
quantisation are one 256-entry table a channel, worked out once; the result is written straight into the array it is
given; buffers are reused from one picture to the next.
Leaves out: the arithmetic of sizes (`resize`), reading files (`media`), what an answer means (`decode`).
Thread: a `Preparation` belongs to one thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np

from edge.compute.locate import locate
from edge.compute.placement import Placement
from edge.compute.resize import resize
from edge.compute.sobel import binary_edges, magnitude
from edge.compute.tables import compile_tables
from edge.compute.tensors import Array, TensorSpec
from edge.contract.manifest import (
    CenterCrop,
    Channels,
    Color,
    Gray,
    ImageInput,
    Layout,
    Letterbox,
    Locate,
    Normalize,
    Resize,
    Scale,
    Sobel,
)
from edge.contract.messages import Box
from edge.errors import InferenceError, ManifestError

__all__ = ["Placement", "Preparation", "compile_steps"]

_PictureStep: TypeAlias = Locate | Resize | Letterbox | CenterCrop | Gray | Sobel
_COLORS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What the steps leave; a size of None depends on the frame."""

    channels: int
    width: int | None
    height: int | None


class Preparation:
    """One model's way from frame to tensor. Made by `compile_steps`."""

    def __init__(self, spec: ImageInput, tensor: TensorSpec) -> None:
        self._steps, numbers = _split(spec)
        self._is_gray = spec.color is Color.GRAY
        self._shape = _trace(spec.color, self._steps)
        self._layout = _layout(spec, tensor, self._shape.channels)
        _check_tensor(tensor, self._shape, self._layout)
        self._tensor = tensor
        self._swaps = spec.color is Color.RGB and self._shape.channels >= _COLORS
        self._tables = compile_tables(numbers, self._shape.channels, tensor)
        self._planes: Array = np.empty((0, 0), np.uint8)

    def __call__(self, image: Array) -> tuple[Array, Placement]:
        """Prepare into a new array of the tensor's shape, free dimensions filled in.

        Args:
            image: uint8 (height, width, 3), BGR.

        Raises:
            InferenceError: see `write`.
        """
        picture, placement = self._picture(image)
        height, width = picture.shape[:2] if placement.is_found else (self._shape.height or 1, self._shape.width or 1)
        count = self._shape.channels
        shape = (1, height, width, count) if self._layout is Channels.NHWC else (1, count, height, width)
        if -1 not in self._tensor.shape:
            shape = self._tensor.shape  # type: ignore[assignment]  # any rank
        out: Array = np.empty(shape, self._tensor.dtype)
        self._put(picture, out, placement)
        return out, placement

    def write(self, image: Array, out: Array) -> Placement:
        """Prepare straight into `out`, which has the tensor's shape and dtype and is C-contiguous.

        Args:
            image: uint8 (height, width, 3), BGR; not written to.
            out: an engine's own memory; every element is set.

        Raises:
            InferenceError: the picture is no BGR picture, is too small for a crop, or has the wrong size for a model
                whose manifest does not resize.
        """
        picture, placement = self._picture(image)
        self._put(picture, out, placement)
        return placement

    def _picture(self, image: Array) -> tuple[Array, Placement]:
        """Run the steps that work on pixels; the channels of the result are still in BGR order."""
        if image.dtype != np.uint8 or image.ndim != _COLORS or image.shape[2] != _COLORS or image.size == 0:
            raise InferenceError(f"expected a uint8 BGR picture (height, width, 3), got {image.dtype} {image.shape}")
        height, width = image.shape[:2]
        placement = Placement(width_px=width, height_px=height, input_width_px=width, input_height_px=height)
        picture: Array = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if self._is_gray else image
        for step in self._steps:
            picture, placement = _apply(step, picture, placement)
            if not placement.is_found:
                break
        return picture, placement

    def _put(self, picture: Array, out: Array, placement: Placement) -> None:
        if not placement.is_found:
            out.fill(0)
            return
        height, width = picture.shape[:2]
        count = self._shape.channels
        if out.size != height * width * count:
            raise InferenceError(
                f"the picture is {width}x{height} after the manifest's steps and the model wants "
                f"{tuple(out.shape)}; a resize step is missing"
            )
        if self._layout is Channels.NHWC:
            self._put_interleaved(picture, out.reshape(height, width, count))
        else:
            self._put_planes(picture, out.reshape(count, height, width))

    def _put_interleaved(self, picture: Array, out: Array) -> None:
        if self._swaps:
            target = out if self._tables.is_identity else self._buffer(picture)
            picture = _swap(picture, target)
        if picture is not out:
            self._tables.apply(picture.reshape(out.shape), out)

    def _put_planes(self, picture: Array, out: Array) -> None:
        count = out.shape[0]
        if count == 1:
            self._tables.apply_plane(0, picture.reshape(out.shape[1:]), out[0])
            return
        plane = self._buffer(out[0])
        for channel in range(count):
            source = _COLORS - 1 - channel if self._swaps and channel < _COLORS else channel
            self._tables.apply_plane(channel, cv2.extractChannel(picture, source, dst=plane), out[channel])

    def _buffer(self, like: Array) -> Array:
        if self._planes.shape != like.shape:
            self._planes = np.empty(like.shape, np.uint8)
        return self._planes


def compile_steps(spec: ImageInput, tensor: TensorSpec) -> Preparation:
    """Turn a manifest's image input into a callable for the input `tensor`.

    Raises:
        ManifestError: steps in an order that has no meaning, or a picture that does not fit the tensor.
    """
    return Preparation(spec, tensor)


def _split(spec: ImageInput) -> tuple[tuple[_PictureStep, ...], tuple[Scale | Normalize, ...]]:
    pictures: list[_PictureStep] = []
    numbers: list[Scale | Normalize] = []
    for place, step in enumerate(spec.steps):
        if isinstance(step, Layout):
            if place != len(spec.steps) - 1:
                raise ManifestError("manifest steps: layout must be the last step")
        elif isinstance(step, Scale | Normalize):
            numbers.append(step)
        elif numbers:
            name = type(step).__name__.lower()
            raise ManifestError(f"manifest steps: {name} works on pixels and must stand before scale and normalize")
        elif isinstance(step, Locate) and place:
            raise ManifestError("manifest steps: locate must be the first step")
        else:
            pictures.append(step)
    return tuple(pictures), tuple(numbers)


def _trace(color: Color, steps: tuple[_PictureStep, ...]) -> _Shape:
    shape = _Shape(channels=1 if color is Color.GRAY else _COLORS, width=None, height=None)
    for step in steps:
        match step:
            case Resize() | Letterbox():
                shape = replace(shape, width=_size(step.width), height=_size(step.height))
            case Locate():
                pass  # the frame decides
            case CenterCrop():
                side = None if shape.width is None or shape.height is None else min(shape.width, shape.height)
                shape = replace(shape, width=step.width or side, height=step.height or side)
            case Gray():
                shape = replace(shape, channels=1)
            case Sobel(mode="extra"):
                shape = replace(shape, channels=shape.channels + 1)
            case Sobel():
                shape = replace(shape, channels=1)
    return shape


def _size(pixels: int) -> int:
    if pixels < 1:
        raise ManifestError(f"manifest steps: a size of {pixels} pixels cannot be; expected 1 or more")
    return pixels


def _layout(spec: ImageInput, tensor: TensorSpec, channels: int) -> Channels:
    if spec.steps and isinstance(spec.steps[-1], Layout):
        return spec.steps[-1].channels
    if tensor.shape and tensor.shape[-1] == channels:
        return Channels.NHWC
    is_planar = len(tensor.shape) > _COLORS - 1 and tensor.shape[-3] == channels
    return Channels.NCHW if is_planar else Channels.NHWC


def _check_tensor(tensor: TensorSpec, shape: _Shape, layout: Channels) -> None:
    if shape.width is None or shape.height is None or -1 in tensor.shape:
        return  # the frame decides; `write` looks
    sides = (shape.height, shape.width)
    made = (*sides, shape.channels) if layout is Channels.NHWC else (shape.channels, *sides)
    if tuple(n for n in made if n != 1) != tuple(n for n in tensor.shape if n != 1):
        axes = "height, width, channels" if layout is Channels.NHWC else "channels, height, width"
        raise ManifestError(f"manifest steps make {made} ({axes}), but input {tensor.name!r} wants {tensor.shape}")


def _apply(step: _PictureStep, picture: Array, placement: Placement) -> tuple[Array, Placement]:
    match step:
        case Locate():
            return _locate(step, picture, placement)
        case Resize():
            picture = resize(picture, step.width, step.height, step.interpolation)
            return picture, replace(placement, input_width_px=step.width, input_height_px=step.height)
        case Letterbox():
            return _letterbox(step, picture, placement)
        case CenterCrop():
            return _crop(step, picture, placement)
        case Gray():
            gray = picture if picture.ndim < _COLORS else cv2.cvtColor(picture[:, :, :_COLORS], cv2.COLOR_BGR2GRAY)
            return gray, placement
        case Sobel():
            return _sobel(step, picture), placement


def _letterbox(step: Letterbox, picture: Array, placement: Placement) -> tuple[Array, Placement]:
    height, width = picture.shape[:2]
    ratio = min(step.width / width, step.height / height)
    inner_width, inner_height = max(1, round(width * ratio)), max(1, round(height * ratio))
    left, top = (step.width - inner_width) // 2, (step.height - inner_height) // 2
    inner = resize(picture, inner_width, inner_height, step.interpolation)
    right, bottom = step.width - inner_width - left, step.height - inner_height - top
    fill = (step.fill,) * _COLORS
    padded = cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_CONSTANT, value=fill)
    return padded, replace(
        placement,
        input_width_px=step.width,
        input_height_px=step.height,
        scale_x=placement.scale_x * step.width / inner_width,
        scale_y=placement.scale_y * step.height / inner_height,
        offset_x=placement.offset_x - placement.scale_x * left / inner_width,
        offset_y=placement.offset_y - placement.scale_y * top / inner_height,
    )


def _locate(step: Locate, picture: Array, placement: Placement) -> tuple[Array, Placement]:
    region = locate(picture, step)
    if region is None:
        return picture, replace(placement, is_found=False)
    cropped, moved = _cut(picture, placement, region.x, region.y, region.width, region.height)
    left, top = moved.offset_x, moved.offset_y
    return cropped, replace(moved, region=Box(left, top, left + moved.scale_x, top + moved.scale_y))


def _crop(step: CenterCrop, picture: Array, placement: Placement) -> tuple[Array, Placement]:
    height, width = picture.shape[:2]
    side = min(width, height)
    new_width, new_height = step.width or side, step.height or side
    if new_width > width or new_height > height:
        raise InferenceError(f"the picture is {width}x{height} and the model crops {new_width}x{new_height} out of it")
    return _cut(picture, placement, (width - new_width) // 2, (height - new_height) // 2, new_width, new_height)


def _cut(
    picture: Array, placement: Placement, left: int, top: int, new_width: int, new_height: int
) -> tuple[Array, Placement]:
    height, width = picture.shape[:2]
    cropped = np.ascontiguousarray(picture[top : top + new_height, left : left + new_width])
    return cropped, replace(
        placement,
        input_width_px=new_width,
        input_height_px=new_height,
        scale_x=placement.scale_x * new_width / width,
        scale_y=placement.scale_y * new_height / height,
        offset_x=placement.offset_x + placement.scale_x * left / width,
        offset_y=placement.offset_y + placement.scale_y * top / height,
    )


def _sobel(step: Sobel, picture: Array) -> Array:
    color = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if picture.ndim < _COLORS else picture[:, :, :_COLORS]
    if step.output == "edges":
        edges = binary_edges(color, step.ksize, step.threshold)
    else:
        gray = picture if picture.ndim < _COLORS else cv2.cvtColor(color, cv2.COLOR_BGR2GRAY)
        edges = np.clip(np.rint(magnitude(gray, step.ksize)), 0, 255).astype(np.uint8)
    if step.mode == "replace":
        return edges
    return np.ascontiguousarray(np.dstack((picture, edges)))


def _swap(picture: Array, target: Array) -> Array:
    """Write the first three channels in the other order into `target`, and any further ones as they are."""
    if picture.shape[2] == _COLORS:
        swapped: Array = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=target)
        if swapped is target:
            return target
    np.copyto(target[:, :, :_COLORS], picture[:, :, 2::-1])
    np.copyto(target[:, :, _COLORS:], picture[:, :, _COLORS:])
    return target
