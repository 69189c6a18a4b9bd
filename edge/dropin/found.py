"""What the rules of this package pass around: what is known so far, and who said so.

Promises: a fact is kept from the first rule that gives it, and each carries the name of that rule.
Leaves out: the rules themselves.
Thread: any; a `Draft` belongs to one recognition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from typing import Literal, TypeAlias

from edge.contract.manifest import Color, Detect, Manifest, Normalize, Scale, Scoring, Step, Tokenizer
from edge.contract.messages import InputKind
from edge.engines.open import EngineKind
from edge.engines.probe import ProbeReport

__all__ = ["DEFAULT_LENGTH", "Candidate", "Draft", "Facts", "Fit", "Found", "InputRange", "Overrides", "Rule", "Task"]

# Tokens of a text where the model leaves it open: most sentences fit, and the cost of a transformer grows with it.
DEFAULT_LENGTH = 128

# Means to an end, not something that a person would ask about.
_UNTOLD = {"files", "classes"}

InputRange: TypeAlias = Literal["0..1", "-1..1", "0..255"]


class Task(str, Enum):
    """What a model answers; the tags of the manifest's decoders."""

    CLASSIFY = "classify"
    MULTI_LABEL = "multi_label"
    BINARY = "binary"
    REGRESS = "regress"
    DETECT = "detect"
    SEGMENT = "segment"
    EMBED = "embed"
    RECOMMEND = "recommend"


class Fit(str, Enum):
    """How a picture comes to the model's size."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"
    CROP = "crop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What a person says about a model on the command line; stands above every rule.

    `mean` and `std` have one value or one a channel, in pixels (0..255), or as shares of 255 where none exceeds 1.
    """

    name: str | None = None
    task: Task | None = None
    labels: Path | None = None
    vocabulary: Path | None = None
    kind: InputKind | None = None
    input_range: InputRange | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color: Color | None = None
    fit: Fit | None = None
    scoring: Scoring | None = None
    threshold: float | None = None
    top_k: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which rule said what about a model. `is_assumed`: a convention, not something the file says."""

    what: str
    rule: str
    is_assumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model file, recognised. `files` holds vocabularies by the name that the manifest uses."""

    path: Path
    manifest: Manifest
    kind: EngineKind
    content: bytes
    digest: str
    report: ProbeReport
    files: Mapping[str, bytes] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model file before anything is known about its meaning."""

    path: Path
    kind: EngineKind
    content: bytes
    report: ProbeReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one rule knows; None is "does not say".

    `normalization` acts on pixels 0..255. `files` holds vocabularies that `tokenizer` names.
    """

    name: str | None = None
    version: str | None = None
    description: str | None = None
    licence: str | None = None
    kind: InputKind | None = None
    color: Color | None = None
    fit: tuple[Step, ...] | None = None
    normalization: tuple[Scale | Normalize, ...] | None = None
    tokenizer: Tokenizer | None = None
    lowercase: bool | None = None
    task: Task | None = None
    labels: tuple[str, ...] | None = None
    classes: int | None = None
    scoring: Scoring | None = None
    threshold: float | None = None
    top_k: int | None = None
    detect: Detect | None = None
    files: Mapping[str, bytes] | None = None


class Draft:
    """What is known so far."""

    def __init__(self) -> None:
        self.facts = Facts()
        self.rules: list[Rule] = []

    def learn(self, facts: Facts, rule: str, *, is_assumed: bool = False) -> None:
        """Take over what was unknown; earlier rules stand."""
        new = {
            item.name: getattr(facts, item.name)
            for item in fields(Facts)
            if getattr(facts, item.name) is not None and getattr(self.facts, item.name) is None
        }
        self.facts = replace(self.facts, **new)
        self.rules += [Rule(what=name, rule=rule, is_assumed=is_assumed) for name in new if name not in _UNTOLD]

    def note(self, what: str, rule: str) -> None:
        """Tell about something that was seen and not used."""
        self.rules.append(Rule(what=what, rule=rule))
