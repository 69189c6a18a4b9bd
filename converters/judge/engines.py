"""Which engines a variant is to run on, and where they are on this machine.

Promises: the engine that is installed here comes first, under its own name, whatever was asked for; every other target
is run in an environment of its own where one can be made, and says why where not; its profile judges in any case, and
no profile is left out because another has its name.
Leaves out: running (`verify`), making environments (`environments`).
Thread: main.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from itertools import chain, count

from msgspec.structs import replace

from converters.environments.making import Environment
from converters.judge.profile_store import find as find_profile
from converters.judge.profile_store import names, targets
from converters.judge.verify import EngineAt
from converters.spec import Format
from edge.contract.profile import EngineProfile
from edge.engines.operators import profile_engine
from edge.engines.probe import available
from edge.errors import EdgeError, MissingExtraError

__all__ = ["engines_for"]

_ENVIRONMENTS = ("litert-1.2", "tflite-runtime-2.14")  # of the same names as the profiles


def engines_for(
    boards: Sequence[str], formats: Sequence[Format], *, is_offline: bool, tell: Callable[[str], None]
) -> tuple[EngineAt, ...]:
    """Every engine that variants are run on or judged by.

    Args:
        boards: names of boards, of engine profiles, or paths of one's own.
        formats: those that are made; engines of others are left out.
        is_offline: make no environments.
        tell: what takes a while.

    Raises:
        InputError, ManifestError: a name that nobody has, a file that is no profile.
        MissingExtraError: an engine of one of the formats is not installed here.
    """
    asked = [profile for board in boards for profile in targets(board)]
    found: list[EngineAt] = []
    for status in available():
        if status.kind not in formats:
            continue
        if status.runtime is None:
            raise MissingExtraError(str(status.problem).split(" is not installed", maxsplit=1)[0], "convert")
        found.append(EngineAt(profile=_here(status.kind, status.runtime), format=status.kind))
    for profile in _distinct(asked, [engine.profile for engine in found]):
        kind = _kind(profile)
        if kind in formats:
            found.append(_elsewhere(profile, kind, is_offline=is_offline, tell=tell))
    return tuple(found)


def _distinct(asked: Sequence[EngineProfile], here: Sequence[EngineProfile]) -> list[EngineProfile]:
    """What is asked for beside what is here, each once and under a name of its own; shipped ones keep theirs."""
    known, taken = list(here), {profile.name for profile in here}
    found = []
    for profile in sorted(asked, key=lambda each: not _is_shipped(each)):
        if profile not in known:
            known.append(profile)
            name = _free_name(profile, taken)
            taken.add(name)
            found.append(replace(profile, name=name))
    return found


def _is_shipped(profile: EngineProfile) -> bool:
    return profile.name in names() and profile == find_profile(profile.name)


def _free_name(profile: EngineProfile, taken: Collection[str]) -> str:
    """Its own; with the machine, where another has it: `edge probe` calls a Pi's engine what it calls a PC's."""
    name = f"{profile.name}@{profile.machine}"
    choices = chain((profile.name, name), (f"{name}-{number}" for number in count(2)))
    return next(choice for choice in choices if choice not in taken)


def _here(kind: Format, runtime: str) -> EngineProfile:
    """The profile of the engine that is installed here: the shipped one of its name, else probed now."""
    name = _profile_name(runtime)
    return find_profile(name) if name in names() else profile_engine(kind)


def _profile_name(runtime: str) -> str:
    """Of "ai-edge-litert 2.3.0" "litert-2.3"."""
    found = re.fullmatch(r"(?:ai-edge-)?([a-z-]+) (\d+\.\d+).*", runtime)
    return f"{found[1]}-{found[2]}" if found else runtime


def _kind(profile: EngineProfile) -> Format:
    return "onnx" if profile.opset else "tflite"


def _elsewhere(profile: EngineProfile, kind: Format, *, is_offline: bool, tell: Callable[[str], None]) -> EngineAt:
    if profile.name not in _ENVIRONMENTS:
        return EngineAt(profile=profile, format=kind, problem="this engine is judged by its profile, not run here")
    try:
        environment = Environment(profile.name, is_offline=is_offline)
        if not environment.is_made:
            tell(f"making the environment of {profile.runtime}, once")
        ready = environment.ensure()
    except EdgeError as err:
        return EngineAt(profile=profile, format=kind, problem=str(err))
    return EngineAt(profile=profile, format=kind, python=ready.python, path=ready.path)
