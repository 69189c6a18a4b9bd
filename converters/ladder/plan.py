"""Which recipes to try, and why not the others; decided before anything is built.

Promises: pure: the same facts give the same plan, which can be printed (`edge convert --plan`) and is what runs.
Leaves out: running it (`climb`), mixed precision, which depends on what was measured (`search`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.ladder.recipes import AS_IS, LADDER, Rung, find, fitted
from converters.spec import Format, Recipe, Scheme
from edge.contract.profile import EngineProfile, Lack
from edge.errors import InputError

__all__ = ["Facts", "Step", "asked_formats", "plan"]

_SMALL_BYTES = 20_000  # below it the tables of scales weigh more than the weights they save


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a plan depends on."""

    format: Format
    float_bytes: int
    has_samples: bool
    profiles: tuple[EngineProfile, ...]
    is_quantised: bool = False  # the source came so
    asked: tuple[str, ...] = ()  # recipes by name; empty: the usual ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One recipe: tried at once, tried when `after` missed the budget, or skipped because of `skipped`."""

    recipe: Recipe
    words: str
    after: str = ""
    skipped: str = ""


def plan(facts: Facts) -> tuple[Step, ...]:
    """The ladder for one format, in its order.

    Raises:
        InputError: a recipe that was asked for has no such name.
    """
    if facts.is_quantised:
        recipe = Recipe(name=AS_IS, format=facts.format, scheme=Scheme.GIVEN)
        return (Step(recipe=recipe, words="the source has integers in it already, and stays as it came"),)
    if facts.asked:
        chosen: Sequence[Rung] = [rung for name in facts.asked for rung in _known(name, facts.format)]
        return tuple(_step(rung, facts, is_asked=True) for rung in chosen)
    return tuple(_step(rung, facts, is_asked=False) for rung in LADDER[facts.format] if rung.is_usual)


def asked_formats(asked: Sequence[str], formats: Sequence[Format]) -> tuple[tuple[Format, ...], tuple[Format, ...]]:
    """The formats that have one of the recipes, and those that have none; without recipes all have one.

    Raises:
        InputError: a recipe that no format has, or only formats that were not asked for.
    """
    found = {rung.recipe.format for name in asked for rung in find(name, tuple(LADDER))}
    kept = tuple(each for each in formats if each in found or not asked)
    if not kept:
        raise InputError(f"recipe {', '.join(asked)} is of {' and '.join(sorted(found))}, not of {', '.join(formats)}")
    return kept, tuple(each for each in formats if each not in kept)


def _known(name: str, wanted: Format) -> tuple[Rung, ...]:
    return tuple(rung for rung in find(name, tuple(LADDER)) if rung.recipe.format == wanted)


def _step(rung: Rung, facts: Facts, *, is_asked: bool) -> Step:
    recipe = fitted(rung.recipe, facts.profiles)
    return Step(
        recipe=recipe,
        words=rung.words,
        after="" if is_asked else rung.after,
        skipped=_reason_against(rung, recipe, facts, is_asked=is_asked),
    )


def _reason_against(rung: Rung, recipe: Recipe, facts: Facts, *, is_asked: bool) -> str:
    if recipe.scheme is Scheme.FLOAT32:
        return ""
    if facts.float_bytes < _SMALL_BYTES and not is_asked:
        return f"the float file has {facts.float_bytes / 1000:.1f} kB; below 20 kB integers save nothing"
    if rung.needs_samples and not facts.has_samples:
        return "no representative data; give --calib"
    return _engine_against(recipe, facts.profiles, is_asked=is_asked)


def _engine_against(recipe: Recipe, profiles: Sequence[EngineProfile], *, is_asked: bool) -> str:
    if recipe.weight_bits == 4 and (lacking := _lacking(Lack.INT4, profiles)):  # noqa: PLR2004 - bits
        return f"{lacking} has no 4-bit weights"
    is_wide = recipe.activation_bits == 16 and recipe.format == "tflite"  # noqa: PLR2004 - bits
    if is_wide and not is_asked and (lacking := _lacking(Lack.INT16, profiles)):
        return f"{lacking} computes 16-bit activations in convolutions and dense layers only"
    return ""


def _lacking(lack: Lack, profiles: Sequence[EngineProfile]) -> str:
    return ", ".join(profile.name for profile in profiles if lack in profile.lacks)
