from __future__ import annotations

import os

import pytest

from edge.engines.quiet import quiet_stderr


def complain(words: bytes) -> None:
    os.write(2, words)
    raise ValueError("bad")


def test_greetings_are_dropped_and_everything_else_is_passed_on(capfd) -> None:
    with quiet_stderr():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nERROR: out of luck\n")
        os.write(2, b"[W:onnxruntime:Default, device_discovery.cc:164] no card\nINFO: mine\n")
    assert capfd.readouterr().err == "ERROR: out of luck\nINFO: mine\n"


def test_what_was_written_before_an_error_is_passed_on(capfd) -> None:
    with pytest.raises(ValueError, match="bad"), quiet_stderr():
        complain(b"a hint\n")
    assert capfd.readouterr().err == "a hint\n"


def test_a_caller_may_drop_what_the_error_says_better(capfd) -> None:
    with pytest.raises(ValueError, match="bad"), quiet_stderr(is_dropped_on_error=True):
        complain(b"a page of text\n")
    assert capfd.readouterr().err == ""
