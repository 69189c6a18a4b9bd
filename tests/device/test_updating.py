"""From the config to the thread of updates: what is found out about this board."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge import selftest
from edge.device import updating
from edge.errors import EdgeError, MissingExtraError, OutOfTimeError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    updating._is_installed.cache_clear()
    yield
    updating._is_installed.cache_clear()


def test_an_engine_that_does_not_answer_once_is_asked_again_and_one_that_is_absent_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: dict[str, list[EdgeError | None]] = {
        "tflite": [MissingExtraError("LiteRT", "tflite")],
        "onnx": [OutOfTimeError("a slow card"), None],
    }
    monkeypatch.setattr(selftest, "engine_problem", lambda kind: answers[kind].pop(0))
    assert updating.working_engines() == ()
    assert updating.working_engines() == ("onnx",)
    assert updating.working_engines() == ("onnx",)
