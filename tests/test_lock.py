"""One process for one database."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.errors import StoreError
from edge.lock import Lock


def _locked(path: Path, holder: int) -> int:
    """The file, locked by somebody who wrote this process id."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.pwrite(handle, str(holder).encode(), 0)
    return handle


def _gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_whoever_finds_it_taken_is_told_by_whom_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "wait", lambda *_: pytest.fail("it waits"))
    with Lock(tmp_path / "lock", what="the file", advice="take another"), pytest.raises(StoreError) as raised:
        Lock(tmp_path / "lock", what="the file", advice="take another")
    assert str(raised.value) == f"the file is in use by process {os.getpid()}: stop that one first, or take another"
    Lock(tmp_path / "lock", what="the file", advice="take another").close()


def test_what_a_killed_holder_was_just_starting_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = _locked(tmp_path / "lock", _gone())
    waits: list[float] = []

    def wait(_clock: SystemClock, _event: threading.Event, timeout_s: float) -> bool:
        waits.append(timeout_s)
        if len(waits) == 3:
            os.close(handle)
        return False

    monkeypatch.setattr(SystemClock, "wait", wait)
    Lock(tmp_path / "lock", what="the file", advice="take another").close()
    assert len(waits) == 3


def test_the_wait_for_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "wait", lambda *_: False)
    gone = _gone()
    handle = _locked(tmp_path / "lock", gone)
    with pytest.raises(StoreError, match=f"in use by process {gone}"):
        Lock(tmp_path / "lock", what="the file", advice="take another")
    os.close(handle)
