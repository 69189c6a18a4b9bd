"""Bundles: the same bytes for the same content, and never one that looks whole and is not."""

from __future__ import annotations

import hashlib
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from converters.bundle import BundleVariant, tolerance, write_bundle
from edge.contract.manifest import Classify, Manifest, TensorInput, decode_manifest
from edge.errors import InputError, ModelError
from edge.golden import Golden
from edge.model import Model
from tests.simulators.model_files import relu

_MANIFEST = Manifest(name="m", input=TensorInput(), output=Classify(), labels=("a", "b", "c", "d"))
_GOLDEN = Golden(inputs=(np.ones((2, 1, 4), np.float32),), outputs=(np.ones((2, 1, 4), np.float32),))


def _variant(name: str = "model.fp32.tflite", content: bytes | None = None) -> BundleVariant:
    raw = relu([1, 4]) if content is None else content
    return BundleVariant(content=raw, name=name, format="tflite", precision="fp32", tolerance=(0.001,))


def _digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_bundle_opens_and_everything_in_it_is_named_by_hash(tmp_path: Path) -> None:
    write_bundle(
        tmp_path, _MANIFEST, [_variant()], golden=_GOLDEN, validation=b"{}", card="# m\n", vocabularies={"v.txt": b"x"}
    )
    manifest = decode_manifest((tmp_path / "manifest.json").read_bytes())
    named = {entry.file: entry.sha256 for entry in (*manifest.variants, *manifest.files)}
    assert named | {"manifest.json": _digest(tmp_path)["manifest.json"]} == _digest(tmp_path)
    assert {entry.role for entry in manifest.files} == {"labels", "vocabulary", "golden", "validation", "card"}
    with Model.open(tmp_path) as model:
        assert model([0.1, 0.9, 0.2, 0.3]).items[0].label == "b"


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_bundle(tmp_path / name, _MANIFEST, [_variant()], golden=_GOLDEN)
    assert _digest(tmp_path / "one") == _digest(tmp_path / "two")


def test_an_earlier_bundle_is_replaced_and_other_files_stay(tmp_path: Path) -> None:
    write_bundle(tmp_path, _MANIFEST, [_variant("old.tflite")], card="old")
    (tmp_path / "mine.txt").write_text("keep me")
    write_bundle(tmp_path, _MANIFEST, [_variant("new.tflite")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.txt", "manifest.json", "mine.txt", "new.tflite"]


@pytest.mark.parametrize("limit", [1, 100, 700, 1100])
def test_a_disk_that_takes_no_more_leaves_nothing_that_opens(tmp_path: Path, limit: int) -> None:
    """Files may be so large and no larger: the model, the golden samples, the card or the manifest fails."""
    write_bundle(tmp_path, _MANIFEST, [_variant("old.tflite")])
    with _largest_file(limit), pytest.raises(OSError, match="File too large"):
        write_bundle(tmp_path, _MANIFEST, [_variant()], golden=_GOLDEN, card="c" * 1000)
    with pytest.raises(ModelError, match=r"without a manifest\.json"):
        Model.open(tmp_path)
    assert not list(tmp_path.glob("*.part"))


@contextmanager
def _largest_file(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def test_nothing_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs variants"):
        write_bundle(tmp_path / "b", _MANIFEST, [])
    with pytest.raises(InputError, match="different names"):
        write_bundle(tmp_path / "b", _MANIFEST, [_variant("labels.txt")])
    assert not (tmp_path / "b").exists()


def test_a_manifest_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"short_name": "a web page"}')
    with pytest.raises(InputError, match="no manifest of ours"):
        write_bundle(tmp_path, _MANIFEST, [_variant()])
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_tolerance_is_twice_what_was_seen_and_some_slack_for_rounding() -> None:
    golden = Golden(inputs=_GOLDEN.inputs, outputs=(np.full((2, 1, 4), 2.0, np.float32), np.arange(8).reshape(2, 1, 4)))
    answers = [(golden.outputs[0] + 0.1, golden.outputs[1]), (golden.outputs[0] - 0.2, golden.outputs[1])]
    assert tolerance(golden, answers, is_integer=True) == (pytest.approx(0.42, rel=1e-2), 0.1)
    assert tolerance(golden, [golden.outputs], is_integer=False) == (pytest.approx(0.001), 0.1)


def test_garbage_is_far_outside_any_tolerance() -> None:
    """P2: an old engine that computes something else must not pass because the variant was verified on a new one."""
    golden = Golden(inputs=_GOLDEN.inputs, outputs=(np.eye(4, dtype=np.float32)[:2, None],))
    allowed = tolerance(golden, [(golden.outputs[0] * 0.97,)], is_integer=True)[0]
    assert np.abs(np.roll(golden.outputs[0], 1, axis=-1) - golden.outputs[0]).max() > 5 * allowed


def test_a_margin_never_grows_to_the_size_of_the_answers() -> None:
    """Twice an error of 0.4 on probabilities would let any other model pass."""
    golden = Golden(inputs=_GOLDEN.inputs, outputs=(np.eye(4, dtype=np.float32)[:2, None],))
    allowed = [
        tolerance(golden, [(golden.outputs[0] + off,)], is_integer=True)[0] for off in np.array([0.1, 0.4, 0.7], "f4")
    ]
    assert allowed == [pytest.approx(0.21), pytest.approx(0.5), pytest.approx(0.71)]
