"""The short form of `python -m tests.faults.chaos`."""

from __future__ import annotations

import pytest

from tests.faults.chaos import run
from tests.simulators.policies import Policy

pytestmark = [pytest.mark.slow, pytest.mark.needs_mosquitto]


@pytest.mark.timeout(240)
def test_random_kills_of_device_broker_and_centre_lose_and_double_nothing(mosquitto: str) -> None:
    report = run("receipts", seconds=20, seed=1, mosquitto=mosquitto)
    assert (report.lost, report.doubled, report.stuck) == (0, 0, 0), report
    assert report.produced > 100, report
    assert all(report.kills.values()), report


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", ["puback", "highest"])
def test_the_same_kills_lose_rows_under_a_wrong_policy(mosquitto: str, policy: Policy) -> None:
    """A harness that cannot fail proves nothing."""
    for seed in range(1, 5):
        if run(policy, seconds=12, seed=seed, mosquitto=mosquitto).lost:
            return
    pytest.fail(f"{policy} lost nothing in four runs: the harness is too gentle")
