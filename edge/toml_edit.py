"""Change single keys of a TOML file that somebody wrote, and leave the rest of its text alone.

Promises: comments, order and whatever else stands in the file stay; what comes back says exactly what the old text said
but for the keys that were to change.
Leaves out: files, and what the keys mean.
Thread: any; pure.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from edge.errors import ConfigError, InputError
from edge.toml import parse
from edge.toml_lines import locate

__all__ = ["Changes", "changed"]

# Table -> key -> its value; None: the key is taken out, and its default counts.
Changes: TypeAlias = Mapping[str, Mapping[str, str | int | bool | None]]

_SIMPLE = re.compile(r"^(?P<head>\s*[\w-]+\s*=\s*)(?:\"[^\"\\]*\"|'[^']*'|[\w.+-]+)(?P<tail>\s*(?:#.*)?)$")


def changed(text: str, name: str, changes: Changes) -> str:
    """The text with these keys set; `name` is how messages call the file.

    Raises:
        ConfigError: it is no TOML.
        InputError: a key stands where it cannot be changed line by line; the message has all that is to be set.
    """
    values = copy.deepcopy(_values(text, name))
    new = text.replace("\r\n", "\n")
    for table, keys in changes.items():
        section = values.setdefault(table, {})
        for key, value in keys.items():
            new = _set(new, table, key, value)
            if isinstance(section, dict):
                section.pop(key, None)
                section.update({} if value is None else {key: value})
    try:
        is_right = _values(new, name) == values
    except ConfigError:
        is_right = False
    if not is_right:
        lines = "".join(f"\n[{table}]\n{_listed(keys)}" for table, keys in changes.items())
        raise InputError(
            f"{name} is written in a way that is not changed here; set by hand, and take out the others:{lines}"
        )
    return new


def _values(text: str, name: str) -> dict[str, Any]:
    found = parse(text, name).get(())
    assert isinstance(found, dict)  # noqa: S101 - a TOML document is a table
    return found


def _set(text: str, table: str, key: str, value: str | int | bool | None) -> str:
    places = locate(text)
    lines = text.splitlines()
    at = places.get((table, key))
    if at is not None:
        simple = _SIMPLE.match(lines[at - 1])
        if value is None:
            del lines[at - 1]
        elif simple is not None:
            lines[at - 1] = f"{simple['head']}{_written(value)}{simple['tail']}"
        else:
            lines[at - 1] = f"{key} = {_written(value)}"
    elif value is not None:
        header = places.get((table,))
        if header is None:
            lines += ["", f"[{table}]"]
            header = len(lines)
        of_table = [line for path, line in places.items() if path[:1] == (table,) and len(path) == 2]  # noqa: PLR2004
        lines.insert(max([header, *of_table]), f"{key} = {_written(value)}")
    return "\n".join(lines) + "\n"


def _written(value: str | int | bool) -> str:
    """A JSON string, number or boolean is one of TOML's."""
    return msgspec.json.encode(value).decode()


def _listed(keys: Mapping[str, str | int | bool | None]) -> str:
    return "".join(f"{key} = {_written(value)}\n" for key, value in keys.items() if value is not None)
