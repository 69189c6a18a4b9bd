"""Which devices a rollout is for: a small language over what boards say of themselves and labels that people gave.

Promises: `model=raspberry-pi-5,raspberry-pi-4 label:site=north memory_mb>=2000` means all of its clauses at once; a
fact that a device does not tell equals nothing. What cannot be read is refused in one sentence.
Leaves out: which facts there are: `device`, `fleet`, `version` and whatever `State.board` holds.
Thread: any; pure.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from edge.errors import InputError

__all__ = ["Clause", "Cohort", "parse_cohort"]

_CLAUSE = re.compile(r"(label:)?([A-Za-z0-9][A-Za-z0-9_.-]*)(!=|>=|<=|=|~|>|<)(.*)", re.DOTALL)
_EXAMPLE = "model=raspberry-pi-5 label:site=north memory_mb>=2000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One condition. `values` are alternatives; with = and != they may hold * and ?."""

    is_label: bool
    key: str
    operator: str
    values: tuple[str, ...]

    def holds(self, facts: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        """Whether a device with these facts and labels meets it."""
        found = (labels if self.is_label else facts).get(self.key)
        if self.operator == "!=":
            return found is None or not self._equals(found)
        if found is None:
            return False
        if self.operator == "=":
            return self._equals(found)
        if self.operator == "~":
            return any(value.lower() in found.lower() for value in self.values)
        return self._compares(found)

    def _equals(self, found: str) -> bool:
        return any(fnmatch.fnmatchcase(found.lower(), value.lower()) for value in self.values)

    def _compares(self, found: str) -> bool:
        try:
            number, limit = float(found), float(self.values[0])
        except ValueError:
            return False  # the device's word; the limit was read when the clause was
        match self.operator:
            case ">=":
                return number >= limit
            case "<=":
                return number <= limit
            case ">":
                return number > limit
            case _:
                return number < limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """All conditions of a rollout; none means every device."""

    clauses: tuple[Clause, ...]

    def holds(self, facts: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        """Whether a device with these facts and labels belongs to it."""
        return all(clause.holds(facts, labels) for clause in self.clauses)


def parse_cohort(text: str) -> Cohort:
    """Read conditions, separated by spaces; a value with spaces stands in quotes.

    Raises:
        InputError: a word that is no condition.
    """
    try:
        words = shlex.split(text)
    except ValueError as err:
        raise InputError(f"cohort {text!r}: a quotation mark is not closed; expected for example {_EXAMPLE}") from err
    return Cohort(clauses=tuple(_clause(word) for word in words))


def _clause(word: str) -> Clause:
    found = _CLAUSE.fullmatch(word)
    if found is None:
        raise InputError(
            f"cohort: {word!r} is no condition; expected KEY=VALUE, !=, ~, <, <=, > or >=, for example {_EXAMPLE}"
        )
    label, key, operator, rest = found.groups()
    values = tuple(rest.split(",")) if operator in {"=", "!=", "~"} else (rest,)
    if not all(values):
        raise InputError(f"cohort: {word!r} lacks a value; expected for example {_EXAMPLE}")
    if operator in {"<", "<=", ">", ">="} and not _is_number(rest):
        raise InputError(f"cohort: {word!r} compares with {rest!r}, which is no number; expected {key}{operator}2000")
    return Clause(is_label=label is not None, key=key, operator=operator, values=values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
