"""The compiled steps against the plain arithmetic they stand for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from edge.compute.detect import compile_detect
from edge.compute.placement import Placement
from edge.compute.resize import resize
from edge.compute.sobel import binary_edges
from edge.compute.steps import compile_steps
from edge.compute.tensors import Array, Quantization, TensorSpec
from edge.contract.manifest import (
    CenterCrop,
    Channels,
    Color,
    Detect,
    DetectFormat,
    Gray,
    ImageInput,
    Interpolation,
    Layout,
    Letterbox,
    Locate,
    Normalize,
    Resize,
    Scale,
    Sobel,
    Step,
)
from edge.errors import InferenceError, ManifestError

_RNG = np.random.default_rng(7)
_FRAME: Array = cv2.resize(_RNG.integers(0, 256, (27, 48, 3), dtype=np.uint8), (96, 54), interpolation=cv2.INTER_CUBIC)


def _tensor(*shape: int, dtype: type = np.float32, scale: float | None = None, zero: int = 0) -> TensorSpec:
    quantization = None if scale is None else Quantization(scale=scale, zero_point=zero)
    return TensorSpec(name="image", shape=shape, dtype=np.dtype(dtype), quantization=quantization)


def _input(*steps: Step, color: Color = Color.RGB) -> ImageInput:
    return ImageInput(color=color, steps=steps)


def _pillow(image: Array, width: int, height: int) -> Array:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(("width", "height"), [(30, 30), (96, 20), (7, 54), (200, 100), (1, 1)])
def test_antialias_is_bit_for_bit_pillows_bilinear(width: int, height: int) -> None:
    assert (resize(_FRAME, width, height, Interpolation.ANTIALIAS) == _pillow(_FRAME, width, height)).all()


def test_a_picture_of_the_right_size_is_not_copied() -> None:
    assert resize(_FRAME, 96, 54, Interpolation.ANTIALIAS) is _FRAME


@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_every_interpolation_gives_the_size_that_was_asked_for(interpolation: Interpolation) -> None:
    assert resize(_FRAME, 31, 17, interpolation).shape == (17, 31, 3)


def test_raw_pixels_go_into_a_uint8_tensor_as_rgb() -> None:
    prepare = compile_steps(
        _input(Resize(width=30, height=20)), _tensor(1, 20, 30, 3, dtype=np.uint8, scale=1 / 128, zero=128)
    )
    out = np.full((1, 20, 30, 3), 7, np.uint8)
    prepare.write(_FRAME, out)
    assert (out[0] == _pillow(_FRAME, 30, 20)[:, :, ::-1]).all()


def test_an_int8_tensor_without_numbers_in_the_manifest_takes_pixels_minus_128() -> None:
    prepare = compile_steps(
        _input(Resize(width=30, height=20)), _tensor(1, 20, 30, 3, dtype=np.int8, scale=1.0, zero=-128)
    )
    out, _ = prepare(_FRAME)
    assert (out[0] == _pillow(_FRAME, 30, 20)[:, :, ::-1].astype(np.int16) - 128).all()


def test_normalisation_that_cancels_against_the_quantisation_leaves_raw_pixels() -> None:
    spec = _input(Resize(width=30, height=20), Normalize(mean=(127.5,), std=(127.5,)))
    out, _ = compile_steps(spec, _tensor(1, 20, 30, 3, dtype=np.uint8, scale=1 / 128, zero=128))(_FRAME)
    assert (out[0] == _pillow(_FRAME, 30, 20)[:, :, ::-1]).all()


def test_mean_and_std_apply_channel_by_channel_in_the_models_order() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    spec = _input(
        Resize(width=30, height=20),
        Scale(factor=1 / 255),
        Normalize(mean=mean, std=std),
        Layout(channels=Channels.NCHW),
    )
    want = (_pillow(_FRAME, 30, 20)[:, :, ::-1] / 255 - np.array(mean)) / np.array(std)
    planar, _ = compile_steps(spec, _tensor(1, 3, 20, 30))(_FRAME)
    assert planar[0] == pytest.approx(want.transpose(2, 0, 1), abs=1e-6)
    spec = _input(Resize(width=30, height=20), Scale(factor=1 / 255), Normalize(mean=mean, std=std))
    interleaved, _ = compile_steps(spec, _tensor(1, 20, 30, 3))(_FRAME)
    assert interleaved[0] == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.int32, np.int64, np.uint16])
def test_any_number_type_can_be_filled(dtype: type) -> None:
    for shape in ((1, 20, 30, 3), (1, 3, 20, 30)):
        out, _ = compile_steps(_input(Resize(width=30, height=20)), _tensor(*shape, dtype=dtype))(_FRAME)
        assert out.dtype == dtype
        plain = out[0] if shape[-1] == 3 else out[0].transpose(1, 2, 0)
        assert (plain == _pillow(_FRAME, 30, 20)[:, :, ::-1]).all()


def test_a_bgr_model_gets_bgr() -> None:
    out, _ = compile_steps(_input(color=Color.BGR), _tensor(1, 54, 96, 3, dtype=np.uint8))(_FRAME)
    assert (out[0] == _FRAME).all()


def test_a_gray_model_gets_one_channel_with_or_without_its_axis() -> None:
    want = _pillow(cv2.cvtColor(_FRAME, cv2.COLOR_BGR2GRAY), 28, 28)
    for shape in ((1, 28, 28, 1), (1, 1, 28, 28), (1, 28, 28), (28, 28)):
        spec = _input(Resize(width=28, height=28), color=Color.GRAY)
        out, _ = compile_steps(spec, _tensor(*shape, dtype=np.uint8))(_FRAME)
        assert out.shape == shape
        assert (out.reshape(28, 28) == want).all()


def test_a_gray_step_after_the_resize_works_on_the_small_picture() -> None:
    spec = _input(Resize(width=30, height=20), Gray())
    out, _ = compile_steps(spec, _tensor(1, 20, 30, 1, dtype=np.uint8))(_FRAME)
    assert (out[0, :, :, 0] == cv2.cvtColor(_pillow(_FRAME, 30, 20), cv2.COLOR_BGR2GRAY)).all()


def test_sobel_replaces_the_picture_or_is_one_more_channel() -> None:
    small = _pillow(_FRAME, 30, 20)
    edges = binary_edges(np.ascontiguousarray(small), 5, 100.0)
    alone, _ = compile_steps(_input(Resize(width=30, height=20), Sobel()), _tensor(1, 20, 30, 1, dtype=np.uint8))(
        _FRAME
    )
    assert (alone[0, :, :, 0] == edges).all()
    spec = _input(Resize(width=30, height=20), Sobel(mode="extra"))
    for shape in ((1, 20, 30, 4), (1, 4, 20, 30)):
        extra, _ = compile_steps(spec, _tensor(*shape, dtype=np.uint8))(_FRAME)
        plain = extra[0] if shape[-1] == 4 else extra[0].transpose(1, 2, 0)
        assert (plain[:, :, :3] == small[:, :, ::-1]).all()
        assert (plain[:, :, 3] == edges).all()


def test_sobel_magnitude_is_clipped_to_a_byte() -> None:
    spec = _input(Sobel(output="magnitude", ksize=3), color=Color.GRAY)
    out, _ = compile_steps(spec, _tensor(1, 54, 96, 1, dtype=np.uint8))(_FRAME)
    gray = cv2.cvtColor(_FRAME, cv2.COLOR_BGR2GRAY)
    length = np.hypot(cv2.Sobel(gray, cv2.CV_64F, 1, 0, ksize=3), cv2.Sobel(gray, cv2.CV_64F, 0, 1, ksize=3))
    assert np.abs(out[0, :, :, 0] - np.clip(length, 0, 255)).max() <= 1.0


def in_frame(placement: Placement, box: tuple[float, float, float, float]) -> tuple[float, ...]:
    """Where a detector's box, in shares of the model's view, comes out."""
    decode = compile_detect(Detect(format=DetectFormat.END2END), (), [_tensor(1, 1, 6)])
    (item,) = decode([np.array([[[*box, 0.9, 0.0]]], np.float32)], placement).items
    assert item.box is not None
    return item.box.x1, item.box.y1, item.box.x2, item.box.y2


def test_a_letterbox_fills_the_rest_and_maps_boxes_back() -> None:
    spec = _input(Letterbox(width=64, height=64, fill=114), color=Color.BGR)
    out, placement = compile_steps(spec, _tensor(1, 64, 64, 3, dtype=np.uint8))(_FRAME)
    assert (out[0, :14] == 114).all()  # 96x54 becomes 64x36
    assert (out[0, 50:] == 114).all()
    assert (out[0, 14:50] == cv2.resize(_FRAME, (64, 36))).all()
    model_box = (0.25, (14 + 9) / 64, 0.5, (14 + 36) / 64)
    assert in_frame(placement, model_box) == pytest.approx([0.25, 0.25, 0.5, 1.0])


def test_a_centre_crop_takes_the_middle_and_maps_boxes_back() -> None:
    spec = _input(CenterCrop(), Resize(width=27, height=27), color=Color.BGR)
    out, placement = compile_steps(spec, _tensor(1, 27, 27, 3, dtype=np.uint8))(_FRAME)
    square = np.ascontiguousarray(_FRAME[:, 21:75])
    assert (out[0] == _pillow(square, 27, 27)).all()
    assert in_frame(placement, (0.0, 0.0, 1.0, 1.0)) == pytest.approx([21 / 96, 0.0, 75 / 96, 1.0])
    assert (placement.input_width_px, placement.width_px) == (27, 96)


def test_crop_and_letterbox_together_still_map_back() -> None:
    spec = _input(CenterCrop(width=48, height=24), Letterbox(width=32, height=32), color=Color.BGR)
    _, placement = compile_steps(spec, _tensor(1, 32, 32, 3, dtype=np.uint8))(_FRAME)
    whole_crop = (0.0, 8 / 32, 1.0, 24 / 32)
    assert in_frame(placement, whole_crop) == pytest.approx([24 / 96, 15 / 54, 72 / 96, 39 / 54])


def test_a_mask_comes_back_in_the_size_of_the_frame() -> None:
    placement = Placement(width_px=8, height_px=4, input_width_px=4, input_height_px=4)
    mask = np.arange(16, dtype=np.int64).reshape(4, 4)
    assert (placement.mask_to_frame(mask) == mask.repeat(2, axis=1)).all()
    _, boxed = compile_steps(_input(Letterbox(width=4, height=4)), _tensor(1, 4, 4, 3))(np.zeros((4, 8, 3), np.uint8))
    assert (boxed.mask_to_frame(mask)[:2] == np.array([4, 4, 5, 5, 6, 6, 7, 7])).all()
    _, cropped = compile_steps(_input(CenterCrop()), _tensor(1, -1, -1, 3))(np.zeros((4, 8, 3), np.uint8))
    placed = cropped.mask_to_frame(mask, outside=99)
    assert (placed[:, 2:6] == mask).all()
    assert (placed[:, [0, 1, 6, 7]] == 99).all()


def test_a_label_that_is_not_there_leaves_the_tensor_empty_and_says_so() -> None:
    spec = _input(Locate(), Resize(width=28, height=28), color=Color.GRAY)
    out, placement = compile_steps(spec, _tensor(1, 28, 28, 1))(np.full((60, 80, 3), 90, np.uint8))
    assert not placement.is_found
    assert out.shape == (1, 28, 28, 1)
    assert not out.any()


def test_a_label_that_is_there_is_cut_out_and_its_place_is_kept() -> None:
    frame = np.full((120, 160, 3), 40, np.uint8)
    frame[40:80, 60:100] = 230
    spec = _input(Locate(), Resize(width=28, height=28), color=Color.GRAY)
    out, placement = compile_steps(spec, _tensor(1, 28, 28, 1))(frame)
    assert placement.is_found
    assert placement.region is not None
    assert (placement.region.x1 * 160, placement.region.y1 * 120) == pytest.approx((60, 40), abs=8)
    assert out.mean() > 200


def test_the_frame_is_never_written_to() -> None:
    frame = _FRAME.copy()
    frame.setflags(write=False)
    spec = _input(Normalize(mean=(1.0,), std=(2.0,)))
    prepare = compile_steps(spec, _tensor(1, 54, 96, 3))
    first, _ = prepare(frame)
    second, _ = prepare(frame)
    assert (first == second).all()


def test_free_dimensions_follow_the_picture() -> None:
    out, _ = compile_steps(_input(Layout(channels=Channels.NCHW)), _tensor(-1, 3, -1, -1))(_FRAME)
    assert out.shape == (1, 3, 54, 96)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((Layout(channels=Channels.NHWC), Gray()), "layout must be the last"),
        ((Scale(factor=1.0), Resize(width=3, height=3)), "must stand before scale"),
        ((Resize(width=0, height=3),), "a size of 0 pixels"),
        ((Resize(width=10, height=10),), "wants"),
        ((Normalize(mean=(1.0, 2.0), std=(1.0,)),), "2 mean values for 3 channels"),
        ((Normalize(mean=(1.0,), std=(0.0,)),), "std of 0"),
        ((Gray(), Locate()), "locate must be the first"),
    ],
)
def test_steps_without_a_meaning_are_refused_when_the_model_opens(steps: tuple[Step, ...], why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        compile_steps(_input(*steps), _tensor(1, 20, 30, 3))


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
    ],
    ids=["gray", "four channels", "float", "empty"],
)
def test_what_is_no_picture_is_refused_in_one_sentence(picture: Array) -> None:
    with pytest.raises(InferenceError, match="expected a uint8 BGR picture"):
        compile_steps(_input(Resize(width=30, height=20)), _tensor(1, 20, 30, 3))(picture)


def test_a_picture_too_small_for_its_crop_or_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(InferenceError, match="crops 200x200"):
        compile_steps(_input(CenterCrop(width=200, height=200)), _tensor(1, 200, 200, 3))(_FRAME)
    with pytest.raises(InferenceError, match="a resize step is missing"):
        compile_steps(_input(), _tensor(1, 20, 30, 3))(_FRAME)
