"""Pictures of more than eight bits, and what Pillow would say aloud."""

from __future__ import annotations

import io

import numpy as np
import pytest

from edge.compute.picture import decode_picture
from edge.errors import MediaError

Image = pytest.importorskip("PIL.Image")


def _file(picture, kind: str) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_dark_picture_of_sixteen_bits_stays_dark(kind: str) -> None:
    dark = np.full((4, 4), 200, np.uint16)  # of 65535: all but black
    assert decode_picture(_file(Image.fromarray(dark), kind)).max() == 1


def test_shares_of_white_are_scaled() -> None:
    grey = decode_picture(_file(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"))
    assert set(grey.ravel().tolist()) == {128}


def test_a_damaged_picture_is_an_error_and_no_warning() -> None:
    whole = _file(Image.fromarray(np.zeros((64, 64, 3), np.uint8)), "TIFF")
    with pytest.raises(MediaError):  # warnings are errors here
        decode_picture(whole[: len(whole) // 2])
