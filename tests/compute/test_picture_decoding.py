"""Every kind of picture file becomes one upright BGR picture, or one error."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edge.compute.picture import decode_picture
from edge.errors import MediaError
from edge.media import read_picture

_HEIGHT, _WIDTH = 24, 32
_RAMP = np.linspace(0, 255, _WIDTH).astype(np.uint8)[None, :].repeat(_HEIGHT, axis=0)
_RGB = np.dstack((_RAMP, _RAMP[:, ::-1], np.full_like(_RAMP, 60)))


def _file(picture: Image.Image, kind: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **more)  # type: ignore[arg-type]
    return buffer.getvalue()


def _close(found: np.ndarray, rgb: np.ndarray, tolerance: int = 0) -> bool:
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    return found.shape == rgb.shape and int(np.abs(found[:, :, ::-1].astype(int) - rgb).max()) <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_common_lossless_kinds_decode_exactly(kind: str) -> None:
    tolerance, more = (0, {"lossless": True}) if kind == "WEBP" else (40 if kind == "GIF" else 0, {})
    assert _close(decode_picture(_file(Image.fromarray(_RGB), kind, **more)), _RGB, tolerance)


def test_a_plain_jpeg_is_what_pillow_decodes_to_within_a_level_or_two() -> None:
    content = _file(Image.fromarray(_RGB), "JPEG", quality=90)
    assert _close(decode_picture(content), np.asarray(Image.open(io.BytesIO(content))), 3)


def test_gray_pictures_get_three_equal_channels() -> None:
    for kind in ("PNG", "JPEG"):
        found = decode_picture(_file(Image.fromarray(_RAMP), kind, quality=95))
        assert found.shape == (_HEIGHT, _WIDTH, 3)
        assert (found[:, :, 0] == found[:, :, 2]).all()
        assert np.abs(found[:, :, 0].astype(int) - _RAMP).max() <= 3


def test_sixteen_bits_keep_their_upper_eight() -> None:
    deep = _RAMP.astype(np.uint16) * 257
    assert _close(decode_picture(_file(Image.fromarray(deep), "PNG")), np.dstack((_RAMP,) * 3))
    encoded = cv2.imencode(".png", (_RGB[:, :, ::-1].astype(np.uint16) * 257))[1].tobytes()
    assert _close(decode_picture(encoded), _RGB, 1)
    encoded = cv2.imencode(".tiff", deep)[1].tobytes()
    assert _close(decode_picture(encoded), np.dstack((_RAMP,) * 3), 1)


def test_cmyk_is_brought_to_rgb() -> None:
    picture = Image.fromarray(_RGB).convert("CMYK")
    assert _close(decode_picture(_file(picture, "TIFF")), _RGB, 2)
    found = decode_picture(_file(picture, "JPEG", quality=95))
    assert np.abs(found[:, :, ::-1].astype(int) - _RGB).mean() < 12


def test_transparent_parts_are_white() -> None:
    alpha = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    alpha[:12] = 255
    found = decode_picture(_file(Image.fromarray(np.dstack((_RGB, alpha))), "PNG"))
    assert (found[:12, :, ::-1] == _RGB[:12]).all()
    assert (found[12:] == 255).all()


def test_a_palette_picture_decodes() -> None:
    assert decode_picture(_file(Image.fromarray(_RGB).quantize(16), "PNG")).shape == _RGB.shape


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (10, 200)]
    for kind in ("GIF", "PNG", "WEBP"):
        found = decode_picture(_file(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert np.abs(found.astype(int) - 10).max() <= 2, kind


def test_a_picture_turned_by_exif_is_stood_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    for kind in ("JPEG", "PNG"):
        found = decode_picture(
            _file(Image.fromarray(_RGB), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
        )
        assert found.shape == (_WIDTH, _HEIGHT, 3), kind
        assert np.abs(found[:, :, ::-1].astype(int) - np.rot90(_RGB, -1)).mean() < 4, kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.95])
def test_a_truncated_picture_is_an_error_whatever_its_kind(kind: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = _file(Image.fromarray(noise), kind)
    with pytest.raises(MediaError):
        decode_picture(content[: int(len(content) * share)])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"hello", "no picture format"),
        (b"\xff\xd8\xff", "no picture format|damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "no picture format|damaged"),
        (bytes(1000), "no picture format"),
        (b"%PDF-1.7\n" + bytes(100), "no picture format"),
    ],
)
def test_what_is_no_picture_is_one_error(content: bytes, why: str) -> None:
    with pytest.raises(MediaError, match=why):
        decode_picture(content)


def test_a_picture_of_a_billion_pixels_is_refused_before_it_is_decoded() -> None:
    header = struct.pack(">IIBBBBB", 32_000, 32_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(MediaError, match=r"above the limit"):
        decode_picture(bomb)
    jpeg = bytearray(_file(Image.fromarray(_RGB), "JPEG"))
    place = jpeg.index(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(MediaError):
        decode_picture(bytes(jpeg))


def test_a_missing_file_a_folder_and_a_broken_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"absent\.jpg: no such file"):
        read_picture(tmp_path / "absent.jpg")
    with pytest.raises(MediaError, match="cannot be read"):
        read_picture(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"broken\.jpg: no picture format"):
        read_picture(tmp_path / "broken.jpg")


@pytest.mark.needs_data
def test_every_shared_picture_has_the_expected_size_and_pixels(shared_data: Path) -> None:
    import hashlib

    facts = json.loads((shared_data / "expected.json").read_text(encoding="utf-8"))["image_facts"]
    for name, fact in facts.items():
        found = read_picture(shared_data / "images" / name)
        assert found.shape == (fact["height"], fact["width"], 3), name
        if "rgb_sha256" in fact:
            plain = found[:, :, ::-1] if fact["mode"] == "RGB" else found[:, :, 0]
            digest = hashlib.sha256(np.ascontiguousarray(plain).tobytes()).hexdigest()
            with_channels = hashlib.sha256(np.ascontiguousarray(found[:, :, ::-1]).tobytes()).hexdigest()
            assert fact["rgb_sha256"] in {digest, with_channels}, name
