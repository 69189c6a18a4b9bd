"""Plans as people write them: a TOML file that holds everything a plan can say.

Promises: strict; every fault is reported at once, with file, line, key and the nearest known key.
Leaves out: whether it can be followed (`plan.check_plan`), which release it is (the registry says).
Thread: any.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from edge.central.rollout.plan import Wave
from edge.errors import ConfigError
from edge.toml import parse, read_text

__all__ = ["Draft", "read_draft"]


class Draft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of a plan file; each `[[wave]]` is a `plan.Wave`."""

    fleet: str
    slot: str
    wave: tuple[Wave, ...]
    family: str | None = None  # None: the command line names it
    release: Annotated[int, Meta(ge=1)] | None = None  # None: the newest that may be started
    cohort: str = ""
    is_returning: bool = True


def read_draft(path: Path) -> Draft:
    """Read a plan file.

    Raises:
        ConfigError: with every fault found.
    """
    document = parse(read_text(path), str(path))
    draft = document.convert(Draft)
    if draft is None or document.problems:
        raise ConfigError(document.problems)
    return draft
