"""Which layer gets which precision: a recipe and the facts about a float file, turned into an ordered list of rules.

Promises: pure; the list is what runs and what can be printed. The last rule that fits a layer decides, and a rule is
only made for layers that can carry it: the quantizer skips one that a layer cannot carry and goes back to the rule
before (a weight-only rule on BATCH_MATMUL once turned full int8 on again).
Leaves out: applying them (`quantizer`), looking whether they were obeyed (`audit`).
Thread: any; pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum

from msgspec import Struct

from converters.spec import Recipe, Scheme
from edge.errors import InputError, RefusedError

__all__ = ["WEIGHTED", "Layer", "Precision", "Rule", "plan_rules", "wanted"]

# Operations whose weights the quantizer stores in integers while the activations stay float.
WEIGHTED = frozenset(
    {"BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "EMBEDDING_LOOKUP", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
)
_NIBBLED: dict[Scheme, tuple[str, ...]] = {  # those it stores in four bits
    Scheme.DYNAMIC: ("CONV_2D", "EMBEDDING_LOOKUP", "FULLY_CONNECTED"),
    Scheme.WEIGHT_ONLY: ("BATCH_MATMUL", "CONV_2D", "EMBEDDING_LOOKUP", "FULLY_CONNECTED"),
}
# Without an integer kernel in LiteRT 1.2, which boards run, and in tflite-runtime 2.14, though the newest LiteRT has
# one under the same version; and comparisons for equality, which mean nothing between rounded numbers.
_UNSUITED: dict[int, frozenset[str]] = {8: frozenset({"DIV", "EQUAL", "NOT_EQUAL", "SQRT"})}
_UNSUITED[16] = _UNSUITED[8] | {"GELU", "RSQRT", "SUM"}
_SOFTMAX = "SOFTMAX"
_LARGEST_HALF = 65504.0
# With one scale a channel its constant operand comes out as noise: in static int8 on every engine, with float
# activations on those before 2.17, and no version of the operator tells them apart.
_TENSORWISE = "BATCH_MATMUL"
# No engine has a fast kernel for it with weights in integers and activations in float: visual wake words take 0.49 ms
# with one, 0.13 ms with the weights alone in integers, at the same size; in float 0.11 ms.
_WEIGHTS_ALONE = "DEPTHWISE_CONV_2D"
_ALL = "*"
_ANYWHERE = "^"  # as ".*"; the quantizer puts a rule where it first met its scope, and this one must come last
_FOUR, _EIGHT, _SIXTEEN = 4, 8, 16


class Precision(str, Enum):
    """What a layer stores and computes with."""

    FLOAT = "float"
    FLOAT16 = "float16"
    WEIGHT_ONLY = "weight-only"
    DYNAMIC = "dynamic"
    STATIC = "static"


class Layer(Struct, frozen=True, kw_only=True):
    """One operation of a float file, as far as its precision goes."""

    operation: str  # by the schema's name
    outputs: tuple[str, ...]  # names of the tensors it makes
    group: str  # `Group.name`
    has_weights: bool = False  # a constant that `WEIGHTED` operations store in integers
    largest_weight: float = 0.0  # absolute, the bias included
    table: tuple[float, float] | None = None  # of a GATHER from a constant: its smallest and largest number
    is_even: bool = False  # looks up rows that may share a scale
    is_head: bool = False  # a softmax or logistic that nothing computes with afterwards
    is_fragile: bool = False  # makes or reads a mask
    is_steep: bool = False  # its scales of input times weights over output reach what XNNPACK refuses
    is_inner: bool = False  # in the body of a loop or branch, which calibration does not see
    is_summary: bool = False  # an average over a whole picture
    is_uneven: bool = False  # a constant that must get its output's scale has another number of axes


class Rule(Struct, frozen=True, kw_only=True):
    """Layers whose scope `scope` finds, and that are of `operation`, get this precision."""

    scope: str  # regular expression on the names of a layer's outputs, each with a semicolon behind it
    operation: str  # by the schema's name, or "*"
    precision: Precision
    weight_bits: int = 8
    activation_bits: int = 8
    is_per_channel: bool = True
    why: str = ""


def plan_rules(recipe: Recipe, layers: Sequence[Layer]) -> tuple[Rule, ...]:
    """The rules for one recipe, in order; the last that fits a layer decides.

    Raises:
        RefusedError: the recipe asks for what no engine computes.
        InputError: it names a group that the file does not have.
    """
    _check(recipe, layers)
    if recipe.scheme is Scheme.FLOAT32:
        return ()
    rules = [*_base(recipe), *_one_scale(recipe)]
    if recipe.scheme is Scheme.STATIC:
        rules += _static_exceptions(recipe, layers)
    if recipe.scheme is Scheme.DYNAMIC:
        why = "its kernel for float activations is several times as slow as the float one"
        rules.append(Rule(scope=".*", operation=_WEIGHTS_ALONE, precision=Precision.WEIGHT_ONLY, why=why))
        rules += _old_engines(recipe)
    if recipe.scheme in _NIBBLED:
        rules += _tables(layers)
    if recipe.weight_bits == _EIGHT:
        rules += _even_tables(recipe, layers)
    if recipe.scheme is Scheme.FLOAT16:
        large = [layer for layer in layers if layer.largest_weight > _LARGEST_HALF]
        rules += _kept(large, f"weights above {_LARGEST_HALF:.0f}, the largest number in half precision")
    rules += _kept([each for each in layers if each.group in recipe.kept_float], "kept float by the recipe")
    weight_only = [each for each in layers if each.group in recipe.kept_weight_only]
    rules += _weight_only(weight_only, "weights alone by the recipe")
    if recipe.scheme is Scheme.STATIC:
        rules += _ports(recipe)
    return tuple(rules)


def wanted(recipe: Recipe, layers: Sequence[Layer]) -> dict[tuple[str, ...], Precision]:
    """Layers, by their outputs, whose precision the recipe names and the result must have."""
    if recipe.scheme is Scheme.FLOAT32:
        return {}
    found: dict[tuple[str, ...], Precision] = {}
    for layer in layers:
        carried = Precision.WEIGHT_ONLY if layer.has_weights and layer.operation in WEIGHTED else Precision.FLOAT
        if layer.group in recipe.kept_weight_only:
            found[layer.outputs] = carried
        elif layer.group in recipe.kept_float:
            found[layer.outputs] = Precision.FLOAT
        elif recipe.scheme in _NIBBLED and layer.table is not None:
            found[layer.outputs] = Precision.STATIC
        elif _keeps_weights_alone(recipe, layer):
            found[layer.outputs] = carried
        elif recipe.scheme is Scheme.STATIC and _stays_float(recipe, layer):
            found[layer.outputs] = Precision.FLOAT
    return found


def _stays_float(recipe: Recipe, layer: Layer) -> bool:
    is_unsuited = layer.operation in _UNSUITED[recipe.activation_bits] or layer.operation == _SOFTMAX
    is_left = layer.is_summary or layer.is_uneven
    return is_unsuited or layer.is_inner or layer.is_head or layer.is_fragile or is_left


def _keeps_weights_alone(recipe: Recipe, layer: Layer) -> bool:
    """Layers with weights whose activations must stay float, whatever the recipe."""
    if recipe.scheme is not Scheme.STATIC:
        return recipe.scheme is Scheme.DYNAMIC and layer.operation == _WEIGHTS_ALONE
    if recipe.activation_bits == _EIGHT:
        return layer.is_steep
    return layer.operation == _TENSORWISE and layer.has_weights


def _check(recipe: Recipe, layers: Sequence[Layer]) -> None:
    if recipe.weight_bits not in {_FOUR, _EIGHT} or recipe.activation_bits not in {_EIGHT, _SIXTEEN}:
        raise RefusedError(
            f"{recipe.name}: expected weights of 4 or 8 bits and activations of 8 or 16, "
            f"found {recipe.weight_bits} and {recipe.activation_bits}"
        )
    if recipe.weight_bits == _FOUR and recipe.scheme not in _NIBBLED:
        raise RefusedError(
            f"{recipe.name}: 4-bit weights go with float activations; use the scheme weight-only or dynamic"
        )
    known = {layer.group for layer in layers}
    strangers = [name for name in (*recipe.kept_float, *recipe.kept_weight_only) if name not in known]
    if strangers:
        raise InputError(
            f"{recipe.name}: no group {strangers[0]!r} in this file; its groups are {', '.join(sorted(known)[:20])}"
        )


def _base(recipe: Recipe) -> Iterable[Rule]:
    """What holds for everything."""
    match recipe.scheme:
        case Scheme.FLOAT32 | Scheme.GIVEN:
            return
        case Scheme.FLOAT16:
            yield Rule(scope=".*", operation=_ALL, precision=Precision.FLOAT16)
        case Scheme.WEIGHT_ONLY | Scheme.DYNAMIC:
            precision = Precision.DYNAMIC if recipe.scheme is Scheme.DYNAMIC else Precision.WEIGHT_ONLY
            yield Rule(scope=".*", operation=_ALL, precision=precision)
            if recipe.weight_bits == _FOUR:
                for operation in _NIBBLED[recipe.scheme]:
                    yield Rule(scope=".*", operation=operation, precision=precision, weight_bits=_FOUR)
        case Scheme.STATIC:
            yield Rule(scope=".*", operation=_ALL, precision=Precision.STATIC, activation_bits=recipe.activation_bits)


def _one_scale(recipe: Recipe) -> Iterable[Rule]:
    """Layers whose weights have one scale for all, whatever the recipe."""
    if recipe.scheme not in {Scheme.STATIC, Scheme.DYNAMIC}:
        return
    is_static = recipe.scheme is Scheme.STATIC
    yield Rule(
        scope=".*",
        operation=_TENSORWISE,
        precision=Precision.STATIC if is_static else Precision.DYNAMIC,
        activation_bits=recipe.activation_bits if is_static else _EIGHT,
        is_per_channel=False,
        why="engines read one scale for all of a constant operand",
    )


def _static_exceptions(recipe: Recipe, layers: Sequence[Layer]) -> list[Rule]:
    rules = []
    if recipe.is_embedding_integer:
        why = "tables have no activations to calibrate"
        rules.append(Rule(scope=".*", operation="EMBEDDING_LOOKUP", precision=Precision.WEIGHT_ONLY, why=why))
    # of three attention blocks: 0.54 ms with it in float, 0.62 ms in int8, the same answers
    why = "in int8 it has steps of 1/256, and takes longer"
    rules.append(Rule(scope=".*", operation=_SOFTMAX, precision=Precision.FLOAT, why=why))
    bits = recipe.activation_bits
    unsuited = [layer for layer in layers if layer.operation in _UNSUITED[bits]]
    rules += _kept(unsuited, f"boards' engines have no {bits}-bit kernel for it")
    rules += _kept([layer for layer in layers if layer.is_inner], "bodies of loops and branches are not calibrated")
    # a thousand classes of nearly equal odds all become 0
    heads = [layer for layer in layers if layer.is_head and layer.operation != _SOFTMAX]
    rules += _kept(heads, "a head in int8 has steps of 1/256")
    # Its kernel has one scale for both sides, and averages are far smaller than what they average: ResNet8 on 2,000
    # CIFAR pictures 24.5 dB with it in float, 20.3 dB in int8, 0.969 and 0.954 of the answers, at the same speed.
    rules += _kept([layer for layer in layers if layer.is_summary], "an average shares the scale of what it averages")
    rules += _kept([layer for layer in layers if layer.is_uneven], "the quantizer cannot give its constant a scale")
    rules += _kept([layer for layer in layers if layer.is_fragile], "a mask's range leaves nothing for the numbers")
    why = (
        "XNNPACK refuses scales of input times weights over output of 256 and more"
        if bits == _EIGHT
        else "boards' engines multiply 16-bit numbers with 16-bit ones only"
    )
    return rules + _weight_only([layer for layer in layers if _keeps_weights_alone(recipe, layer)], why)


def _ports(recipe: Recipe) -> list[Rule]:
    """Inputs and outputs are layers to the quantizer, in the scope of their tensors: theirs are the last rules."""
    is_float = recipe.io == "float"
    return [
        Rule(
            scope=_ANYWHERE,
            operation=operation,
            precision=Precision.FLOAT if is_float else Precision.STATIC,
            activation_bits=_EIGHT if is_float else recipe.activation_bits,
            why="inputs and outputs are real numbers" if is_float else "inputs and outputs are integers",
        )
        for operation in ("INPUT", "OUTPUT")
    ]


def _old_engines(recipe: Recipe) -> list[Rule]:
    rules = []
    if not recipe.is_dense_per_channel:
        rules.append(
            Rule(
                scope=".*",
                operation="FULLY_CONNECTED",
                precision=Precision.DYNAMIC,
                weight_bits=recipe.weight_bits,
                is_per_channel=False,
                why="engines before 2.17 read one scale for all of a dense layer",
            )
        )
        why = "engines before 2.17 refuse integer weights with float activations here"
        rules.append(Rule(scope=".*", operation="TRANSPOSE_CONV", precision=Precision.WEIGHT_ONLY, why=why))
    if not recipe.is_embedding_integer:
        why = "engines before 2.18 read one scale for all of an embedding"
        rules.append(Rule(scope=".*", operation="EMBEDDING_LOOKUP", precision=Precision.FLOAT, why=why))
    return rules


def _tables(layers: Sequence[Layer]) -> list[Rule]:
    """Rows of a table are looked up in integers and made real numbers afterwards; the table needs no calibration."""
    found = [layer for layer in layers if layer.table is not None]
    if not found:
        return []
    why = "rows of a table are looked up in integers"
    return [Rule(scope=_scope(found), operation="GATHER", precision=Precision.STATIC, why=why)]


def _even_tables(recipe: Recipe, layers: Sequence[Layer]) -> list[Rule]:
    """Word vectors whose rows may share a scale: smaller, and read rightly by engines that know one scale alone.

    A transformer's dynamic file for those engines fell from 623 kB, its table in float, to 239 kB.
    """
    precisions = {Scheme.WEIGHT_ONLY: Precision.WEIGHT_ONLY, Scheme.STATIC: Precision.WEIGHT_ONLY}
    precisions[Scheme.DYNAMIC] = Precision.DYNAMIC
    found = [layer for layer in layers if layer.is_even]
    if not found or recipe.scheme not in precisions:
        return []
    if recipe.scheme is Scheme.STATIC and not recipe.is_embedding_integer:
        return []
    return [
        Rule(
            scope=_scope(found),
            operation="EMBEDDING_LOOKUP",
            precision=precisions[recipe.scheme],
            is_per_channel=False,
            why="one scale does for all of its rows",
        )
    ]


def _kept(layers: Sequence[Layer], why: str) -> list[Rule]:
    if not layers:
        return []
    return [Rule(scope=_scope(layers), operation=_ALL, precision=Precision.FLOAT, why=why)]


def _weight_only(layers: Sequence[Layer], why: str) -> list[Rule]:
    rules = _kept(layers, why)
    heavy = [layer for layer in layers if layer.has_weights and layer.operation in WEIGHTED]
    for operation in sorted({layer.operation for layer in heavy}):
        mine = [layer for layer in heavy if layer.operation == operation]
        rules.append(Rule(scope=_scope(mine), operation=operation, precision=Precision.WEIGHT_ONLY, why=why))
    return rules


def _scope(layers: Sequence[Layer]) -> str:
    """A regular expression that finds these layers and no others."""
    exact = ["".join(re.escape(name) + ";" for name in layer.outputs) for layer in layers]
    return f"^(?:{'|'.join(exact)})$"
