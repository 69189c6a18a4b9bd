"""What a run takes over from an earlier one, rung by rung, and what it does again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from converters.judge.metrics import Judge
from converters.judge.profile_store import find
from converters.judge.verify import EngineAt, Verifier
from converters.ladder.bench import Bench, Built, Searching
from converters.ladder.climb import Ladder
from converters.ladder.workspace import Workspace
from converters.spec import Budget, FloatFile, Group, Port, Recipe, RunStatus, Scheme, Signature, Trial, TrialStatus
from edge.clock import SystemClock
from edge.contract.manifest import Classify, Manifest, TensorInput
from edge.engines.tiny import tiny_tflite
from edge.errors import ChildError, EdgeError, OutOfMemoryError, OutOfTimeError, RefusedError

pytestmark = pytest.mark.usefixtures("quantising")

_RECIPE = Recipe(name="int8", format="tflite", scheme=Scheme.STATIC)
_FLOATS = FloatFile(format="tflite", path="", sha256="", size_bytes=0, made_by="", axes=((0, 1),))
_SAMPLES = np.ones((3, 1, 4), np.float32)
_ABSENT = "the environment is not there"


class _Builder:
    """Fails or makes a file, as it is told to; the last for ever."""

    def __init__(self, *outcomes: EdgeError | bytes) -> None:
        self.outcomes = list(outcomes)
        self.built = 0

    def build(self, _recipe: Recipe, target: Path) -> Built:
        self.built += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, EdgeError):
            raise outcome
        target.write_bytes(outcome)
        return Built(notes=(), seconds=0.0)

    def groups(self, *, is_equalized: bool) -> tuple[Group, ...]:
        raise NotImplementedError


def _verifier(*problems: str) -> Verifier:
    profile = find("litert-2.3")
    engines = [EngineAt(profile=profile, format="tflite", problem=problem) for problem in problems]
    return Verifier(engines, None, [_SAMPLES], Budget())


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[..., Trial]:
    """A run of its own for one rung."""

    def run(builder: _Builder, problems: Sequence[str] = ("",)) -> Trial:
        with Workspace(tmp_path / "work") as workspace:
            ladder = Ladder(
                workspace,
                builder,
                _verifier(*problems),
                _FLOATS,
                Budget(),
                clock=SystemClock(),
                tell=lambda _: None,
            )
            return ladder.attempt(_RECIPE)

    return run


def test_a_rung_that_was_built_and_run_is_not_built_again(attempt: Callable[..., Trial]) -> None:
    builder = _Builder(tiny_tflite())
    assert attempt(builder) == attempt(builder)
    assert builder.built == 1


@pytest.mark.parametrize("error", [OutOfTimeError, OutOfMemoryError, ChildError])
def test_a_rung_that_failed_is_tried_again_by_the_next_run(
    attempt: Callable[..., Trial], error: type[EdgeError]
) -> None:
    builder = _Builder(error("the quantizer did not end within 0.3 s"), tiny_tflite())
    assert attempt(builder).status is TrialStatus.FAILED
    assert attempt(builder).status is TrialStatus.BUILT


def test_a_rung_that_cannot_be_is_not_tried_again(attempt: Callable[..., Trial]) -> None:
    builder = _Builder(RefusedError("no engine computes it"))
    assert [attempt(builder).status for _ in range(2)] == [TrialStatus.SKIPPED] * 2
    assert builder.built == 1


def test_an_engine_that_was_not_there_runs_the_file_as_soon_as_it_is(attempt: Callable[..., Trial]) -> None:
    builder = _Builder(tiny_tflite())
    assert [run.status for run in attempt(builder, [_ABSENT]).runs] == [RunStatus.NOT_EXECUTED]
    assert [run.status for run in attempt(builder, [_ABSENT]).runs] == [RunStatus.NOT_EXECUTED]
    assert [run.status for run in attempt(builder).runs] == [RunStatus.PASSED]
    assert [run.status for run in attempt(builder, [_ABSENT]).runs] == [RunStatus.PASSED], "what is known stays"
    assert builder.built == 1


def _measure_twice(folder: Path, builder: _Builder) -> None:
    port = Port(name="y", shape=(1, 4), dtype="float32")
    manifest = Manifest(name="net", input=TensorInput(), output=Classify())
    judge = Judge(manifest, Signature(inputs=(port,), outputs=(port,)), [_SAMPLES], None)
    searching = Searching(inputs=(_SAMPLES,), judge=judge, seconds=60.0)
    for _ in range(2):
        with (
            Workspace(folder / "work") as workspace,
            Bench(
                workspace, builder, searching, Budget(), name="search", clock=SystemClock(), tell=lambda _: None
            ) as bench,
        ):
            assert bench.measure(_RECIPE) == bench.measure(_RECIPE)


def test_a_candidate_that_failed_is_tried_again_by_the_next_run_only(tmp_path: Path) -> None:
    builder = _Builder(OutOfTimeError("the quantizer did not end within 0.3 s"), tiny_tflite())
    _measure_twice(tmp_path, builder)
    assert builder.built == 2


@pytest.mark.parametrize("outcome", [tiny_tflite(), RefusedError("no engine computes it")], ids=["built", "refused"])
def test_a_candidate_that_is_known_is_not_tried_again(tmp_path: Path, outcome: EdgeError | bytes) -> None:
    builder = _Builder(outcome)
    _measure_twice(tmp_path, builder)
    assert builder.built == 1
