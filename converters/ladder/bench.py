"""Builds candidates and measures them quickly, for a search: one engine, some samples, no times.

Promises: what was measured once is not measured again, in this run or in one that goes on from it; a candidate that
cannot be built or run is as bad as can be, and ends nothing; a later run tries it again unless the recipe was refused;
no candidate's file stays.
Leaves out: which candidates there are (`search`).
Thread: main.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from converters.judge.metrics import Judge, is_within
from converters.ladder.workspace import Measured, Workspace
from converters.spec import Budget, Group, Note, Recipe
from edge.clock import Clock
from edge.compute.tensors import Array
from edge.engines.host import EngineHost
from edge.errors import EdgeError, RefusedError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Bench", "Builder", "Built", "Searching"]

_TIMEOUT_S = 300.0
_WORST_DB = -200.0
_STRICTER = 0.5  # of the drop that is allowed: what holds on some samples must hold on all


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A file that was made."""

    notes: tuple[Note, ...]
    seconds: float


class Builder(Protocol):
    """Makes files; see `build`."""

    def build(self, recipe: Recipe, target: Path) -> Built:
        """Make a variant.

        Raises:
            RefusedError: the recipe cannot be carried out on this model.
            EdgeError: the tool failed.
        """
        ...

    def groups(self, *, is_equalized: bool) -> tuple[Group, ...]:
        """What can get a precision of its own, with the ranges that were seen."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Searching:
    """What a search measures with: some samples in the file's own axes, and who judges the answers to them."""

    inputs: tuple[Array, ...]
    judge: Judge
    seconds: float  # for ranking and searching together


class Bench:
    """A context manager."""

    def __init__(
        self,
        workspace: Workspace,
        builder: Builder,
        searching: Searching,
        budget: Budget,
        *,
        name: str,
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        """`name` is that of the findings in the workspace."""
        self._workspace = workspace
        self._builder = builder
        self._searching = searching
        self._goal = replace(budget, max_drop=budget.max_drop * _STRICTER)
        self._name = name
        self._clock = clock
        self._tell = tell
        self._known = workspace.measured(name)
        self._host = EngineHost(what="a candidate")
        self._end_s = clock.monotonic_s() + searching.seconds

    def measure(self, recipe: Recipe) -> Measured:
        """Build and run one candidate, or look it up."""
        key = self._workspace.key(recipe)
        if key not in self._known:
            self._known[key] = self._found(recipe, key)
        return self._known[key]

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._clock.monotonic_s() >= self._end_s

    def __enter__(self) -> Self:
        self._host.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._host.__exit__(kind, error, trace)

    def _found(self, recipe: Recipe, key: str) -> Measured:
        target = self._workspace.place(recipe)
        try:
            self._builder.build(recipe, target)
            size = target.stat().st_size
            replay = self._host.replay(target, self._searching.inputs, timeout_s=_TIMEOUT_S)
            agreement = self._searching.judge.compare(replay.outputs)
        except EdgeError as err:
            self._tell(f"a candidate failed: {err}")
            failed = Measured(key=key, size_bytes=0, sqnr_db=_WORST_DB, score=0.0, is_within=False)
            # What lacked time or memory may have them in the next run.
            return self._noted(failed) if isinstance(err, RefusedError) else failed
        finally:
            target.unlink(missing_ok=True)
        return self._noted(
            Measured(
                key=key,
                size_bytes=size,
                sqnr_db=agreement.sqnr_db,
                score=agreement.score,
                is_within=is_within(agreement, self._goal),
            )
        )

    def _noted(self, measured: Measured) -> Measured:
        self._workspace.note(self._name, measured)
        return measured
