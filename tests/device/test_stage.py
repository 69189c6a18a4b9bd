"""The stage: real bundles in real slots, opened for a pipeline, and what happens where one cannot be."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from edge.contract.messages import InputKind
from edge.device.board import board_facts
from edge.device.config import ModelHints, PipelineConfig
from edge.device.health import available_mb
from edge.device.seat import Terms, Verdict
from edge.device.sources.config import MqttConfig
from edge.device.stage import Stage
from edge.device.supervisor import Supervisor
from edge.device.updates.choice import Choice, Measured
from edge.device.updates.record import Release, SlotRecord
from edge.device.updates.slots import Slots
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import MissingExtraError, ModelError, TrustError
from tests.simulators.bundles import write_bundle
from tests.simulators.clock import ManualClock
from tests.simulators.releases import MadeRelease, check_receipt, make_release

SLOT = "porch"


class Records:
    """Implements `stage.Records`."""

    def __init__(self) -> None:
        self.found = SlotRecord()
        self.losses: list[tuple[Release, str]] = []
        self.passed: list[tuple[Release, str]] = []
        self.renewals: list[str] = []

    def record(self, slot: str) -> SlotRecord:
        return self.found

    def lost(self, slot: str, release: Release, why: str) -> None:
        self.losses.append((release, why))

    def passed_over(self, slot: str, release: Release, why: str) -> None:
        self.passed.append((release, why))

    def renewed(self, slot: str) -> None:
        self.renewals.append(slot)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.free_mb: float | None = 1000.0
        self.records = Records()
        self.receipts = check_receipt
        self.slots = Slots(folder / "slots", self.check_receipt)
        self.stage = Stage(
            self.slots, self.records, Supervisor(ManualClock()), ManualClock(), free_mb=lambda: self.free_mb
        )
        self.factory = write_bundle(folder / "factory", {"larger.onnx": tiny_onnx()})
        self.config = PipelineConfig(name=SLOT, model=self.factory, source=MqttConfig(), threads=2)
        self.a = self.install(1, {"larger.onnx": tiny_onnx()})
        self.b = self.install(2, {"larger.tflite": tiny_tflite(), "larger.onnx": tiny_onnx()})

    def check_receipt(self, receipt: bytes, manifest: bytes) -> None:
        self.receipts(receipt, manifest)

    def install(self, number: int, models: dict[str, bytes]) -> Release:
        made: MadeRelease = make_release(self.folder / str(number), number, models)
        self.slots.write(SLOT, made.release, made.manifest, made.receipt, made.files)
        file = next(iter(models))
        measured = Measured(file=file, engine="onnx", precision="float32", memory_mb=50.0)
        choice = Choice(file=file, engine="onnx", precision="float32", threads=2, offered=(), measured=(measured,))
        self.slots.keep_choice(SLOT, made.release, choice)
        return made.release

    def spoil(self, release: Release) -> None:
        for path in self.slots.path(SLOT, release).glob("larger.*"):
            path.write_bytes(b"x" + path.read_bytes()[1:])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_pipeline_starts_with_its_active_release_and_its_results_say_so(bench: Bench) -> None:
    bench.records.found = SlotRecord(active=bench.b, previous=bench.a)
    seat = bench.stage.make_seat(bench.config, InputKind.TENSOR)
    seat.settle()
    ref = seat.model.ref
    assert (ref.target, ref.precision, ref.threads) == (bench.b.target, "float32", 2)
    assert ref.engine.startswith(("ai-edge-litert", "tflite-runtime")), "the variant that was chosen"
    assert bench.records.renewals == [SLOT]
    seat.close()


def test_a_damaged_release_makes_way_for_the_one_before_and_then_for_the_factorys(bench: Bench) -> None:
    bench.records.found = SlotRecord(active=bench.b, previous=bench.a)
    bench.spoil(bench.b)
    seat = bench.stage.make_seat(bench.config, InputKind.TENSOR)
    seat.settle()
    assert seat.model.ref.target == bench.a.target
    seat.close()
    bench.spoil(bench.a)
    seat.settle()
    assert seat.model.ref.target == ""
    assert [release for release, _ in bench.records.losses] == [bench.b, bench.b, bench.a]
    assert "not the file that was signed" in bench.records.losses[0][1]
    seat.close()


def test_a_receipt_that_does_not_hold_is_a_release_that_is_lost(bench: Bench) -> None:
    def refuse(receipt: bytes, manifest: bytes) -> None:
        raise TrustError("not signed by the factory's root")

    bench.receipts = refuse
    bench.records.found = SlotRecord(active=bench.a)
    seat = bench.stage.make_seat(bench.config, InputKind.TENSOR)
    seat.settle()
    assert seat.model.ref.target == ""
    assert bench.records.losses == [(bench.a, "not signed by the factory's root")]
    seat.close()


def test_a_library_that_is_missing_today_costs_no_release(bench: Bench) -> None:
    def missing(receipt: bytes, manifest: bytes) -> None:
        raise MissingExtraError("python-tuf", "trust")

    bench.receipts = missing
    bench.records.found = SlotRecord(active=bench.a)
    seat = bench.stage.make_seat(bench.config, InputKind.TENSOR)
    seat.settle()
    assert seat.model.ref.target == ""
    assert bench.records.losses == []
    assert [release for release, _ in bench.records.passed] == [bench.a], "told, as no fall-back is silent"
    seat.close()


def test_a_release_that_is_spoilt_after_it_took_over_still_has_a_way_back(bench: Bench) -> None:
    bench.records.found = SlotRecord(active=bench.a)
    seat = bench.stage.make_seat(bench.config, InputKind.TENSOR)
    seat.settle()
    bench.records.found = SlotRecord(active=bench.b, previous=bench.a)
    bench.stage.run(SLOT, bench.b)
    seat.settle()
    assert seat.model.ref.target == bench.b.target
    seat.close()  # the pipeline broke, and is begun anew by its own thread
    bench.spoil(bench.b)
    seat.settle()
    assert seat.model.ref.target == bench.a.target
    assert [release for release, _ in bench.records.losses] == [bench.b]
    seat.close()


@pytest.mark.parametrize("free_mb", [1000.0, 10.0, None])
def test_a_trial_opens_beside_the_running_model_where_memory_allows_it(bench: Bench, free_mb: float | None) -> None:
    bench.free_mb = free_mb
    bench.records.found = SlotRecord(active=bench.a)
    seat = bench.stage.make_seat(bench.config, InputKind.TENSOR)
    seat.settle()
    before = seat.model
    verdicts: list[Verdict] = []
    bench.stage.try_out(SLOT, bench.b, Terms(items=5, slower=2.0), verdicts.append)
    seat.settle()
    assert seat.model.ref.target == bench.b.target
    assert seat.holds(bench.a.sha256) is (free_mb != 10.0)
    bench.stage.run(SLOT, bench.a)
    seat.settle()
    assert seat.model.ref.target == bench.a.target
    assert (seat.model is before) is (free_mb != 10.0)
    seat.close()


def test_running_the_factorys_model_again(bench: Bench) -> None:
    bench.records.found = SlotRecord(active=bench.a)
    seat = bench.stage.make_seat(bench.config, InputKind.TENSOR)
    seat.settle()
    bench.stage.run(SLOT, None)
    seat.settle()
    assert seat.model.ref.target == ""
    bench.stage.run("nobody", bench.a)
    bench.stage.keep_only(set())
    assert bench.stage.names() == ()
    seat.close()


def test_a_shadow_runs_on_a_thread_of_its_own_and_ends_with_the_stage(bench: Bench) -> None:
    bench.stage.make_seat(bench.config, InputKind.TENSOR)
    bench.stage.begin_shadow(SLOT, bench.b, share=1.0, items=10, tell=lambda _: None)
    assert any(thread.name == f"shadow:{SLOT}" for thread in threading.enumerate())
    bench.stage.close()
    assert not any(thread.name == f"shadow:{SLOT}" for thread in threading.enumerate())


def test_a_shadow_needs_memory_for_two(bench: Bench) -> None:
    bench.free_mb = 10.0
    bench.stage.make_seat(bench.config, InputKind.TENSOR)
    with pytest.raises(ModelError, match="no memory"):
        bench.stage.begin_shadow(SLOT, bench.b, share=1.0, items=10, tell=lambda _: None)


def test_the_configs_hints_are_about_the_factorys_file_alone(bench: Bench) -> None:
    labels = bench.folder / "labels.txt"
    labels.write_text("a\nb\n")
    config = PipelineConfig(
        name=SLOT,
        model=bench.factory,
        source=MqttConfig(),
        labels=labels,
        hints=ModelHints(input_range="0..1", top_k=2),
    )
    bench.records.found = SlotRecord(active=bench.a)
    seat = bench.stage.make_seat(config, InputKind.TENSOR)
    seat.settle()
    assert seat.model.ref.target == bench.a.target
    seat.close()


def test_what_is_inferred_is_what_the_release_says(bench: Bench) -> None:
    bench.records.found = SlotRecord(active=bench.b)
    seat = bench.stage.make_seat(bench.config, InputKind.TENSOR)
    seat.settle()
    model = seat.model
    said = model.infer_tensor(np.array([-1.0, 2.0, -3.0, 4.0], np.float32))  # type: ignore[attr-defined]
    assert said.items
    seat.close()


def test_facts_of_the_board_and_its_free_memory(tmp_path: Path) -> None:
    model = tmp_path / "proc/device-tree/model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    facts = board_facts(tmp_path)
    assert facts["model"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert int(facts["memory_mb"]) > 100
    assert "onnx" in facts["engines"].split(",")
    assert "model" not in board_facts(tmp_path / "nowhere")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable:   2000000 kB\n")
    assert available_mb(meminfo) == 2048.0
    assert available_mb(tmp_path / "nothing") is None
