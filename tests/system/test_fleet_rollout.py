"""A fleet of light devices, a central service, a broker and a rollout: what is published becomes active everywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.benchmarks.bench_fleet import run_fleet
from tests.central.registry.fleet import bundle
from tests.simulators.mosquitto import Mosquitto

pytestmark = [pytest.mark.needs_mosquitto, pytest.mark.slow, pytest.mark.timeout(120)]


def test_a_rollout_finds_devices_that_never_had_a_release_and_ends(
    tmp_path: Path, mosquitto: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = argparse.Namespace(devices=5, processes=1, state_every_s=0.5)
    with Mosquitto(mosquitto) as broker:
        run_fleet(options, tmp_path, broker, bundle(tmp_path / "bundle", 1, size=200_000))
    said = capsys.readouterr().out
    assert "rollout done at the centre" in said
    assert "refused" not in said
