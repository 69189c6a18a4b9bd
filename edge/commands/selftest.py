"""`edge selftest`: replay a bundle's golden samples on the engines of this machine.

Promises: exit code 0 when every variant that was run passed, 1 when one failed; with `--json`, one JSON object a line
for each variant and nothing else on stdout.
Leaves out: the running and judging (`selftest`).
Thread: main.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from edge.engines.open import MOST_THREADS
from edge.selftest import CheckStatus, OutputCheck, VariantCheck, selftest

__all__ = ["command"]

_WIDE = 160  # where no terminal says how wide it is
_COLORS = {CheckStatus.PASSED: "green", CheckStatus.FAILED: "red", CheckStatus.SKIPPED: "yellow"}


@click.command("selftest")
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line for each variant.")
@click.option("--variant", metavar="FILE", help="Only this file of the bundle.")
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), default=1, help="Processor threads for the engine.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    help="Seconds that one variant may take.",
)
def command(*, path: Path, is_json: bool, variant: str | None, threads: int, timeout_s: float) -> None:
    """Check that the models of a bundle say here what the trained model said.

    PATH is a bundle's folder, or one of its model files.
    """
    checks = selftest(path, variant=variant, threads=threads, timeout_s=timeout_s)
    if is_json:
        for check in checks:
            print(msgspec.json.encode(check).decode())
    else:
        _show(checks)
    if any(check.status is CheckStatus.FAILED for check in checks):
        sys.exit(1)


def _show(checks: tuple[VariantCheck, ...]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("variant", "result", "off by", "allowed"):
        table.add_column(heading, overflow="fold")
    table.add_column("p50", justify="right", no_wrap=True)
    table.add_column("on", overflow="fold")
    for check in checks:
        off, allowed = _worst(check.outputs)
        result = Text(check.status.value, style=_COLORS[check.status])
        time = "" if check.p50_ms is None else f"{check.p50_ms:.3g} ms"
        table.add_row(Text(check.file), result, off, allowed, time, Text(check.runtime or check.engine))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    console.print(table)
    for check in checks:
        if check.reason:
            console.print(Text(f"{check.file} {check.status.value}: {check.reason}"), soft_wrap=True)


def _worst(outputs: tuple[OutputCheck, ...]) -> tuple[str, str]:
    """The figures of the output that comes nearest to its tolerance, or is farthest past it."""
    if not outputs:
        return "", ""
    worst = max(outputs, key=_share)
    form = ".1%" if worst.is_counted else ".3g"
    return format(worst.difference, form), "" if worst.tolerance is None else format(worst.tolerance, form)


def _share(output: OutputCheck) -> float:
    if not output.tolerance:
        return output.difference * sys.float_info.max if output.difference else 0.0
    return output.difference / output.tolerance
