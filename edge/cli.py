"""The one command `edge`.

Promises: a subcommand's module is imported when it runs and not before; every `EdgeError` ends as one message on
stderr and the exit code of its class.
Leaves out: the subcommands themselves (`commands`).
Thread: main.
"""

from __future__ import annotations

import importlib
import sys

import click

from edge import __version__
from edge.errors import EdgeError

__all__ = ["main"]

# name -> (module under edge.commands, one line of help). The help stands here so that `edge --help` imports nothing.
_COMMANDS: dict[str, tuple[str, str]] = {
    "infer": ("infer", "Run a model on pictures, folders, videos or texts."),
    "inspect": ("inspect", "Show what a model file wants and says, and which rule told us."),
    "run": ("run", "Run the device daemon from a config file."),
    "check": ("check", "Try a config: camera, model, disk and broker, before the first run."),
    "init": ("init", "Write a commented starter config."),
    "outbox": ("outbox", "Look at, or export, what a device has not yet handed over."),
    "gate": ("gate", "Replay a clip through the motion gate."),
    "central": ("central", "Run the central service, or ask it how the fleet is."),
    "results": ("results", "Read the results that the central service holds."),
    "demo": ("demo", "Run the whole loop on this machine: device, broker and central service."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"edge.commands.{_COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edge")
def _edge() -> None:
    """Camera and text inference on small machines: works offline, loses no result."""


def main() -> None:
    """Run `edge` and exit."""
    try:
        _edge(prog_name="edge")
    except EdgeError as err:
        print(f"edge: {err}", file=sys.stderr)  # noqa: T201 - the command line speaks
        sys.exit(err.exit_code)
