from __future__ import annotations

import pytest

from edge.central.rollout.words import excluded_above, in_words


@pytest.mark.parametrize(("devices", "percent"), [(5, 45), (10, 26), (30, 9.5), (100, 3.0), (300, 1.0)])
def test_devices_without_a_failure_exclude_what_the_rule_of_three_says(devices: int, percent: float) -> None:
    assert 100 * excluded_above(devices) == pytest.approx(percent, rel=0.02)


@pytest.mark.parametrize(("devices", "failures", "limit"), [(10, 1, 0.3942), (100, 2, 0.0616), (20, 5, 0.4556)])
def test_with_failures_the_bound_is_the_exact_one(devices: int, failures: int, limit: float) -> None:
    assert excluded_above(devices, failures) == pytest.approx(limit, abs=0.0002)


def test_the_bound_is_said_in_words() -> None:
    assert in_words(10) == "10 devices without a failure exclude only a failure rate above 26 %"
    assert in_words(1) == "1 device without a failure excludes only a failure rate above 95 %"
    assert in_words(0) == "no device has shown anything yet"
    assert in_words(2, 2) == "2 devices with 2 failures exclude nothing"
