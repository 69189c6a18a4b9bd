"""What old Keras wrote about a model, put in the words of today's.

Promises: nothing changes but words: a setting that today's layer no longer knows is dropped only where it says nothing
about the answers; mixed precision becomes float32; what cannot be rebuilt is refused by the layer's name.
Leaves out: the files (`opening`).
Thread: any; pure, but for making a layer on trial.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

from edge.errors import UnsupportedSourceError

__all__ = ["in_float32", "layers_in", "lost_setting", "modernise", "refuse_what_cannot_be", "strange_classes"]

_CONTAINERS = frozenset({"Functional", "Sequential", "Model"})
_RENAMED = {"BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization"}
_MODULES = {"Functional": "keras.src.models.functional", "Sequential": "keras"}  # as Keras 3 writes them
_TENSORFLOW_OPERATIONS = frozenset({
    "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty",
})  # fmt: skip
_TEXTS = frozenset({"TextVectorization", "StringLookup", "Hashing", "HashedCrossing"})
_POLICIES = frozenset({"mixed_float16", "mixed_bfloat16", "float16", "bfloat16"})
# Settings that are gone, whose values say nothing about the answers: how weights began, how training was held back,
# which of several ways to the same numbers was taken, what shapes were seen.
_IDLE_ENDINGS = ("_initializer", "_regularizer", "_constraint")
_IDLE = frozenset({
    "implementation", "fused", "renorm_momentum", "rng_type", "query_shape", "key_shape", "value_shape", "input_length",
    "trainable",
})  # fmt: skip
# Values of settings that are gone which mean what happens anyhow.
_AS_USUAL: dict[str, tuple[Any, ...]] = {"groups": (1,)}  # DepthwiseConv2D, SeparableConv2D
_NOTHING: tuple[Any, ...] = (None, False, [], {}, "")
# A name may differ and mean the same (swish, silu); weights are no settings.
_NOT_COMPARED = frozenset({
    "name", "dtype", "seed", "trainable", "batch_input_shape", "batch_shape", "input_shape", "activation",
    "recurrent_activation",
})  # fmt: skip


def layers_in(config: Any) -> Iterator[dict[str, Any]]:
    """Every object with a class and settings, outermost first: models, layers, layers in layers."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str) and isinstance(config.get("config"), dict):
            yield config
        for value in config.values():
            yield from layers_in(value)
    elif isinstance(config, list):
        for value in config:
            yield from layers_in(value)


def refuse_what_cannot_be(config: Any, *, is_archive: bool, is_code_trusted: bool) -> None:
    """Look for what Keras 3 has no place for.

    Raises:
        UnsupportedSourceError: TensorFlow operations stored as layers, texts as inputs, code that is not trusted.
    """
    for layer in layers_in(config):
        name = layer["config"].get("name", layer["class_name"])
        if layer["class_name"] in _TENSORFLOW_OPERATIONS:
            raise UnsupportedSourceError(
                f"E508 layer {name!r} is a bare operation of TensorFlow, which Keras 3 cannot rebuild; where the model "
                "was made, save it with tf.saved_model.save(model, 'FOLDER') and convert the folder"
            )
        if layer["class_name"] in _TEXTS:
            raise UnsupportedSourceError(
                f"E508 layer {name!r} ({layer['class_name']}) takes texts, which no engine of a device does; save the "
                "model behind it, keras.Model(inputs=the layer's output, ...), and name its tokenizer in the manifest"
            )
        if layer["class_name"] == "Lambda" and not is_code_trusted:
            raise UnsupportedSourceError(
                f"E504 layer {name!r} is a Lambda, Python code in the file that runs when it is opened; if you trust "
                "its maker, add --trust-pickle"
            )
        axis = layer["config"].get("axis", 0)
        if not is_archive and (axis is None or (isinstance(axis, list) and len(axis) > 1)):
            raise UnsupportedSourceError(
                f"E508 layer {name!r} works along axes {axis}, which Keras 3 forgets when it reads .h5; save it as "
                ".keras, or as a SavedModel"
            )
        if layer["class_name"] == "QuantizedDTypePolicy":
            raise UnsupportedSourceError(
                "E508 it was quantized by Keras itself (model.quantize); save it before that, and let this tool do it"
            )


def modernise(config: Any, find: Callable[[str], Any], *, is_archive: bool) -> tuple[str, ...]:
    """Change what Keras 2 wrote in place.

    Args:
        config: as JSON has it.
        find: gives the class of a layer by its name, None for a strange one.
        is_archive: from a .keras file, which names modules and is read by other rules than .h5.

    Returns:
        What was changed, for people: "DepthwiseConv2D.groups".
    """
    changed: dict[str, None] = {}
    for layer in list(layers_in(config)):
        name, settings = layer["class_name"], layer["config"]
        if name == "Model" and "input_layers" in settings:
            layer["class_name"] = "Functional"
            changed["Model"] = None
        if name in _RENAMED:
            layer["class_name"] = _RENAMED[name]
            changed[name] = None
        if name == "GRU" and "reset_after" not in settings:
            settings["reset_after"] = False  # as it was before there was a choice
            changed["GRU.reset_after"] = None
        if is_archive and _move(layer):
            changed["modules"] = None
        if _renumber(settings):
            changed["nodes of inner models"] = None
        if _revive(settings):
            changed["tensors given by name"] = None
        for key in _dropped(find(layer["class_name"]), settings):
            changed[f"{name}.{key}"] = None
    return tuple(changed)


def in_float32(config: Any) -> bool:
    """Turn precision that only training has a use for into float32, in place; whether there was any."""
    is_changed = False
    for layer in layers_in(config):
        settings = layer["config"]
        policy = settings.get("dtype")
        if isinstance(policy, dict):  # {"class_name": "Policy", "config": {"name": ...}}
            policy = policy.get("config", {}).get("name")
        if policy in _POLICIES:
            settings["dtype"] = "float32"
            is_changed = True
    return is_changed


def strange_classes(config: Any, find: Callable[[str], Any]) -> tuple[str, ...]:
    """Layers that are not Keras's own."""
    names = {
        layer["class_name"]
        for layer in _entries(config)
        if layer["class_name"] not in _CONTAINERS | {"InputLayer"} and find(layer["class_name"]) is None
    }
    return tuple(sorted(names))


def lost_setting(saved: Any, live: dict[str, dict[str, Any]]) -> str:
    """The first setting that a layer has lost on its way into the model, as a sentence; "" where there is none.

    Args:
        saved: the configuration in the file.
        live: of each layer of the model that has its name to itself, its settings.
    """
    for layer in _entries(saved):
        name = str(layer["config"].get("name"))
        now = {} if layer["class_name"].startswith("Random") else live.get(name, {})  # these do nothing but in training
        for key, value in layer["config"].items():
            if key not in now or key in _NOT_COMPARED or not _is_plain(value) or not _is_plain(now[key]):
                continue
            if not _is_same(value, now[key]):
                return f"layer {name!r} was saved with {key} {value} and comes back with {now[key]}"
    return ""


def _entries(config: Any) -> Iterator[dict[str, Any]]:
    """The layers of every model in it."""
    for model in layers_in(config):
        for layer in model["config"].get("layers", ()) if isinstance(model["config"].get("layers"), list) else ():
            if isinstance(layer, dict) and isinstance(layer.get("config"), dict) and "class_name" in layer:
                yield layer


def _move(layer: dict[str, Any]) -> bool:
    """Names of modules and of input shapes, from Keras 2's to Keras 3's."""
    settings = layer["config"]
    is_moved = False
    if (module := _MODULES.get(layer["class_name"])) and layer.get("module") != module:
        layer["module"] = module
        is_moved = True
    if isinstance(settings.get("dtype"), dict) and settings["dtype"].get("class_name") == "Policy":
        settings["dtype"] = settings["dtype"]["config"]["name"]
        is_moved = True
    if isinstance(settings.get("axis"), list) and len(settings["axis"]) == 1:
        (settings["axis"],) = settings["axis"]
        is_moved = True
    if "inbound_nodes" in layer and layer.pop("build_config", None):  # the call builds it; attention wants more shapes
        is_moved = True
    if "batch_input_shape" in settings:
        shape = settings.pop("batch_input_shape")
        if layer["class_name"] == "InputLayer":
            settings["batch_shape"] = shape
        is_moved = True
    return is_moved


def _renumber(settings: dict[str, Any]) -> bool:
    """In Keras 2 a model inside a model counted its own making as call 0, so that its first use was call 1."""
    inner = {
        layer["config"].get("name")
        for layer in settings.get("layers", ()) or ()
        if isinstance(layer, dict) and layer.get("class_name") in _CONTAINERS and isinstance(layer.get("config"), dict)
    }
    nodes = [layer.get("inbound_nodes") for layer in settings.get("layers", ()) or () if isinstance(layer, dict)]
    uses = list(_uses([nodes, settings.get("output_layers")]))
    is_changed = False
    for name in inner:
        mine = [use for use in uses if use[0] == name]
        if mine and min(use[1] for use in mine) > 0:
            is_changed = True
            for use in mine:
                use[1] -= 1
    return is_changed


def _revive(settings: dict[str, Any]) -> bool:
    """Calls with tensors among their named arguments, in the words of Keras 3, which forgets them in the old ones."""
    is_changed = False
    for layer in settings.get("layers", ()) or ():
        nodes = layer.get("inbound_nodes") if isinstance(layer, dict) else None
        if not isinstance(nodes, list):
            continue
        for place, node in enumerate(nodes):
            if not isinstance(node, list) or not all(_is_use(each) for each in node):
                continue
            named: dict[str, Any] = next((each[3] for each in node if len(each) > 3), {})  # noqa: PLR2004 - [layer, call, tensor, named]
            if any(_uses(named)):
                given = [_tensor(each) for each in node]
                args = [given[0] if len(given) == 1 else given]
                nodes[place] = {"args": args, "kwargs": {key: _revived(value) for key, value in named.items()}}
                is_changed = True
    return is_changed


def _revived(value: Any) -> Any:
    if _is_use(value):
        return _tensor(value)
    return [_revived(each) for each in value] if isinstance(value, list) else value


def _tensor(use: list[Any]) -> dict[str, Any]:
    """How Keras 3 writes a tensor; it looks at nothing but the history."""
    history = {"shape": [None], "dtype": "float32", "keras_history": use[:3]}
    return {"class_name": "__keras_tensor__", "config": history}


def _is_use(value: Any) -> bool:
    match value:
        case [str(), int(), int(), *_]:
            return True
        case _:
            return False


def _uses(nodes: Any) -> Iterator[list[Any]]:
    """Every [layer, call, tensor, ...] in a configuration's graph."""
    if isinstance(nodes, list):
        if _is_use(nodes):
            yield nodes
        for inner in nodes:
            yield from _uses(inner)
    elif isinstance(nodes, dict):
        for inner in nodes.values():
            yield from _uses(inner)


def _dropped(kind: Any, settings: dict[str, Any]) -> list[str]:
    """Remove what a layer's class has no parameter for and would refuse."""
    if kind is None:
        return []
    known = _parameters(kind)
    idle = [key for key, value in settings.items() if key not in known and _is_idle(key, value)]
    if not idle or not _is_refused(kind, settings):
        return []
    for key in idle:
        del settings[key]
    return idle


def _is_idle(key: str, value: Any) -> bool:
    if key in _IDLE or key.endswith(_IDLE_ENDINGS) or value in _AS_USUAL.get(key, ()):
        return True
    return any(type(value) is type(each) and value == each for each in _NOTHING)


def _parameters(kind: Any) -> set[str]:
    """Names that a class takes, those it hands on to its bases included."""
    names = {"batch_input_shape", "input_shape", "input_dim", "batch_shape"}  # the loader and `Layer` see to these
    for each in kind.__mro__:
        if "__init__" not in vars(each):
            continue
        parameters = inspect.signature(each.__init__).parameters.values()
        names |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names


def _is_refused(kind: Any, settings: dict[str, Any]) -> bool:
    """Whether Keras says no to a layer with these settings: some classes take more than their signature tells."""
    trial = copy.deepcopy({key: value for key, value in settings.items() if key != "batch_input_shape"})
    try:
        kind.from_config(trial)
    except (TypeError, ValueError):
        return True
    return False


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, bool | int | float | str)


def _is_same(one: Any, other: Any) -> bool:
    """Equal but for lists, tuples and the one number in them."""
    one, other = _flat(one), _flat(other)
    if len(one) != len(other):
        # Keras repeats a single number for each axis: kernel_size 3 and (3, 3).
        return bool(one) and bool(other) and len(set(map(repr, (*one, *other)))) == 1
    return all(
        math.isclose(mine, theirs, rel_tol=1e-6)
        if isinstance(mine, int | float) and isinstance(theirs, int | float)
        else mine == theirs
        for mine, theirs in zip(one, other, strict=True)
    )


def _flat(value: Any) -> tuple[Any, ...]:
    if isinstance(value, list | tuple):
        return tuple(each for inner in value for each in _flat(inner))
    return (value,)
