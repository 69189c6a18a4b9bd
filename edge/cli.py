"""The one command `edge`.

Promises: a subcommand's module is imported when it runs and not before; every `EdgeError`, a library that is missing
and an output that takes no more end as one message on stderr and an exit code; a reader that goes away (`| head`) ends
it quietly.
Leaves out: the subcommands themselves (`commands`).
Thread: main.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from typing import Any, NoReturn

import click

from edge import __version__
from edge.errors import EdgeError, MissingExtraError

__all__ = ["main"]

# name -> (module under edge.commands, one line of help). The help stands here so that `edge --help` imports nothing.
_COMMANDS: dict[str, tuple[str, str]] = {
    "infer": ("infer", "Run a model on pictures, folders, videos or texts."),
    "inspect": ("inspect", "Show what a model file wants and says, and which rule told us."),
    "probe": ("probe", "Find out what the engines here can run, and what they get wrong."),
    "selftest": ("selftest", "Replay a bundle's golden samples on the engines here."),
    "convert": ("convert", "Turn a trained model into small files that say the same, and a bundle of them."),
    "quantize": ("quantize", "Make the small variants of a float .tflite or .onnx file."),
    "verify": ("verify", "Compare a bundle or a model file with the model it was made from."),
    "bundle": ("bundle", "Make a verified bundle of model files that are there already."),
    "run": ("run", "Run the device daemon from a config file."),
    "check": ("check", "Try a config: camera, model, disk and broker, before the first run."),
    "init": ("init", "Write a commented starter config."),
    "device": ("device", "Make this board a device of a fleet."),
    "model": ("model", "Show what each pipeline runs, go back, hold it, or choose a release that lies here."),
    "outbox": ("outbox", "Look at, or export, what a device has not yet handed over."),
    "gate": ("gate", "Replay a clip through the motion gate."),
    "central": ("central", "Run the central service, or ask it how the fleet is."),
    "results": ("results", "Read the results that the central service holds."),
    "keys": ("keys", "Make the keys of a fleet, replace them, and see which there are."),
    "publish": ("publish", "Sign a bundle as the next release of its family."),
    "withdraw": ("withdraw", "Offer a release to no device any more."),
    "revoke": ("revoke", "Make devices leave a release, or start none below one."),
    "registry": ("registry", "List what is signed, check every byte of it, and keep it fresh."),
    "rollout": ("rollout", "Bring a release to a fleet in waves, and decide how it goes on."),
    "fleet": ("fleet", "See what devices run, and say what single ones shall run."),
    "demo": ("demo", "Run the whole loop on this machine: device, broker and central service."),
}

# The extra that has all a subcommand may want; `device` where none is named.
_EXTRAS = {
    "convert": "convert",
    "quantize": "convert",
    "verify": "convert",
    "bundle": "convert",
    "gate": "vision",
    "central": "central",
    "results": "central",
    "keys": "registry",
    "publish": "registry",
    "withdraw": "registry",
    "revoke": "registry",
    "registry": "registry",
    "rollout": "central",
    "fleet": "central",
    "demo": "demo",
}
_EX_IOERR = 74


def _missing(err: ImportError, subcommand: str) -> MissingExtraError:
    """A library that is absent, or that does not load here, as a sentence with the command that adds it."""
    name = "OpenCV" if err.name == "cv2" else str(err.name)
    if not isinstance(err, ModuleNotFoundError):  # a shared library that it needs is absent, mostly
        name = f"{name} that loads here ({err})"
    return MissingExtraError(name, _EXTRAS.get(subcommand, "device"))


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        try:
            module = importlib.import_module(f"edge.commands.{_COMMANDS[cmd_name][0]}")
        except ImportError as err:
            raise _missing(err, cmd_name) from err
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ImportError as err:
            raise _missing(err, ctx.invoked_subcommand or "") from err

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edge")
def _edge() -> None:
    """Camera and text inference on small machines: works offline, loses no result."""


def main() -> None:
    """Run `edge` and exit."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # JSON is UTF-8 whatever the locale says, and so are labels
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        try:
            _edge(prog_name="edge")
        finally:
            sys.stdout.flush()
    except EdgeError as err:
        print(f"edge: {err}", file=sys.stderr)  # noqa: T201 - the command line speaks
        sys.exit(err.exit_code)
    except OSError as err:
        _give_up(err)


def _open_what_is_closed() -> None:
    """Whoever started us with a standard stream closed gets silence there, and not a model file in its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:  # noqa: PERF203 - three rounds
            handle = os.open(os.devnull, os.O_RDWR)  # the lowest free number, that is this one
            setattr(sys, name, os.fdopen(handle, mode, encoding="utf-8", closefd=False))


def _give_up(err: OSError) -> NoReturn:
    """End because a file cannot be used, or stdout takes no more; raises `err` again where it is about neither."""
    if err.filename is not None:
        print(f"edge: {err.filename}: {err.strerror}", file=sys.stderr)  # noqa: T201
        sys.exit(_EX_IOERR)
    if err.errno not in {errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF}:
        raise err
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more at exit; let that go nowhere
    if err.errno == errno.EPIPE:
        sys.exit(1)  # as click does where it meets that itself
    print(f"edge: the output cannot be written: {err.strerror}", file=sys.stderr)  # noqa: T201
    sys.exit(_EX_IOERR)
