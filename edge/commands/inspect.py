"""`edge inspect MODEL`: what a model file wants and says, and which rule told us.

Promises: runs the model nowhere but in the probe's child process; `--json` prints one object and nothing else.
Leaves out: running it (`infer`).
Thread: main.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import click
import msgspec

from edge.commands.model_options import model_options
from edge.compute.tensors import TensorSpec
from edge.contract.manifest import (
    CenterCrop,
    Classify,
    Decoder,
    Detect,
    Gray,
    HashedNgrams,
    ImageInput,
    InputSpec,
    Layout,
    Letterbox,
    Locate,
    MultiLabel,
    Normalize,
    RegexVocabulary,
    Regress,
    Resize,
    Scale,
    Scoring,
    Sobel,
    Step,
    TextInput,
    WordPiece,
)
from edge.dropin.found import Found, Overrides, Rule
from edge.dropin.recognise import recognise
from edge.engines.inputs import describe

__all__ = ["command"]

_LABELS_SHOWN = 5
_LABEL_WIDTH = 32
_MEGABYTE = 1_000_000


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "is_json", is_flag=True, help="One JSON object, with the manifest in it.")
@model_options
def command(*, model: Path, is_json: bool, overrides: Overrides) -> None:
    """Show what MODEL wants and says, and which rule told us.

    MODEL is a .tflite or .onnx file, or a folder with a manifest.json.
    """
    found = recognise(model, overrides=overrides)
    if is_json:
        print(json.dumps(_as_json(found), ensure_ascii=False))
    else:
        _show(found)


def _as_json(found: Found) -> dict[str, Any]:
    return {
        "file": str(found.path),
        "size_bytes": len(found.content),
        "sha256": found.digest,
        "kind": found.kind,
        "engine": found.report.runtime,
        "inputs": [_tensor(spec) for spec in found.report.inputs],
        "outputs": [_tensor(spec) for spec in found.report.outputs],
        "manifest": msgspec.to_builtins(found.manifest),
        "rules": [{"what": rule.what, "rule": rule.rule, "assumed": rule.is_assumed} for rule in found.rules],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    told: dict[str, Any] = {"name": spec.name, "shape": list(spec.shape), "dtype": str(spec.dtype)}
    if spec.quantization is not None:
        told |= {"scale": spec.quantization.scale, "zero_point": spec.quantization.zero_point}
    return told


def _show(found: Found) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(found.manifest.name, style="bold"), Text(_version(found), style="dim"))
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="cyan", no_wrap=True)
    facts.add_column(overflow="fold")
    for what, value in _lines(found):
        facts.add_row(what, Text(value))
    console.print(facts)
    rules = Table(box=None, pad_edge=False, title="which rule said so", title_justify="left", title_style="dim")
    rules.add_column("fact", style="cyan", ratio=2)
    rules.add_column("rule", overflow="fold", ratio=3)
    for rule, told in _by_rule(found.rules).items():
        said = Text(rule.rule)
        rules.add_row(", ".join(told), Text.assemble(("assumed: ", "yellow"), said) if rule.is_assumed else said)
    console.print()
    console.print(rules)


def _by_rule(rules: tuple[Rule, ...]) -> dict[Rule, list[str]]:
    """What each rule said, in the order in which the rules spoke."""
    said: dict[Rule, list[str]] = {}
    for rule in rules:
        said.setdefault(replace(rule, what=""), []).append(rule.what)
    return said


def _lines(found: Found) -> list[tuple[str, str]]:
    """The facts, in the order in which a frame meets them."""
    manifest = found.manifest
    lines = [
        ("file", f"{found.path} ({_size(len(found.content))})"),
        ("sha256", found.digest),
        ("engine", f"{found.kind} on {found.report.runtime}"),
        ("task", _decoder(manifest.output)),
        *(("input", _spec(spec)) for spec in found.report.inputs),
        ("steps", _steps(manifest.input)),
        *(("output", _spec(spec)) for spec in found.report.outputs),
        ("labels", _labels(manifest.labels, manifest.output)),
    ]
    if manifest.licence:
        lines.append(("licence", manifest.licence))
    return lines


def _version(found: Found) -> str:
    return "" if found.manifest.version == "0" else f"version {found.manifest.version}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= _MEGABYTE else f"{size_bytes / 1e3:.1f} kB"


def _spec(spec: TensorSpec) -> str:
    told = f"{describe(spec.shape, spec.dtype)}  {spec.name}"
    if spec.quantization is not None:
        scale, zero_point = spec.quantization.scale, spec.quantization.zero_point
        told += f"  real = (stored {'-' if zero_point >= 0 else '+'} {abs(zero_point)}) * {scale:.6g}"
    return told


def _labels(labels: tuple[str, ...], output: Decoder) -> str:
    if not labels:
        return "none; --labels FILE names the classes" if isinstance(output, Classify | MultiLabel | Detect) else "none"
    shown = [shorten(label or "(no name)", _LABEL_WIDTH, placeholder="...") for label in labels[:_LABELS_SHOWN]]
    return f"{len(labels)}: {' | '.join(shown)}{' | ...' if len(labels) > _LABELS_SHOWN else ''}"


def _decoder(output: Decoder) -> str:
    task = str(msgspec.to_builtins(output)["task"])
    match output:
        case Detect():
            return f"{task} ({output.format.value}), score at least {output.threshold:g}"
        case Classify():
            return f"{task}, best {output.top_k}{_scoring(output.scoring)}"
        case MultiLabel():
            return f"{task}, score at least {output.threshold:g}{_scoring(output.scoring)}"
        case Regress(unit=unit) if unit:
            return f"{task}, in {unit}"
        case _:
            return task


def _scoring(scoring: Scoring) -> str:
    return "" if scoring is Scoring.NONE else f", {scoring.value} of the output"


def _steps(spec: InputSpec) -> str:
    match spec:
        case ImageInput():
            return " -> ".join([spec.color.value, *(_step(step) for step in spec.steps)])
        case TextInput():
            first = [name for name, is_on in (("NFKC", spec.nfkc), ("lower case", spec.lowercase)) if is_on]
            return " -> ".join([*first, _tokenizer(spec.tokenizer)])
        case _:
            return "plain numbers, in real units"


def _step(step: Step) -> str:  # noqa: PLR0911 - one for each step
    match step:
        case Resize():
            return f"resize {step.width}x{step.height} ({step.interpolation.value})"
        case Letterbox():
            return f"letterbox {step.width}x{step.height}"
        case CenterCrop():
            return f"centre crop {step.width}x{step.height}" if step.width else "largest centre square"
        case Scale():
            offset = f" {step.offset:+.4g}" if step.offset else ""
            return f"x * {step.factor:.4g}{offset}"
        case Normalize():
            return f"(x - {_numbers(step.mean)}) / {_numbers(step.std)}"
        case Layout():
            return step.channels.value
        case Gray() | Sobel() | Locate():
            return str(msgspec.to_builtins(step)["op"])


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"[{' '.join(f'{value:g}' for value in values)}]"


def _tokenizer(tokenizer: RegexVocabulary | WordPiece | HashedNgrams) -> str:
    match tokenizer:
        case RegexVocabulary():
            return f"words split at {tokenizer.pattern}, ids from {tokenizer.vocabulary}, {tokenizer.length} of them"
        case WordPiece():
            return f"WordPiece with {tokenizer.vocabulary}, {tokenizer.length} tokens"
        case HashedNgrams():
            return f"n-grams hashed into {tokenizer.buckets} numbers"
