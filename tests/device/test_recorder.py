"""What a device keeps of what it saw."""

from __future__ import annotations

import resource
from pathlib import Path

import cv2
import numpy as np

from converters.samples.gather import gather
from converters.spec import Port, Signature
from edge.contract.manifest import Classify, Color, HashedNgrams, ImageInput, Manifest, Resize, TextInput
from edge.device.recorder import RecordConfig, Recorder


def _recorder(folder: Path, **more: int) -> Recorder:
    return Recorder("porch", RecordConfig(folder=folder, **more))


def _frame(level: int) -> np.ndarray:
    return np.full((6, 8, 3), level, np.uint8)


def test_one_in_so_many_is_kept_without_loss(tmp_path: Path) -> None:
    recorder = _recorder(tmp_path / "kept", every=3)
    for level in range(7):
        recorder.frame(_frame(level))
    kept = sorted((tmp_path / "kept").iterdir())
    assert [path.name for path in kept] == ["000000.png", "000001.png", "000002.png"]
    assert [int(cv2.imread(str(path)).max()) for path in kept] == [0, 3, 6]


def test_it_ends_when_there_are_enough_and_a_restart_goes_on_counting(tmp_path: Path) -> None:
    for _ in range(2):
        recorder = _recorder(tmp_path, every=1, most=5)
        for level in range(3):
            recorder.frame(_frame(level))
    assert len(list(tmp_path.iterdir())) == 5
    recorder = _recorder(tmp_path / "texts", every=1, most=2)
    for text in "abc":
        recorder.text(text)
    assert (tmp_path / "texts/texts.jsonl").read_text().splitlines() == ['{"text":"a"}', '{"text":"b"}']


def test_a_disk_that_takes_no_more_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    recorder = _recorder(tmp_path, every=1)
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        recorder.frame(noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    recorder.frame(noise)
    assert list(tmp_path.iterdir()) == []
    recorder = _recorder(tmp_path / "a file" / "folder")
    (tmp_path / "a file").write_text("")
    recorder.frame(noise)


def test_what_was_recorded_are_samples_to_convert_with(tmp_path: Path) -> None:
    recorder = _recorder(tmp_path / "seen", every=1)
    for level in range(4):
        recorder.frame(_frame(level))
        _recorder(tmp_path / "read", every=1).text(f"text {level}")
    image = ImageInput(color=Color.GRAY, steps=(Resize(width=4, height=4),))
    text = TextInput(tokenizer=HashedNgrams(buckets=8))
    for folder, spec, shape in (("seen", image, (1, 4, 4, 1)), ("read", text, (1, 8))):
        signature = Signature(inputs=(Port(name="x", shape=shape, dtype="float32"),), outputs=())
        found = gather(tmp_path / folder, Manifest(name="m", input=spec, output=Classify()), signature, {})
        assert len(found) == 4
