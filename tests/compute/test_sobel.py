from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.compute.sobel import KSIZES, SCHARR, binary_edges, gradients, magnitude
from edge.errors import MediaError


def reference(image_bgr: np.ndarray, ksize: int = 5, threshold: float = 100.0) -> np.ndarray:
    """The recipe in double precision."""
    gray = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
    along_x = cv2.Sobel(gray, cv2.CV_64F, 1, 0, ksize=ksize)
    along_y = cv2.Sobel(gray, cv2.CV_64F, 0, 1, ksize=ksize)
    return cv2.threshold(np.sqrt(along_x**2 + along_y**2), threshold, 255, cv2.THRESH_BINARY)[1].astype(np.uint8)


SIZES = st.one_of(st.integers(1, 12), st.integers(1, 150))
THRESHOLDS = st.one_of(
    st.sampled_from(
        [100.0, 0.0, -0.0, -1.0, 0.5, 99.99, 141.4213562373095, 180.0, 254.4, 254.6, 255.0, 20000.0, 1e300]
    ),
    st.floats(-10, 700, allow_nan=False),
    st.integers(0, 70000).map(math.sqrt),  # exactly at a possible length, where rounding decides
)


@given(
    height=SIZES,
    width=SIZES,
    seed=st.integers(0, 2**32 - 1),
    low=st.integers(0, 250),
    span=st.integers(1, 256),
    t=THRESHOLDS,
)
@settings(max_examples=300, deadline=None)
def test_fast_edges_equal_the_double_precision_recipe(
    height: int, width: int, seed: int, low: int, span: int, t: float
) -> None:
    high = min(256, low + span)
    image = np.random.default_rng(seed).integers(low, high, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(binary_edges(image, 5, t), reference(image, 5, t))


@pytest.mark.parametrize("ksize", KSIZES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (3, 3), (5, 1), (33, 47), (200, 130)])
def test_edges_of_every_kernel_equal_the_recipe(ksize: int, size: tuple[int, int]) -> None:
    image = np.random.default_rng(5).integers(0, 256, (*size, 3), dtype=np.uint8)
    for threshold in (-1.0, 30.5, 100.0, 2000.0):
        assert np.array_equal(binary_edges(image, ksize, threshold), reference(image, ksize, threshold))


@pytest.mark.parametrize("height", [3, 4, 5, 30, 31, 32, 33, 34, 35, 36, 37, 65, 66, 67, 100])
def test_a_picture_that_ends_anywhere_in_a_strip_has_the_right_borders(height: int) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, 1900, 3), dtype=np.uint8)
    assert np.array_equal(binary_edges(image), reference(image))


@pytest.mark.parametrize("height", [1022, 1023, 1024, 1025, 1026, 1027, 1030])
def test_a_narrow_picture_that_is_taller_than_a_strip_has_the_right_borders(height: int) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, 9, 3), dtype=np.uint8)
    assert np.array_equal(binary_edges(image), reference(image))


def test_views_and_mirrored_pictures_need_no_copy_by_the_caller() -> None:
    image = np.random.default_rng(2).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    for view in (image[::2, ::-1], image[10:60, 20:90], image[::-1], image[:, :, ::-1]):
        assert np.array_equal(binary_edges(view), reference(np.ascontiguousarray(view)))


def test_real_pictures_have_the_sums_measured_once_and_the_edges_of_the_recipe(shared_data: Path) -> None:
    expected = json.loads((shared_data / "expected.json").read_text())["sobel_3x3"]
    pictures = {path.name: path for path in shared_data.rglob("*.bmp")}
    for name, sums in expected.items():
        if name == "how":
            continue
        image = cv2.imread(str(pictures[name]))
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        along_x, along_y = gradients(gray, 3)
        assert int(gray.sum()) == sums["gray_sum"]
        assert int(np.abs(along_x).sum(dtype=np.int64)) == sums["abs_gx_sum"]
        assert int(np.abs(along_y).sum(dtype=np.int64)) == sums["abs_gy_sum"]
        assert (int(np.abs(along_x).max()), int(np.abs(along_y).max())) == (sums["max_abs_gx"], sums["max_abs_gy"])
        assert np.array_equal(binary_edges(image), reference(image))


@pytest.mark.parametrize("ksize", KSIZES)
def test_gradients_and_magnitude_are_exact_at_full_contrast(ksize: int) -> None:
    gray = np.where(np.indices((64, 64)).sum(axis=0) % 16 < 8, 255, 0).astype(np.uint8)
    along_x, along_y = gradients(gray, ksize)
    wide_x = cv2.Sobel(gray, cv2.CV_64F, 1, 0, ksize=ksize)
    wide_y = cv2.Sobel(gray, cv2.CV_64F, 0, 1, ksize=ksize)
    assert np.array_equal(along_x, wide_x)
    assert np.array_equal(along_y, wide_y)
    assert np.allclose(magnitude(gray, ksize), np.hypot(wide_x, wide_y), rtol=1e-6)


def test_threads_do_not_share_buffers() -> None:
    images = [np.random.default_rng(seed).integers(0, 256, (120, 300, 3), dtype=np.uint8) for seed in range(4)]
    wrong: list[int] = []

    def work(index: int) -> None:
        wrong.extend(
            index for _ in range(30) if not np.array_equal(binary_edges(images[index]), reference(images[index]))
        )

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)],
)
def test_what_is_no_colour_picture_is_refused(image: np.ndarray) -> None:
    with pytest.raises(MediaError, match=r"expected a picture \(height, width, 3\) uint8"):
        binary_edges(image)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="found 9"):
        gradients(np.zeros((4, 4), np.uint8), 9)
    assert SCHARR in KSIZES
