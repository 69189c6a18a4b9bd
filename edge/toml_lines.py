"""Find the line of every key in a TOML text that is already known to be valid.

Promises: `locate` gives each table, key and array element its line, by the same path as in the parsed values; arrays
contribute their index. It never fails on valid TOML 1.0.
Leaves out: validity and values; the standard library's parser has seen to both, and tells no positions.
Thread: any; pure.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TypeAlias

__all__ = ["KeyPath", "locate"]

KeyPath: TypeAlias = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
# Longest first: three quotes open a string that may hold newlines, and up to two more quotes may close it.
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})|' r"'''.*?'''(?:'{0,2})|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n]*")


_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def locate(text: str) -> dict[KeyPath, int]:
    """Path -> line, counted from 1."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [index for index, char in enumerate(text) if char == "\n"]
        self._sizes: dict[KeyPath, int] = {}  # how many [[tables]] of this path have begun
        self.lines: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        """Step over what matches here, and return it. A pattern that needs something and finds nothing is our bug."""
        found = pattern.match(self._text, self._at)
        if found is None:
            raise AssertionError(f"position {self._at} of a valid document is not understood")
        self._at = found.end()
        return found.group()

    def _mark(self, path: KeyPath, at: int) -> None:
        self.lines.setdefault(path, bisect_right(self._newlines, at - 1) + 1)

    def _keys(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            raw = self._skip(_KEY)
            parts.append(_unquoted(raw))
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _header(self) -> KeyPath:
        start = self._at
        brackets = 2 if self._text.startswith("[[", start) else 1
        self._at += brackets
        parts = self._keys()
        self._at += brackets
        path: KeyPath = ()
        for index, part in enumerate(parts):
            path = (*path, part)
            is_last = index == len(parts) - 1
            if is_last and brackets == 2:  # noqa: PLR2004 - [[...]]
                self._mark(path, start)
                self._sizes[path] = self._sizes.get(path, 0) + 1
            if path in self._sizes:
                path = (*path, self._sizes[path] - 1)
            self._mark(path, start)
        return path

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        path = table
        for part in self._keys():
            path = (*path, part)
            self._mark(path, start)
        self._at += 1  # =
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._mark(path, self._at)
        char = self._text[self._at]
        if char == "[":
            self._elements(path, "]")
        elif char == "{":
            self._elements(path, "}")
        elif char in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_PLAIN)

    def _elements(self, path: KeyPath, end: str) -> None:
        """The inside of an array or an inline table."""
        self._at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == end:
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
            elif end == "}":
                self._pair(path)
            else:
                self._value((*path, index))
                index += 1


def _unquoted(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    return _ESCAPE.sub(_character, key[1:-1]) if key[0] == '"' else key


def _character(escape: re.Match[str]) -> str:
    four, eight, one = escape.groups(default="")
    return chr(int(four or eight, 16)) if four or eight else _ESCAPES.get(one, one)
