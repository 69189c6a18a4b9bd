"""`edge init`: write a commented starter config.

Promises: never overwrites a file; with `--force` the old one is kept beside the new one.
Leaves out: asking questions, and finding cameras.
Thread: main.
"""

from __future__ import annotations

import re
import socket
from importlib import resources
from pathlib import Path

import click

from edge.durable import move_aside, write_atomic
from edge.errors import InputError

__all__ = ["command", "starter_text"]

_NAME_LINE = 'name = "my-device"'


def starter_text(name: str) -> str:
    """The starter config for a device that calls itself `name`; what no topic may hold becomes a dash."""
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-_.")[:63]
    text = resources.files("edge.device").joinpath("starter.toml").read_text(encoding="utf-8")
    return text.replace(_NAME_LINE, f'name = "{clean}"', 1) if clean and clean != "all" else text


@click.command(name="init")
@click.argument("target", type=click.Path(path_type=Path), default=Path("edge.toml"))
@click.option("--force", is_flag=True, help="Write although the file exists; the old one becomes NAME.old.")
def command(target: Path, *, force: bool) -> None:
    """Write a commented starter config to TARGET, a folder or a .toml file; edge.toml here when none is named."""
    path = target if target.suffix == ".toml" else target / "edge.toml"
    if path.exists() and not force:
        raise InputError(f"{path} exists; choose another name, or --force to keep it as {path.name}.old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            print(f"{move_aside(path, '.old')} is the old one")
        write_atomic(path, starter_text(socket.gethostname()).encode())
    except OSError as err:
        raise InputError(f"{path}: cannot be written: {err.strerror}") from err
    print(f"{path} written. Next: set model and source in it, then: edge check --config {path}")
