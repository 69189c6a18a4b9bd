"""The greedy search, on models that are formulas: how good a recipe is follows from the groups it leaves out."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from converters.ladder.search import isolated, search
from converters.ladder.workspace import Measured
from converters.spec import Group, Recipe, Scheme

_BASE = Recipe(name="int8", format="tflite", scheme=Scheme.STATIC)


def _group(name: str, weight_bytes: int = 100, sqnr_db: float | None = None) -> Group:
    return Group(name=name, operations=("CONV_2D",), tensors=(name,), weight_bytes=weight_bytes, sqnr_db=sqnr_db)


class _Formula:
    """Measures recipes by `sqnr`, a function of what stays float and what keeps integer weights; counts the calls."""

    def __init__(self, sqnr: Callable[[frozenset[str], frozenset[str]], float]) -> None:
        self._sqnr = sqnr
        self.calls = 0

    def __call__(self, recipe: Recipe) -> Measured:
        self.calls += 1
        found = self._sqnr(frozenset(recipe.kept_float), frozenset(recipe.kept_weight_only))
        return Measured(
            key=str(self.calls), size_bytes=1, sqnr_db=found, score=min(1.0, found / 40), is_within=found >= 30
        )


def _never() -> bool:
    return False


def _find(measure: _Formula, ranked: list[Group], *, is_over: Callable[[], bool] = _never):
    return search(_BASE, ranked, measure, is_over=is_over)


def test_groups_are_ranked_by_the_harm_that_each_does_alone() -> None:
    harm = {"a": 50.0, "b": 3.0, "c": 20.0}

    def alone(kept: frozenset[str], _weights: frozenset[str]) -> float:
        (quantised,) = set(harm) - kept
        return harm[quantised]

    ranked = isolated(_BASE, [_group(name) for name in harm], _Formula(alone), _never)
    assert [(group.name, group.sqnr_db) for group in ranked] == [("b", 3.0), ("c", 20.0), ("a", 50.0)]


def test_groups_that_were_not_reached_in_time_stand_unmeasured_at_the_end() -> None:
    left = iter([False, True, True])
    ranked = isolated(_BASE, [_group(n) for n in "abc"], _Formula(lambda _k, _w: 10.0), lambda: next(left))
    assert [(group.name, group.sqnr_db) for group in ranked] == [("a", 10.0), ("b", None), ("c", None)]


def test_the_culprits_are_taken_out_and_nothing_else() -> None:
    culprits = {"b", "d"}
    measure = _Formula(lambda kept, _weights: 35.0 if culprits <= kept else 5.0 + len(kept & culprits))
    found = _find(measure, [_group(name, sqnr_db=10.0) for name in "abcdef"])
    assert found.is_within
    assert set(found.recipe.kept_float) == culprits
    assert found.recipe.name == "int8-mixed"
    assert {group.name for group in found.groups if group.action == "float"} == culprits


def test_weights_stay_integers_where_that_is_enough_and_only_there() -> None:
    def sqnr(kept: frozenset[str], weights: frozenset[str]) -> float:
        if "a" not in kept:  # its weights themselves were rescaled
            return 8.0
        return 40.0 if "b" in kept | weights else 8.0

    found = _find(_Formula(sqnr), [_group("a", 10, sqnr_db=1.0), _group("b", 999, sqnr_db=2.0)])
    assert found.is_within
    assert found.recipe.kept_float == ("a",)
    assert found.recipe.kept_weight_only == ("b",)
    assert [group.action for group in found.groups] == ["float", "weight-only"]


def test_one_more_group_outside_may_make_it_worse_and_does_not_mislead() -> None:
    """As measured on a depthwise net: three out 0.59, four out 0.26, six out 0.99."""
    pairs = ({"a", "x"}, {"b", "y"})

    def sqnr(kept: frozenset[str], _weights: frozenset[str]) -> float:
        return 5.0 + sum(20.0 if pair <= kept else -2.0 for pair in pairs if pair & kept)

    found = _find(_Formula(sqnr), [_group(name, sqnr_db=1.0) for name in ("a", "x", "b", "y", "z")])
    assert found.is_within
    assert set(found.recipe.kept_float) == {"a", "x", "b", "y"}


def test_what_is_not_needed_goes_back_the_largest_first() -> None:
    def sqnr(kept: frozenset[str], _weights: frozenset[str]) -> float:
        return 31.0 if "small" in kept else 20.0 + 3.0 * len(kept)

    ranked = [_group("large", 5000, 1.0), _group("middle", 500, 2.0), _group("small", 50, 3.0)]
    found = _find(_Formula(sqnr), ranked)
    assert found.recipe.kept_float == ("small",)


def test_without_a_way_the_best_of_all_that_was_tried_comes_back() -> None:
    best = frozenset({"b"})
    measure = _Formula(lambda kept, _weights: 20.0 if kept == best else 5.0 - len(kept))
    found = _find(measure, [_group(name, sqnr_db=1.0) for name in "abc"])
    assert not found.is_within
    assert found.recipe.kept_float == ("b",)
    assert found.measured.sqnr_db == 20.0


@pytest.mark.parametrize("steps", range(6))
def test_whenever_the_time_is_up_a_recipe_that_was_measured_comes_back(steps: int) -> None:
    counter = itertools.count()
    culprits = {"a", "b", "c"}
    measure = _Formula(lambda kept, _weights: 35.0 if culprits <= kept else 5.0 + len(kept & culprits))
    found = _find(measure, [_group(n, sqnr_db=1.0) for n in "abcdef"], is_over=lambda: next(counter) >= steps)
    assert found.measured.sqnr_db == (35.0 if found.is_within else 5.0 + len(set(found.recipe.kept_float) & culprits))


def test_harmless_groups_are_never_measured_as_culprits() -> None:
    measure = _Formula(lambda kept, _weights: 35.0 if "a" in kept else 5.0)
    _find(measure, [_group("a", sqnr_db=1.0), *(_group(f"h{n}", sqnr_db=90.0) for n in range(50))])
    assert measure.calls < 10
