"""The recipes by name: what each stores, what it computes with, and what it is good for.

Promises: a recipe's name says what it is: `dyn8` is dynamic-range and `int8` is full integer, whatever other tools call
theirs. The order is that of the ladder: from the surest to the most daring.
Leaves out: which of them to try (`plan`), how they are made (`converters.emit`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from converters.spec import Format, Recipe, Scheme
from edge.contract.profile import EngineProfile, Lack
from edge.errors import InputError

__all__ = ["AS_IS", "LADDER", "Rung", "file_name", "find", "fitted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A recipe and when it is for.

    `is_usual`: tried without being asked for. `after`: tried only when that one was built and missed the budget.
    """

    recipe: Recipe
    words: str
    is_usual: bool = True
    after: str = ""

    @property
    def needs_samples(self) -> bool:
        """Whether ranges of activations must be known."""
        return self.recipe.scheme is Scheme.STATIC


def _tflite(name: str, scheme: Scheme, words: str, *, is_usual: bool = True, after: str = "", **more: object) -> Rung:
    recipe = Recipe(name=name, format="tflite", scheme=scheme, **more)  # type: ignore[arg-type]
    return Rung(recipe=recipe, words=words, is_usual=is_usual, after=after)


def _onnx(name: str, scheme: Scheme, words: str, *, is_usual: bool = True, after: str = "", **more: object) -> Rung:
    recipe = Recipe(name=name, format="onnx", scheme=scheme, **more)  # type: ignore[arg-type]
    return Rung(recipe=recipe, words=words, is_usual=is_usual, after=after)


LADDER: dict[Format, tuple[Rung, ...]] = {
    "tflite": (
        _tflite("fp32", Scheme.FLOAT32, "the float file itself"),
        _tflite("fp16", Scheme.FLOAT16, "weights in half precision: half the size, the same speed"),
        _tflite("wo8", Scheme.WEIGHT_ONLY, "weights in int8, computed in float: a quarter of the size, the same speed"),
        _tflite(
            "dyn8", Scheme.DYNAMIC, "weights in int8, activations turned into int8 while it runs; no samples needed"
        ),
        _tflite("int8", Scheme.STATIC, "weights and activations in int8; softmax, inputs and outputs stay float"),
        _tflite(
            "int8-cle",
            Scheme.STATIC,
            "int8 after cross-layer equalization, for channels that stand out",
            after="int8",
            is_equalized=True,
        ),
        _tflite(
            "int8-io",
            Scheme.STATIC,
            "int8 with int8 inputs and outputs, for callers that quantise themselves",
            is_usual=False,
            io="int8",
        ),
        _tflite(
            "int16x8",
            Scheme.STATIC,
            "activations in int16: exact, and slow on most processors",
            is_usual=False,
            activation_bits=16,
        ),
        _tflite(
            "wo4",
            Scheme.WEIGHT_ONLY,
            "weights in int4, computed in float: an eighth of the size",
            is_usual=False,
            weight_bits=4,
        ),
        _tflite(
            "dyn4",
            Scheme.DYNAMIC,
            "weights in int4, activations turned into int8 while it runs",
            is_usual=False,
            weight_bits=4,
        ),
    ),
    # ONNX Runtime takes uint8 activations with int8 weights at twice the speed of int8 with int8 on x86 (measured), and
    # no slower on ARM (its makers say). Without VNNI x86 saturates them, unless asked for exact integers, as we do.
    "onnx": (
        _onnx("fp32", Scheme.FLOAT32, "the float file itself"),
        _onnx("fp16", Scheme.FLOAT16, "weights in half precision: half the size, the same speed", is_usual=False),
        _onnx("wo8", Scheme.WEIGHT_ONLY, "weights in int8, computed in float: a quarter of the size, the same speed"),
        _onnx(
            "dyn8", Scheme.DYNAMIC, "weights in uint8, activations turned into uint8 while it runs; no samples needed"
        ),
        _onnx(
            "int8",
            Scheme.STATIC,
            "weights in int8, activations in uint8 (QDQ); softmax, inputs and outputs stay float",
            activation_type="uint8",
        ),
        _onnx(
            "int8-cle",
            Scheme.STATIC,
            "int8 after cross-layer equalization, for channels that stand out",
            after="int8",
            activation_type="uint8",
            is_equalized=True,
        ),
        _onnx(
            "int8-s8s8",
            Scheme.STATIC,
            "activations in int8 as well, for accelerators that know no other",
            is_usual=False,
        ),
        _onnx(
            "int8-x86",
            Scheme.STATIC,
            "uint8 activations and 7-bit weights, for other programs on x86 without VNNI",
            is_usual=False,
            activation_type="uint8",
            is_range_reduced=True,
        ),
        _onnx("int16", Scheme.STATIC, "activations in int16: exact, and slow", is_usual=False, activation_bits=16),
    ),
}


AS_IS = "as-is"  # what came quantised: not quantised again, its own file in its own format


def find(name: str, formats: Sequence[Format]) -> tuple[Rung, ...]:
    """The rungs called `name`, one for each format that has it.

    Raises:
        InputError: no format has it.
    """
    found = tuple(rung for each in formats for rung in LADDER[each] if rung.recipe.name == name)
    if not found:
        known = ", ".join(dict.fromkeys(rung.recipe.name for each in formats for rung in LADDER[each]))
        raise InputError(f"no recipe {name!r}; there are {known}")
    return found


def file_name(model: str, recipe: Recipe) -> str:
    """What a variant is called in a bundle: `digits.int8.tflite`; a file that was given keeps its own name."""
    if recipe.name == AS_IS:
        return f"{model}.{recipe.format}"
    if recipe.scheme is Scheme.GIVEN:
        return f"{recipe.name}.{recipe.format}"
    return f"{model}.{recipe.name}.{recipe.format}"


def fitted(recipe: Recipe, profiles: Sequence[EngineProfile]) -> Recipe:
    """The recipe as all these engines compute it right.

    Engines before 2.16 read one scale a channel as one for all of a dense or embedding layer, without a word, where
    activations are float; for them dense layers get one scale, and embeddings one, or they stay float where it will not
    do.
    """
    if recipe.format != "tflite" or recipe.scheme is not Scheme.DYNAMIC:
        return recipe
    if not any(Lack.HYBRID_PER_CHANNEL in profile.lacks for profile in profiles):
        return recipe
    return replace(recipe, is_dense_per_channel=False, is_embedding_integer=False)
