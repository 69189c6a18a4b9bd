"""`edge check`: try a config before the first run.

Promises: one line for each thing tried; exit code 0 when all is well, 1 when something is not, 78 when the config
itself is wrong, which is then all that is said. With `--json`, one JSON object a line and nothing else on stdout.
Leaves out: the trying (`device.checkup`).
Thread: main.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.clock import SystemClock
from edge.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from edge.device.checkup import Finding

__all__ = ["command"]


@click.command(name="check")
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("edge.toml"),
    show_default=True,
    help="The device's config; `edge init` writes one.",
)
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line: what, ok, found, advice.")
def command(path: Path, *, is_json: bool) -> None:
    """Try a config: disk, models, cameras and broker, before the first run."""
    try:
        from edge.device.checkup import Finding, examine
        from edge.device.config import load_config
    except ImportError as err:
        raise MissingExtraError(err.name or "a library", "device") from err
    try:
        config = load_config(path, is_checking_files=False)
    except ConfigError as err:
        for problem in err.problems:
            _say(Finding(what="config", is_ok=False, found=problem), is_json=is_json)
        sys.exit(err.exit_code)
    names = ", ".join(pipeline.name for pipeline in config.pipelines)
    _say(Finding(what="config", is_ok=True, found=f"{path}: {config.device.name}: {names}"), is_json=is_json)
    is_well = True
    for finding in examine(config, SystemClock()):
        _say(finding, is_json=is_json)
        is_well = is_well and finding.is_ok
    sys.exit(0 if is_well else 1)


def _say(finding: Finding, *, is_json: bool) -> None:
    if is_json:
        fields = {"what": finding.what, "ok": finding.is_ok, "found": finding.found, "advice": finding.advice}
        print(json.dumps(fields, ensure_ascii=False), flush=True)
        return
    print(f"{'ok' if finding.is_ok else 'problem':<8} {finding.what}: {finding.found}", flush=True)
    if finding.advice:
        print(f"{'':<8} try: {finding.advice}", flush=True)
