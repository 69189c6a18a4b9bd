"""The generated parts of docs/reference, made from what the code itself says.

A page is prose with blocks between `<!-- begin NAME -->` and `<!-- end NAME -->`; `rendered` replaces the blocks. What
stands there about a command comes from its help, about a setting from its type, its default and its comment.
"""

from __future__ import annotations

import ast
import inspect
import io
import json
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import click
import msgspec
from fastapi.routing import APIRoute
from msgspec import NODEFAULT, Meta, Struct

import edge.cli
from converters.judge.profile_store import BOARDS
from converters.ladder.recipes import LADDER
from edge.central.config import CentralConfig, HttpConfig, IngestConfig, RegistryConfig
from edge.commands.model_options import model_options
from edge.compute.gate_config import GateConfig
from edge.contract import manifest
from edge.device.config import ENVIRONMENT, DeviceSection, ModelHints, PipelineConfig
from edge.device.outbox.config import OutboxConfig
from edge.device.recorder import RecordConfig
from edge.device.sources import config as sources
from edge.device.updates import machine
from edge.device.updates.config import UpdatesConfig
from edge.wire.config import BrokerConfig

__all__ = ["CENTRAL", "DEVICE", "MANIFEST", "PAGES", "commands", "fields_of", "flag_help", "reasons", "rendered"]

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(
    ROOT / "docs" / "reference" / f"{name}.md"
    for name in ("api", "commands", "config", "converting", "models", "updates")
)

_SOURCES: tuple[type[Struct], ...] = (
    sources.V4l2Config,
    sources.StreamConfig,
    sources.PipeConfig,
    sources.Picamera2Config,
    sources.FileConfig,
    sources.FolderConfig,
    sources.LinesConfig,
    sources.StdinConfig,
    sources.MqttConfig,
)
# Heading -> the type whose keys stand under it.
DEVICE: dict[str, type[Struct]] = {
    "[device]": DeviceSection,
    "[broker]": BrokerConfig,
    "[outbox]": OutboxConfig,
    "[updates]": UpdatesConfig,
    "[[pipeline]]": PipelineConfig,
    **{f'[pipeline.source] with type = "{each.__struct_config__.tag}"': each for each in _SOURCES},
    "[pipeline.gate]": GateConfig,
    "[pipeline.hints]": ModelHints,
    "[pipeline.record]": RecordConfig,
}
CENTRAL: dict[str, type[Struct]] = {
    "at the top": CentralConfig,
    "[broker]": BrokerConfig,
    "[ingest]": IngestConfig,
    "[registry]": RegistryConfig,
    "[http]": HttpConfig,
}

MANIFEST: dict[str, tuple[type[Struct], ...]] = {
    "The file": (manifest.Manifest, manifest.Variant, manifest.BundleFile),
    "Input": (manifest.ImageInput, manifest.TextInput, manifest.TensorInput),
    "Steps": get_args(manifest.Step),
    "Tokenizers": get_args(manifest.Tokenizer),
    "Decoders": get_args(manifest.Decoder),
}


def rendered(text: str) -> str:
    """The page with every generated block made anew.

    Raises:
        KeyError: a block that nobody makes.
    """

    def block(found: re.Match[str]) -> str:
        return f"<!-- begin {found[1]} -->\n{_BLOCKS[found[1]]()}\n<!-- end {found[1]} -->"

    return re.sub(r"<!-- begin (\w+) -->\n.*?<!-- end \1 -->", block, text, flags=re.DOTALL)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its full name."""
    group = edge.cli._edge
    context = click.Context(group, info_name="edge")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from _inner(f"edge {name}", command)


def _inner(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for inner, subcommand in command.commands.items():
            yield from _inner(f"{name} {inner}", subcommand)
    else:
        yield name, command


def _commands() -> str:
    parts = []
    for name, command in commands():
        arguments = [each for each in command.params if isinstance(each, click.Argument)]
        words = " ".join(_argument(each) for each in arguments)
        parts += [
            f"## {name}",
            f"`{' '.join(filter(None, (name, '[OPTIONS]', words)))}`",
            inspect.cleandoc(command.help or ""),
        ]
        options = [each for each in command.params if isinstance(each, click.Option)]
        lines = [_row(_option(each), _default_of(each), _plain_help(each)) for each in options]
        parts.append("\n".join([_row("option", "default", "meaning"), "|---|---|---|", *lines]))
    return "\n\n".join(parts)


def _argument(argument: click.Argument) -> str:
    name = (argument.metavar or argument.name or "").upper() + ("..." if argument.nargs < 0 else "")
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} {_code(chr(124).join(str(choice) for choice in option.type.choices))}"
    if option.metavar:
        return f"{names} {option.metavar}"
    low, high = getattr(option.type, "min", None), getattr(option.type, "max", None)
    bounds = "" if low is None else f" from {low:g}" + ("" if high is None else f" to {high:g}")
    return f"{names} {option.type.name.upper().removesuffix(' RANGE')}{bounds}"


def _default_of(option: click.Option) -> str:
    found = re.search(r"\[default: (.*)\]$", option.help or "")
    if found is not None:
        return found[1]
    value = option.default
    is_said = isinstance(value, str | Path | int | float) and not isinstance(value, bool)
    return _code(str(value)) if is_said else ""


def _plain_help(option: click.Option) -> str:
    return re.sub(r"\s*\[default: .*\]$", "", option.help or "")


def _config_table(type_: type[Struct]) -> str:
    lines = [_row("key", "value", "default", "meaning"), "|---|---|---|---|"]
    hints = get_type_hints(type_, include_extras=True)
    for field in fields_of(type_):
        if _is_table(hints[field.name]):
            continue
        unit = _unit(field.encode_name)
        kind = _kind(hints[field.name]) + (f", {unit}" if unit else "")
        lines.append(_row(f"`{field.encode_name}`", kind, _default(field), _meaning(type_, field.name)))
    return "\n".join(lines)


def _sections(sections: dict[str, type[Struct]]) -> str:
    parts = []
    for heading, type_ in sections.items():
        code = re.sub(r"(\[+[\w.]+\]+|type = \"\w+\")", r"`\1`", heading)
        parts += [f"### {code}", _summary(type_), _config_table(type_)]
    return "\n\n".join(parts)


def _environment() -> str:
    lines = [_row("variable", "key"), "|---|---|"]
    return "\n".join([*lines, *(_row(f"`{name}`", f"`{'.'.join(key)}`") for name, key in ENVIRONMENT.items())])


def _flags() -> str:
    rows = [
        _row(_option(each), f"`{each.name}`" if each.name in _hint_names() else "", _plain_help(each))
        for each in _model_flags()
    ]
    return "\n".join([_row("flag", "in `[pipeline.hints]`", "meaning"), "|---|---|---|", *rows])


def _model_flags() -> list[click.Option]:
    @click.command()
    @model_options
    def command(**_: Any) -> None: ...

    return [each for each in command.params if isinstance(each, click.Option)]


def _hint_names() -> set[str]:
    return {field.name for field in fields_of(ModelHints)}


def _manifest() -> str:
    parts = []
    for heading, types in MANIFEST.items():
        parts.append(f"### {heading}")
        for type_ in types:
            config = type_.__struct_config__
            tag = f"`{config.tag_field}: {json.dumps(config.tag)}`" if config.tag_field else type_.__name__
            parts += [f"**{tag}** {_summary(type_)}"]
            hints = get_type_hints(type_, include_extras=True)
            fields = fields_of(type_)
            if fields:
                rows = [
                    _row(f"`{each.encode_name}`", _kind(hints[each.name]), _default(each), _comment(type_, each.name))
                    for each in fields
                ]
                parts.append("\n".join([_row("field", "value", "default", ""), "|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _choices() -> str:
    """The words that the manifest's fields take, as their types explain them."""
    parts = []
    for type_ in (manifest.Color, manifest.Interpolation, manifest.Scoring, manifest.DetectFormat):
        words = ", ".join(f'`"{member.value}"`' for member in type_)
        parts.append(f"**{type_.__name__}** ({words}). {_summary(type_)}")
    return "\n\n".join(parts)


def _recipes() -> str:
    """The rungs of both ladders, with what each is."""
    rows = [_row("recipe", "for", "tried", "what it is"), "|---|---|---|---|"]
    for wanted, rungs in LADDER.items():
        for rung in rungs:
            tried = f"if {rung.after} misses the budget" if rung.after else "always" if rung.is_usual else "on request"
            rows.append(_row(f"`{rung.recipe.name}`", wanted, tried, rung.words))
    return "\n".join(rows)


def _boards() -> str:
    rows = [_row("target", "engines"), "|---|---|"]
    return "\n".join([*rows, *(_row(f"`{name}`", ", ".join(engines)) for name, engines in BOARDS.items())])


def _states() -> str:
    """The update's state table, as the code has it."""
    lines = [
        _row("state", "its work", "done", "failed or too late", "cut short", "attempts", "time"),
        "|---|---|---|---|---|---|---|",
    ]
    for state, line in machine.TABLE.items():

        def to(what: machine.Happened, line: machine.Line = line) -> str:
            return _code(line.on[what].to.value) if what in line.on else ""

        hours = "" if line.deadline_s is None else f"{line.deadline_s / 3600:g} h"
        lines.append(
            _row(
                _code(state.value),
                line.does.value,
                to(machine.Happened.DONE),
                to(machine.Happened.FAILED),
                to(machine.Happened.RESTARTED),
                str(line.attempts or ""),
                hours,
            )
        )
    return "\n".join(lines)


def _routes() -> str:
    from edge.central.api.application import PREFIX, ROUTERS

    rows = []
    for router in ROUTERS:
        for route in router.routes:
            if not isinstance(route, APIRoute):
                continue
            needed = [each.dependency.scope.value for each in route.dependencies]
            (method,) = route.methods
            meaning = " ".join((inspect.getdoc(route.endpoint) or "").partition("\n\n")[0].split())
            rows.append(_row(f"`{method} {PREFIX}{route.path}`", ", ".join(f"`{scope}`" for scope in needed), meaning))
    return "\n".join([_row("route", "scope", "what it does"), "|---|---|---|", *rows])


def _scopes() -> str:
    from edge.central.access.roles import Role, Scope, scopes_of

    rows = [_row(f"`{scope.value}`", *("yes" if scope in scopes_of(role) else "" for role in Role)) for scope in Scope]
    return "\n".join([_row("scope", *(role.value for role in Role)), "|---|---|---|---|", *rows])


_BLOCKS: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "device": lambda: _sections(DEVICE),
    "central": lambda: _sections(CENTRAL),
    "environment": _environment,
    "flags": _flags,
    "manifest": _manifest,
    "choices": _choices,
    "recipes": _recipes,
    "boards": _boards,
    "states": _states,
    "routes": _routes,
    "scopes": _scopes,
}


def fields_of(type_: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The keys of a table, in the order of its type."""
    return msgspec.structs.fields(type_)


def reasons(type_: type[Struct]) -> list[tuple[str, str]]:
    """The keys of a table that hold plain values, each with what is said about it."""
    hints = get_type_hints(type_, include_extras=True)
    return [(each.name, _meaning(type_, each.name)) for each in fields_of(type_) if not _is_table(hints[each.name])]


def _is_table(hint: Any) -> bool:
    """Whether the value is a table (or several) with keys of its own."""
    arguments = [each for each in get_args(hint) if each is not Ellipsis] or [hint]
    return all(isinstance(each, type) and issubclass(each, Struct) for each in arguments)


_UNITS = {
    "_bytes_per_s": "bytes a second",
    "_s": "seconds",
    "_ms": "ms",
    "_mb": "MB",
    "_kb": "KB",
    "_px": "pixels",
    "_bytes": "bytes",
    "fps": "a second",
}


def _unit(key: str) -> str:
    return next((unit for suffix, unit in _UNITS.items() if key.endswith(suffix)), "")


_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "string",
    Path: "path",
}


def _kind(hint: Any) -> str:  # noqa: PLR0911 - one for each form of a type
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind(arguments[0]) + "".join(_bounds(each) for each in arguments[1:] if isinstance(each, Meta))
    if origin is Literal:
        return ", ".join(f"`{json.dumps(each)}`" for each in arguments)
    if origin in {Union, UnionType}:
        kinds = [_kind(each) for each in arguments if each is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is tuple:
        inner = [each for each in arguments if each is not Ellipsis]
        if len(inner) < len(arguments):
            return f"array of ({_kind(inner[0])})" if " " in _kind(inner[0]) else f"array of {_kind(inner[0])}"
        return f"[{', '.join(_kind(each) for each in inner)}]"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{json.dumps(member.value)}`" for member in hint)
    if isinstance(hint, type) and issubclass(hint, Struct):
        config = hint.__struct_config__
        return f"`{config.tag}`" if config.tag else hint.__name__.lower()
    return _NAMES[hint]


def _bounds(meta: Meta) -> str:
    if meta.min_length is not None:
        exact = f"{meta.min_length}" if meta.max_length == meta.min_length else f"at least {meta.min_length}"
        return f", {exact} long"
    low = f"above {meta.gt:g}" if meta.gt is not None else "" if meta.ge is None else f"{meta.ge:.10g}"
    high = "" if meta.le is None else f"{meta.le:.10g}"
    if low and high:
        return f", {low} to {high}"
    return f", {low}" if meta.gt is not None else f", {low} or more" if low else f", at most {high}" if high else ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    if value is None:
        return "none"
    if isinstance(value, Enum):
        value = value.value
    return _code(json.dumps(str(value) if isinstance(value, Path) else value))


def _meaning(type_: type[Struct], key: str) -> str:
    """The comment on a key; for hints the help of the flag with that name; else that of the same key of another source."""
    found = _comment(type_, key)
    if not found and type_ is ModelHints:
        found = flag_help().get(key, "")
    if not found and type_ in _SOURCES:
        found = next((text for each in _SOURCES if (text := _comment(each, key))), "")
    return found


def flag_help() -> dict[str, str]:
    """What each flag about a model says of itself, by the name that the code has for it."""
    return {each.name or "": _plain_help(each) for each in _model_flags()}


def _comment(type_: type[Struct], key: str) -> str:
    """What the source says beside or above a field, or beside the constant that is its default."""
    if key not in type_.__annotations__:
        return ""
    module = sys.modules[type_.__module__]
    source = inspect.getsource(module)
    tree = ast.parse(source)
    owner = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == type_.__name__)
    fields = [node for node in owner.body if isinstance(node, ast.AnnAssign)]
    node = next(each for each in fields if isinstance(each.target, ast.Name) and each.target.id == key)
    found = _beside(source, node)
    if not found and isinstance(node.value, ast.Name):
        for other in tree.body:
            if isinstance(other, ast.Assign) and ast.unparse(other.targets[0]) == node.value.id:
                found = _beside(source, other)
    return found


def _beside(source: str, node: ast.stmt) -> str:
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not token.string.startswith("# noqa")
    }
    assert node.end_lineno is not None
    lines = source.splitlines()
    inside = [comments[line] for line in range(node.lineno, node.end_lineno + 1) if line in comments]
    above: list[str] = []
    line = node.lineno - 1
    while line in comments and lines[line - 1].lstrip().startswith("#"):
        above.insert(0, comments[line])
        line -= 1
    return " ".join([*above, *inside])


def _summary(type_: type) -> str:
    return " ".join(inspect.cleandoc(type_.__doc__ or "").split("Raises:")[0].split())


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(text: str) -> str:
    return f"`{text}`"
