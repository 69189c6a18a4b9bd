from __future__ import annotations

import pytest

from edge.central.rollout.cohort import parse_cohort
from edge.errors import InputError

FACTS = {"model": "Raspberry Pi 5", "memory_mb": "4096", "engines": "litert onnx"}


@pytest.mark.parametrize(
    ("text", "is_in"),
    [
        ("", True),
        ("memory_mb>=2000 label:site=north", True),
        ("memory_mb<2000", False),
        ("'model=raspberry pi 5'", True),
        ("model=jetson,raspberry*", True),
        ("model!=raspberry*", False),
        ("engines~onnx", True),
        ("color=red", False),
        ("color!=red", True),
        ("model>3", False),
        ("label:site=south", False),
    ],
)
def test_conditions_choose_devices_by_what_they_tell(text: str, *, is_in: bool) -> None:
    assert parse_cohort(text).holds(FACTS, {"site": "north"}) is is_in


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model", "'model' is no condition"),
        ("model=", "lacks a value"),
        ("memory_mb>lots", "which is no number"),
        ("'model=a", "a quotation mark is not closed"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_cohort(text)
