"""Keeps native chatter off the user's terminal.

Promises: while a runtime loads, greetings that it prints for its own makers are dropped; every other line written to
stderr in that time is passed on, late but whole.
Leaves out: errors, which arrive as exceptions.
Thread: any; one at a time, because a process has one stderr.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_stderr"]

_STDERR = 2
_one_at_a_time = threading.Lock()

# The first bytes of lines that say nothing about this model. LiteRT has no switch for its own; ONNX Runtime warns about
# graphics cards that a small board does not have before any log level can be set.
_CHATTER = (
    b"INFO: Created TensorFlow Lite",
    b"INFO: Initialized TensorFlow Lite",
    b"INFO: Applying ",
    b"WARNING: All log messages before absl::InitializeLog()",
)
_WARNING_MARK = b"[W:onnxruntime:"


@contextmanager
def quiet_stderr(*, is_dropped_on_error: bool = False) -> Iterator[None]:
    """Hold back what native code writes to stderr, then pass on all of it but the chatter.

    With `is_dropped_on_error`, nothing is passed on when the block raises: the exception says it better.
    """
    with _one_at_a_time, tempfile.TemporaryFile() as held:
        try:
            saved = os.dup(_STDERR)
        except OSError:  # a daemon without stderr has nobody to disturb
            yield
            return
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(held.fileno(), _STDERR)
        is_worth_reading = True
        try:
            yield
        except BaseException:
            is_worth_reading = not is_dropped_on_error
            raise
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(saved, _STDERR)
            os.close(saved)
            held.seek(0)
            if is_worth_reading:
                _pass_on(held.read())


def _pass_on(written: bytes) -> None:
    kept = b"".join(line for line in written.splitlines(keepends=True) if not _is_chatter(line))
    while kept:
        kept = kept[os.write(_STDERR, kept) :]


def _is_chatter(line: bytes) -> bool:
    return line.startswith(_CHATTER) or _WARNING_MARK in line
