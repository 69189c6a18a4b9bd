"""`edge probe`: find out what the engines here can run, by letting them try.

Promises: with `--json`, one engine profile a line on stdout and nothing else; a file that it writes is one that
`converters` reads.
Leaves out: the trying (`engines.operators`), judging models by it (`edge convert`).
Thread: main.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from edge.contract.profile import EngineProfile, Lack, encode_profile
from edge.durable import write_atomic
from edge.engines.builtin import NUMBERS
from edge.engines.open import EngineKind
from edge.engines.operators import profile_engine
from edge.errors import EdgeError, MissingExtraError

__all__ = ["command"]

_KINDS: tuple[EngineKind, ...] = ("tflite", "onnx")

# What a person loses by it.
_LACKS = {
    Lack.HYBRID_PER_CHANNEL: "int8 weights a channel with float inputs (such models load and answer nonsense)",
    Lack.INT4: "4-bit weights",
    Lack.INT16: "16-bit activations beyond convolutions and dense layers",
}


@click.command("probe")
@click.option("--engine", type=click.Choice(_KINDS), help="This one only; by default each that works here.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line for each engine: its profile.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Write the profile to this file, or into this folder a file for each engine.",
)
def command(*, engine: EngineKind | None, is_json: bool, output: Path | None) -> None:
    """Find out what the engines here can run: operators and their versions, and what they get wrong."""
    profiles, problems = _probe(_KINDS if engine is None else (engine,))
    if output is not None:
        _write(output, profiles)
    if is_json:
        for profile in profiles.values():
            print(msgspec.json.encode(profile, order="deterministic").decode())
        return
    for kind, profile in profiles.items():
        _show(kind, profile)
    for kind, problem in problems.items():
        print(f"{kind:<8}{problem}")


def _probe(kinds: tuple[EngineKind, ...]) -> tuple[dict[EngineKind, EngineProfile], dict[EngineKind, EdgeError]]:
    """The profile of each engine, and what keeps the others from having one.

    Raises:
        EdgeError: no engine works; MissingExtraError where none is installed.
    """
    profiles: dict[EngineKind, EngineProfile] = {}
    problems: dict[EngineKind, EdgeError] = {}
    for kind in kinds:
        try:
            profiles[kind] = profile_engine(kind)
        except EdgeError as err:  # noqa: PERF203 - two rounds
            problems[kind] = err
    if profiles:
        return profiles, problems
    for problem in problems.values():
        if len(problems) == 1 or not isinstance(problem, MissingExtraError):
            raise problem
    raise MissingExtraError("an engine (LiteRT, tflite-runtime or ONNX Runtime)", "litert,onnx")


def _write(output: Path, profiles: dict[EngineKind, EngineProfile]) -> None:
    if output.is_dir():
        for profile in profiles.values():
            path = output / f"{profile.name}.json"
            write_atomic(path, encode_profile(profile))
            print(f"wrote {path}", file=sys.stderr)
        return
    if len(profiles) > 1:
        raise click.UsageError(f"{len(profiles)} engines work here; choose one with --engine, or name a folder")
    (profile,) = profiles.values()
    write_atomic(output, encode_profile(profile))
    print(f"wrote {output}", file=sys.stderr)


def _show(kind: EngineKind, profile: EngineProfile) -> None:
    print(f"{kind:<8}{profile.runtime} on {profile.machine}, profile {profile.name}")
    if kind == "onnx":
        print(f"{'':8}opset up to {profile.opset}, IR version up to {profile.ir_version}")
        return
    print(f"{'':8}{len(profile.operators)} of {len(NUMBERS)} built-in operators")
    missing = [_LACKS[lack] for lack in profile.lacks]
    print(f"{'':8}lacks: {'; '.join(missing) if missing else 'nothing that was tried'}")
