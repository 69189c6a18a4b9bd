"""Frames from a child process."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.clock import SystemClock
from edge.device.sources.config import PipeConfig, PipePreset, PixelFormat
from edge.device.sources.pipe import PipeSource, argv_of
from edge.errors import SourceError
from tests.simulators.cameras import RED, red_card, write_clip

CLOCK = SystemClock()


def _source(script: str, *, pixels: PixelFormat = PixelFormat.BGR24, stall_after_s: float = 20.0) -> PipeSource:
    command = (sys.executable, "-c", script)
    config = PipeConfig(command=command, pixel_format=pixels, width_px=64, height_px=48, stall_after_s=stall_after_s)
    return PipeSource(config, CLOCK)


def _write(expression: str, rest: str = "") -> str:
    return f"import sys, time\nsys.stdout.buffer.write({expression})\nsys.stdout.buffer.flush()\n{rest}"


WAIT = "time.sleep(60)"

RED_BYTES = {
    PixelFormat.BGR24: f"bytes({RED!r}) * (64 * 48)",
    PixelFormat.RGB24: f"bytes({RED[::-1]!r}) * (64 * 48)",
    PixelFormat.YUV420: "bytes([81]) * (64 * 48) + bytes([90]) * (32 * 24) + bytes([240]) * (32 * 24)",
}


@pytest.mark.parametrize("pixels", RED_BYTES, ids=lambda pixels: pixels.value)
def test_red_is_red_in_every_pixel_format(pixels: PixelFormat) -> None:
    source = _source(_write(RED_BYTES[pixels], WAIT), pixels=pixels)
    source.open()
    frame = source.read()
    source.close()
    assert frame is not None
    assert frame.image.shape == (48, 64, 3)
    assert np.abs(frame.image.astype(int) - np.array(RED)).max() <= 2


def test_gray_becomes_three_equal_channels() -> None:
    source = _source(_write("bytes(range(48)) * 64", WAIT), pixels=PixelFormat.GRAY8)
    source.open()
    frame = source.read()
    source.close()
    assert frame is not None
    assert frame.image.shape == (48, 64, 3)
    assert (frame.image[:, :, 0] == frame.image[:, :, 2]).all()


@pytest.mark.parametrize("pixels", [PixelFormat.YUV420, PixelFormat.RGB24, PixelFormat.GRAY8])
def test_converted_frames_never_share_memory(pixels: PixelFormat) -> None:
    source = _source(_write("bytes(64 * 48 * 3 * 6)", WAIT), pixels=pixels)
    source.open()
    first, second = source.read(), source.read()
    source.close()
    assert first is not None
    assert second is not None
    assert not np.shares_memory(first.image, second.image)


def test_a_child_that_ends_inside_a_frame_is_a_source_error_that_counts_the_bytes() -> None:
    source = _source(_write("bytes(64 * 48 * 3 + 10)", "sys.exit(4)"))
    source.open()
    assert source.read() is not None
    with pytest.raises(SourceError, match=r"code 4 after 10 of a frame's 9216 bytes"):
        source.read()


def test_a_child_that_is_killed_is_a_source_error_that_names_the_signal() -> None:
    source = _source(_write("bytes(64 * 48 * 3)", WAIT))
    source.open()
    assert source.read() is not None
    child = source._child
    assert child is not None
    child.kill()
    with pytest.raises(SourceError, match=r"ended by signal 9 after 1 frames"):
        source.read()


def test_a_child_that_stalls_is_a_source_error_and_is_gone_afterwards() -> None:
    source = _source(_write("bytes(64 * 48 * 3 + 10)", WAIT), stall_after_s=1.5)
    source.open()
    assert source.read() is not None
    child = source._child
    assert child is not None
    with pytest.raises(SourceError, match=r"wrote nothing for 1\.5 s"):
        source.read()
    assert child.returncode == -signal.SIGTERM
    assert source.read() is None


def test_the_whole_process_group_is_ended_even_where_it_does_not_listen() -> None:
    # A shell that ignores the request and has a child of its own, as a wrapper script around a camera tool does.
    script = "trap '' TERM; sleep 300 & echo $! 1>&2; head -c 9216 /dev/zero; wait"
    read_end, write_end = os.pipe()
    config = PipeConfig(
        command=("sh", "-c", f"exec 2>/proc/self/fd/2; {script}"),
        pixel_format=PixelFormat.BGR24,
        width_px=64,
        height_px=48,
        stall_after_s=20,
    )
    stderr = os.dup(2)
    os.dup2(write_end, 2)
    try:
        source = PipeSource(config, CLOCK)
        source.open()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(write_end)
    assert source.read() is not None
    grandchild = int(os.read(read_end, 100).split()[0])
    with open(os.pidfd_open(grandchild)) as process:  # noqa: PTH123 - a descriptor has no path
        source.close()
        death = select.poll()
        death.register(process, select.POLLIN)
        assert death.poll(10_000)
    os.close(read_end)


def test_no_child_is_left_unreaped() -> None:
    source = _source(_write("bytes(64 * 48 * 3)", WAIT))
    children = []
    for _ in range(3):
        source.open()
        assert source.read() is not None
        children.append(source._child)
        source.close()
    assert all(child is not None and child.returncode is not None for child in children)


def test_a_command_that_is_not_installed_is_a_source_error_that_names_it() -> None:
    config = PipeConfig(command=("no-such-camera-tool",), pixel_format=PixelFormat.BGR24)
    with pytest.raises(SourceError, match="no-such-camera-tool: cannot be started"):
        PipeSource(config, CLOCK).open()


def test_a_rate_limit_drains_the_pipe_and_hands_on_fewer_frames() -> None:
    endless = "import sys, time\nwhile True:\n    sys.stdout.buffer.write(bytes(64 * 48 * 3)); time.sleep(0.005)"
    config = PipeConfig(
        command=(sys.executable, "-c", endless), pixel_format=PixelFormat.BGR24, width_px=64, height_px=48, max_fps=5
    )
    source = PipeSource(config, CLOCK)
    source.open()
    frames = [source.read() for _ in range(3)]
    source.close()
    numbers = [frame.number for frame in frames if frame]
    assert len(numbers) == 3
    assert numbers[2] - numbers[0] > 10


def test_rpicam_vid_is_asked_for_planar_yuv_on_standard_output() -> None:
    argv = argv_of(PipeConfig(preset=PipePreset.RPICAM, width_px=640, height_px=480, fps=15, input="1"))
    assert " ".join(argv) == (
        "rpicam-vid -n -t 0 --camera 1 --codec yuv420 --width 640 --height 480 --framerate 15 -o -"
    )


def test_the_jetson_camera_is_converted_to_bgr_by_gstreamer() -> None:
    argv = argv_of(PipeConfig(preset=PipePreset.NVARGUS, width_px=1280, height_px=720, fps=29.97))
    line = " ".join(argv)
    assert line.startswith(
        "gst-launch-1.0 -q nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),framerate=29970/1000"
    )
    assert "format=BGR ! fdsink" in line


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_the_ffmpeg_preset_reads_a_clip_at_the_asked_size(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [red_card(128, 96)] * 5, fps=10)
    config = PipeConfig(preset=PipePreset.FFMPEG, input=str(clip), width_px=64, height_px=48, fps=10)
    source = PipeSource(config, CLOCK)
    source.open()
    frames = [source.read() for _ in range(5)]
    with pytest.raises(SourceError, match="ended with code 0"):
        source.read()
    assert frames[0] is not None
    assert frames[0].image.shape == (48, 64, 3)
    assert np.abs(frames[0].image.astype(int) - np.array(RED)).max() <= 6


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="GStreamer is not installed")
def test_gstreamer_writes_frames_that_are_understood() -> None:
    caps = "video/x-raw,format=BGR,width=64,height=48,framerate=30/1"
    command = ("gst-launch-1.0", "-q", "videotestsrc", "pattern=red", "!", caps, "!", "fdsink", "fd=1")
    config = PipeConfig(command=command, pixel_format=PixelFormat.BGR24, width_px=64, height_px=48)
    source = PipeSource(config, CLOCK)
    source.open()
    frame = source.read()
    source.close()
    assert frame is not None
    assert np.abs(frame.image.astype(int) - np.array(RED)).max() <= 2


def test_a_stopped_child_is_ended_too() -> None:
    source = _source(_write("bytes(64 * 48 * 3)", WAIT))
    source.open()
    assert source.read() is not None
    child = source._child
    assert isinstance(child, subprocess.Popen)
    os.kill(child.pid, signal.SIGSTOP)
    source.close()
    assert child.returncode is not None
