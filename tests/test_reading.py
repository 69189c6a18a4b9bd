"""Reading files whose size is not to be trusted."""

from __future__ import annotations

import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from edge.reading import read_whole


def test_a_file_of_the_very_limit_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_whole(path, most_bytes=10) == b"x" * 10
    with pytest.raises(OSError, match="above the limit of 9 bytes"):
        read_whole(path, most_bytes=9)


def test_a_file_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(5_000_000))
    tracemalloc.start()
    try:
        assert len(read_whole(path, most_bytes=1 << 30)) == 5_000_000
        assert tracemalloc.get_traced_memory()[1] < 5_500_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/urandom"])
def test_a_device_is_refused_before_it_is_read(device: str) -> None:
    with pytest.raises(OSError, match="a device, not a file"):
        read_whole(Path(device), most_bytes=10)


def test_a_fifo_is_read_to_its_end_and_not_past_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    for size, limit in ((3, 3), (4, 3)):
        writer = threading.Thread(target=path.write_bytes, args=(b"x" * size,))
        writer.start()
        try:
            if size <= limit:
                assert read_whole(path, most_bytes=limit) == b"x" * size
            else:
                with pytest.raises(OSError, match="above the limit"):
                    read_whole(path, most_bytes=limit)
        finally:
            writer.join(10)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path, most_bytes=10)
