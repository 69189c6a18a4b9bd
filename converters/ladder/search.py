"""Finds the few groups of operations that full int8 cannot carry, and what to leave them at.

Promises: groups are ranked by the harm each does alone; the worst are taken out one at a time, each time the best of
the four next ones as measured, since taking out more is not always better (0.59 with three, 0.26 with four); then every
one that is not needed goes back, the largest first, and what must stay out keeps its weights in int8 where that is
enough. Whatever ends the search, the best that was found is returned.
Leaves out: building and measuring (`bench`).
Thread: main.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from converters.ladder.workspace import Measured
from converters.spec import Group, Recipe

__all__ = ["Found", "isolated", "search"]

_AHEAD = 4  # candidates measured in each round
_HARMLESS_DB = 60.0  # a group that costs no more alone is never the culprit


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search came to. `is_within`: the recipe met the goal on the search's samples."""

    recipe: Recipe
    measured: Measured
    is_within: bool
    groups: tuple[Group, ...]  # worst first, with `action` set on those that stay out


def isolated(
    base: Recipe, groups: Sequence[Group], measure: Callable[[Recipe], Measured], is_over: Callable[[], bool]
) -> tuple[Group, ...]:
    """Each group with the SQNR of the model that has this group alone in integers, worst first.

    When the time is up, those that are left stay unmeasured, at the end.
    """
    names = [group.name for group in groups]
    found = []
    for group in groups:
        if is_over():
            found.append(group)
            continue
        alone = replace(base, name="alone", kept_float=tuple(name for name in names if name != group.name))
        found.append(replace(group, sqnr_db=measure(alone).sqnr_db))
    return tuple(sorted(found, key=lambda group: (group.sqnr_db is None, group.sqnr_db or 0.0)))


def search(
    base: Recipe,
    ranked: Sequence[Group],
    measure: Callable[[Recipe], Measured],
    *,
    is_over: Callable[[], bool],
) -> Found:
    """Mixed precision from `base`.

    Args:
        base: the full-integer recipe.
        ranked: its groups, worst first, as `isolated` gives them.
        measure: builds and measures a recipe; one that cannot be built or run is as bad as can be.
        is_over: whether the time is up.
    """
    run = _Search(replace(base, name="int8-mixed"), ranked, measure, is_over)
    run.take_out()
    if run.is_within:
        run.put_back()
        run.shrink()
    return Found(
        recipe=run.recipe(run.out, run.weight_only),
        measured=run.measured,
        is_within=run.is_within,
        groups=tuple(run.acted(group) for group in ranked),
    )


class _Search:
    """The state of one search: which groups are out, which of them keep their weights, and how good that is."""

    def __init__(
        self,
        mixed: Recipe,
        ranked: Sequence[Group],
        measure: Callable[[Recipe], Measured],
        is_over: Callable[[], bool],
    ) -> None:
        self._mixed = mixed
        self._ranked = ranked
        self._measure = measure
        self._is_over = is_over
        self.out: tuple[str, ...] = ()
        self.weight_only: tuple[str, ...] = ()
        self.measured = measure(mixed)

    @property
    def is_within(self) -> bool:
        return self.measured.is_within

    def recipe(self, out: Sequence[str], weight_only: Sequence[str] = ()) -> Recipe:
        kept = tuple(name for name in out if name not in weight_only)
        return replace(self._mixed, kept_float=kept, kept_weight_only=tuple(weight_only))

    def take_out(self) -> None:
        """One group a round, until the goal is met, nothing harmful is left, or the time is up; keep the best."""
        rest = [group.name for group in self._ranked if group.sqnr_db is None or group.sqnr_db < _HARMLESS_DB]
        out, measured = self.out, self.measured
        while rest and not measured.is_within and not self._is_over():
            tried = [(self._measure(self.recipe((*out, name))), name) for name in rest[:_AHEAD]]
            measured, name = max(tried, key=lambda pair: _worth(pair[0]))
            out = (*out, name)
            rest.remove(name)
            if _worth(measured) > _worth(self.measured):
                self.out, self.measured = out, measured

    def put_back(self) -> None:
        """Every group that is not needed outside, the largest first."""
        for name in self._largest_first(self.out):
            if self._is_over():
                return
            without = tuple(each for each in self.out if each != name)
            found = self._measure(self.recipe(without))
            if found.is_within:
                self.out, self.measured = without, found

    def shrink(self) -> None:
        """Let those outside keep their weights in int8: all at once, else one by one."""
        heavy = {group.name for group in self._ranked if group.weight_bytes}
        candidates = tuple(name for name in self.out if name in heavy)
        if not candidates or self._is_over():
            return
        if self._keeps(candidates):
            return
        for name in self._largest_first(candidates):
            if self._is_over():
                return
            self._keeps((*self.weight_only, name))

    def acted(self, group: Group) -> Group:
        """The group with what was done about it."""
        if group.name in self.weight_only:
            return replace(group, action="weight-only")
        return replace(group, action="float") if group.name in self.out else group

    def _keeps(self, names: tuple[str, ...]) -> bool:
        found = self._measure(self.recipe(self.out, names))
        if found.is_within:
            self.weight_only, self.measured = names, found
            return True
        return False

    def _largest_first(self, names: Sequence[str]) -> list[str]:
        sizes = {group.name: group.weight_bytes for group in self._ranked}
        return sorted(names, key=lambda name: -sizes.get(name, 0))


def _worth(measured: Measured) -> tuple[bool, float]:
    return measured.is_within, measured.sqnr_db
