"""Read TOML strictly into typed values, and say where each mistake stands.

Promises: every fault is reported, not only the first; each with file, line, key, and the nearest known key. What comes
back satisfies its type in full.
Leaves out: what the values mean together (`device.config`, `central.config`).
Thread: any; pure but for `read_text`.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from edge.errors import ConfigError
from edge.reading import read_whole
from edge.toml_lines import KeyPath, locate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Document", "parse", "read_text"]

T = TypeVar("T", bound=Struct)

_LARGEST_BYTES = 16 << 20  # a thousand pipelines are 1 MB
_LARGEST_INT = 2**63 - 1  # what TOML promises to keep
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def read_text(path: Path, *, advice: str = "") -> str:
    """The file's text; a byte order mark, as some editors write, is dropped. `advice` ends what is said of a lost file.

    Raises:
        ConfigError: it is missing, unreadable, or not UTF-8.
    """
    try:
        return read_whole(path, most_bytes=_LARGEST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = err.object[: err.start].count(b"\n") + 1
        raise ConfigError((f"{path}:{line}: not UTF-8 text; save the file as UTF-8",)) from err
    except OSError as err:
        raise ConfigError((f"{path}: cannot be read: {err.strerror}{'; ' if advice else ''}{advice}",)) from err


def parse(text: str, name: str) -> Document:
    """Read the syntax; `name` is how messages call the file.

    Raises:
        ConfigError: not TOML, with line and column.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        message = str(err)
        found = _POSITION.search(message)
        if found is None:
            raise ConfigError((f"{name}: not TOML: {message}",)) from err
        line, column = found.groups(default="")
        place = f"{line}:{column}" if line else str(text.count("\n") + 1)
        raise ConfigError((f"{name}:{place}: not TOML: {message[: found.start()]}",)) from err
    return Document(name, values, locate(text))


class Document:
    """The values of one file, where they stand, and the problems found so far."""

    def __init__(self, name: str, values: dict[str, Any], lines: Mapping[KeyPath, int]) -> None:
        self._name = name
        self._values = values
        self._lines = lines
        self._origins: dict[KeyPath, str] = {}
        self._problems: list[tuple[int, str]] = []

    @property
    def problems(self) -> tuple[str, ...]:
        """One line each, in the order of the file."""
        return tuple(text for _, text in sorted(self._problems, key=lambda found: found[0]))

    def get(self, path: KeyPath) -> object:
        """What the file (or an override) holds at `path`, unchecked; None where nothing stands."""
        value: object = self._values
        for part in path:
            if isinstance(part, int):
                value = value[part] if isinstance(value, list) and part < len(value) else None
            else:
                value = value.get(part) if isinstance(value, dict) else None
        return value

    def override(self, path: KeyPath, value: object, origin: str) -> None:
        """Put `value` at `path` of tables; problems with it name `origin` instead of a line."""
        table = self._values
        for part in path[:-1]:
            inner = table.setdefault(str(part), {})
            if not isinstance(inner, dict):
                return  # the file's own mistake at that place is reported already
            table = inner
        table[str(path[-1])] = value
        self._origins[path] = origin

    def problem(self, path: KeyPath, message: str) -> None:
        """Report a mistake at `path`; where that stands nowhere, the line of the table around it is named."""
        key = ".".join(part for part in path if isinstance(part, str))
        line = next((self._lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self._lines), 0)
        place = self._origins.get(path) or (f"{self._name}:{line}" if line else self._name)
        self._problems.append((line, ": ".join(part for part in (place, key, message) if part)))

    def convert(self, type_: type[T]) -> T | None:
        """The whole document as `type_`, or None where `problems` tell why not."""
        value = self._struct(self._values, type_, ())
        return value if isinstance(value, type_) else None

    def _value(self, raw: object, hint: Any, path: KeyPath) -> object:
        """`raw` as `hint`; None, with a problem noted, where it is not."""
        choices = _structs(hint)
        if choices:
            return self._choice(raw, choices, path)
        items = _struct_items(hint)
        if items is not None:
            return self._table_array(raw, items, path)
        words = _words(hint)
        if words and isinstance(raw, str) and raw not in words:
            self.problem(path, f"unknown value {raw!r}; {_suggest(raw, words)}")
            return None
        impossible = _impossible(raw)
        if impossible:
            self.problem(path, impossible)
            return None
        try:
            return msgspec.convert(raw, hint, strict=path not in self._origins, dec_hook=_decode_path)
        except msgspec.ValidationError as err:
            self.problem(path, _plain(str(err)))
            return None

    def _table_array(self, raw: object, type_: type[Struct], path: KeyPath) -> object:
        if not isinstance(raw, list):
            self.problem(path, f"expected [[{path[-1]}]] (double brackets), found {_kind(raw)}")
            return None
        items = [self._value(item, type_, (*path, index)) for index, item in enumerate(raw)]
        return None if None in items else tuple(items)

    def _choice(self, raw: object, choices: tuple[type[Struct], ...], path: KeyPath) -> object:
        if not isinstance(raw, dict):
            self.problem(path, f"expected a table, found {_kind(raw)}")
            return None
        tags = {choice.__struct_config__.tag: choice for choice in choices}
        if len(choices) == 1:
            return self._struct(raw, choices[0], path)
        field = choices[0].__struct_config__.tag_field or "type"
        known = [str(tag) for tag in tags]
        if field not in raw:
            self.problem(path, f"{field} is missing; {_suggest('', known)}")
            return None
        chosen = tags.get(raw[field]) if isinstance(raw[field], str) else None
        if chosen is None:
            self.problem((*path, field), f"unknown {field} {raw[field]!r}; {_suggest(str(raw[field]), known)}")
            return None
        return self._struct(raw, chosen, path)

    def _struct(self, raw: dict[str, Any], type_: type[Struct], path: KeyPath) -> object:
        hints = get_type_hints(type_, include_extras=True)
        fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
        known = [*fields, *([type_.__struct_config__.tag_field] if type_.__struct_config__.tag_field else [])]
        unknown = [key for key in raw if key not in known]
        for key in unknown:
            self.problem((*path, key), f"unknown key; {_suggest(key, known)}")
        before = len(self._problems)
        values: dict[str, object] = {}
        for key, field in fields.items():
            if key in raw:
                values[field.name] = self._value(raw[key], hints[field.name], (*path, key))
            elif field.required:
                self.problem(path, f"{key} is missing")
        if len(self._problems) > before:
            return None
        try:
            value = type_(**values)
        except ValueError as err:  # the type's own check; its sentence begins with the key it is about, if only one
            first = re.match(r"\w*", str(err))
            key = first.group() if first else ""
            self.problem((*path, key) if key in fields else path, str(err))
            return None
        return None if unknown else value


def _structs(hint: Any) -> tuple[type[Struct], ...]:
    """The struct types of a hint that is one, or a union of them (None aside: TOML has no null)."""
    options = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    found = tuple(option for option in options if isinstance(option, type) and issubclass(option, Struct))
    return found if len(found) == len([option for option in options if option is not type(None)]) else ()


def _struct_items(hint: Any) -> type[Struct] | None:
    """The item type of `tuple[SomeStruct, ...]`."""
    arguments = get_args(hint)
    if get_origin(hint) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:  # noqa: PLR2004
        item = arguments[0]
        return item if isinstance(item, type) and issubclass(item, Struct) else None
    return None


def _words(hint: Any) -> list[str]:
    """The strings that an enum or a Literal admits; empty for every other hint."""
    if get_origin(hint) is Literal:
        return [str(word) for word in get_args(hint)]
    options = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    return [
        member.value for option in options if isinstance(option, type) and issubclass(option, Enum) for member in option
    ]


def _suggest(word: str, known: list[str]) -> str:
    import difflib  # for a mistake only: a daemon that runs has made none

    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else "known: " + ", ".join(known)


def _impossible(raw: object) -> str:
    """What TOML can write and no setting can mean; empty for all else."""
    match raw:
        case float() if not math.isfinite(raw):
            return f"expected a finite number, found {raw}"
        case int() if abs(raw) > _LARGEST_INT:
            return f"{raw} is past 64 bits"
        case str() if "\0" in raw:
            return "a NUL character can stand in no path, name or address"
        case list():
            return next(filter(None, map(_impossible, raw)), "")
        case _:
            return ""


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", list: "an array"}


def _kind(raw: object) -> str:
    return "a table" if isinstance(raw, dict) else _KINDS.get(type(raw), f"a {type(raw).__name__}")


_PLAIN = {"`int`": "a whole number", "`float`": "a number", "`str`": "a string", "`bool`": "true or false"}


def _plain(message: str) -> str:
    """The sentence of msgspec without its Python words and its `$` path inside the value."""
    text = message.replace("Expected", "expected", 1).replace(" | null`", "`")  # TOML has no null
    for word, plain in _PLAIN.items():
        text = text.replace(word, plain)
    return text.replace(", got ", ", found ").replace(" - at `$", " at `").replace("`array`", "an array")


def _decode_path(type_: type[Any], raw: object) -> object:
    if issubclass(type_, Path) and isinstance(raw, str):
        if not raw:  # to `Path` the folder itself
            raise ValueError("expected a path, found an empty string")
        return Path(raw)
    raise NotImplementedError(f"{type_} cannot stand in a config file")
