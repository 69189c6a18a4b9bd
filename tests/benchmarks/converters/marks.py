"""What was wanted, what was measured, and whether it is met; and what all of these benchmarks need."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import SHARED

_WIDTH = 62


class Marks:
    """Bounds, printed as they are taken."""

    def __init__(self) -> None:
        self._missed = 0
        print(f"{'':{_WIDTH}} {'wanted':>12} {'measured':>10}  met", flush=True)

    def at_most(self, what: str, wanted: float, measured: float, form: str = ".3f") -> None:
        self._told(what, f"<= {wanted:{form}}", f"{measured:{form}}", is_met=measured <= wanted)

    def at_least(self, what: str, wanted: float, measured: float, form: str = ".4f") -> None:
        self._told(what, f">= {wanted:{form}}", f"{measured:{form}}", is_met=measured >= wanted)

    def is_so(self, what: str, measured: str, *, is_met: bool) -> None:
        self._told(what, "", measured, is_met=is_met)

    @property
    def exit_code(self) -> int:
        return int(self._missed > 0)

    def _told(self, what: str, wanted: str, measured: str, *, is_met: bool) -> None:
        self._missed += not is_met
        print(f"{what:{_WIDTH}} {wanted:>12} {measured:>10}  {'yes' if is_met else 'NO'}", flush=True)


def has_data() -> bool:
    """Whether the shared data is here; says so where it is not."""
    if (SHARED / "expected.json").is_file():
        return True
    print(f"the shared test data is not on this machine (looked in {SHARED}; set EDGE_SHARED_DATA); nothing measured")
    return False


@contextlib.contextmanager
def work(name: str) -> Iterator[Path]:
    """A folder for what is made: in $EDGE_BENCHMARKS, where it stays, else one that is removed."""
    with contextlib.ExitStack() as stack:
        root = os.environ.get("EDGE_BENCHMARKS") or stack.enter_context(tempfile.TemporaryDirectory())
        folder = Path(root) / name
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
