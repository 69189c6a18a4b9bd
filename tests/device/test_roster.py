from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.contract.messages import PipelineState, SourceState, TextRequest
from edge.device.assembly import Assembled
from edge.device.config import PipelineConfig
from edge.device.roster import Roster
from edge.device.sources.config import MqttConfig
from tests.simulators.clock import ManualClock


class Running:
    """What the roster sees of a pipeline."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log
        self.is_ended = False
        log.append(f"start {name}")

    def state(self) -> PipelineState:
        return PipelineState(source=SourceState.ONLINE)

    def begin_stop(self) -> None:
        self.log.append(f"begin {self.name}")

    def finish_stop(self, deadline_s: float) -> bool:
        self.log.append(f"finish {self.name}")
        return True


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: list[str] = []
        self.pushed: list[str] = []
        self.has_room = True
        self.roster = Roster(self.start, ManualClock())

    def start(self, config: PipelineConfig) -> Assembled:
        def push(request: TextRequest, taken: object) -> bool:
            self.pushed.append(f"{config.name} {request.text}")
            return self.has_room

        running = Running(config.name, self.log)
        return Assembled(config=config, running=running, push=push if config.live else None)  # type: ignore[arg-type]

    def config(self, name: str) -> PipelineConfig:
        return PipelineConfig(name=name, model=self.folder / f"{name}.tflite", source=MqttConfig())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_unchanged_pipeline_is_left_alone(bench: Bench) -> None:
    assert bench.roster.apply([bench.config("a"), bench.config("b")], 1.0) == ("a", "b")
    assert bench.roster.apply([bench.config("b"), bench.config("a")], 1.0) == ()
    assert bench.log == ["start a", "start b"]


def test_what_is_gone_stops_what_changed_restarts_and_what_is_new_starts(bench: Bench) -> None:
    bench.roster.apply([bench.config("a"), bench.config("b"), bench.config("c")], 1.0)
    bench.log.clear()
    changed = replace(bench.config("b"), threads=2)
    assert bench.roster.apply([bench.config("a"), changed, bench.config("d")], 1.0) == ("b", "c", "d")
    assert bench.log == ["begin b", "begin c", "finish b", "finish c", "start b", "start d"]
    assert list(bench.roster.states()) == ["a", "b", "d"]


def test_a_replaced_model_file_restarts_its_pipeline(bench: Bench) -> None:
    model = bench.folder / "a.tflite"
    model.write_bytes(b"one")
    bench.roster.apply([bench.config("a"), bench.config("b")], 1.0)
    model.write_bytes(b"another")
    assert bench.roster.apply([bench.config("a"), bench.config("b")], 1.0) == ("a",)


def test_all_sources_are_told_to_stop_before_any_is_waited_for(bench: Bench) -> None:
    bench.roster.apply([bench.config("a"), bench.config("b")], 1.0)
    bench.log.clear()
    bench.roster.stop(1.0)
    assert bench.log == ["begin a", "begin b", "finish a", "finish b"]
    assert bench.roster.states() == {}


def test_a_text_for_a_pipeline_is_pushed_and_not_yet_taken(bench: Bench) -> None:
    bench.roster.apply([bench.config("a")], 1.0)
    taken: list[int] = []
    bench.roster.push("a", TextRequest(text="hello"), lambda: taken.append(1))
    assert (bench.pushed, taken) == (["a hello"], [])


@pytest.mark.parametrize("case", ["nobody", "takes no texts", "full"])
def test_a_text_that_nobody_takes_is_let_go(bench: Bench, case: str) -> None:
    config = bench.config("a")
    bench.roster.apply([replace(config, live=case != "takes no texts")], 1.0)
    bench.has_room = case != "full"
    taken: list[int] = []
    bench.roster.push("nobody" if case == "nobody" else "a", TextRequest(text="hello"), lambda: taken.append(1))
    assert taken == [1]


def test_a_model_path_that_cannot_even_be_looked_at_stops_no_reload(bench: Bench) -> None:
    bench.roster.apply([bench.config("a")], 1.0)
    bad = replace(bench.config("b"), model=bench.folder / ("x" * 300))
    assert bench.roster.apply([bench.config("a"), bad], 1.0) == ("b",)
    assert bench.log == ["start a", "start b"]
