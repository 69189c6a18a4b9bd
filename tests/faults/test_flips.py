"""A flipped bit in anything that a device reads to take a release: the release as it was published, or the one before."""

from __future__ import annotations

import pytest

from tests.faults.flips import Bench, count_wrong
from tests.simulators.attacked import memory_folder


@pytest.mark.timeout(120)
def test_no_flipped_bit_makes_a_device_run_anything_but_what_was_published() -> None:
    with memory_folder() as folder:
        counts, wrong = count_wrong(Bench(folder), most=5)
    assert wrong == []
    kinds = {"manifest", "the only form of", "zstd", "delta", "offers of", "base on the device", "summary", "metadata"}
    assert kinds <= counts.keys()
