"""`edge central broker-config`, `enroll` and `expel`: a broker's files, and who may come in.

Promises: what holds a key or a password is readable by its owner alone; after each change it is said what the broker
must be told. Nothing is asked.
Leaves out: the files (`central.broker`); putting a join file to use (`edge device join`).
Thread: main.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec.structs import replace

from edge.clock import SystemClock
from edge.contract.ids import check_name
from edge.durable import write_atomic
from edge.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from edge.central.broker.members import Member, Settings
    from edge.contract.join import Join

__all__ = ["broker_config", "enroll", "expel"]

_RELOAD = "now tell the broker: sudo systemctl reload mosquitto, or kill -HUP its process"
_DAY_MS = 86_400_000
_SOON_DAYS = 90
_QUIET = 2  # squares of white around a code; four by the book, and cameras take two
_PORT = click.IntRange(1, 65535)

_broker = click.option(
    "--broker",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("broker"),
    show_default=True,
    envvar="EDGE_BROKER_DIR",
    help="The folder that edge central broker-config wrote; EDGE_BROKER_DIR sets it.",
)


@click.command(name="broker-config")
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("broker"),
    show_default=True,
    envvar="EDGE_BROKER_DIR",
    help="Folder to write, or to bring up to date; EDGE_BROKER_DIR sets it.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="Name or address of the broker, as devices reach it; the first one is told to them.",
)
@click.option("--listen", help="Address to listen at.  [default: all]")
@click.option("--port", type=_PORT, help="For devices and viewers with certificates.  [default: 8883]")
@click.option(
    "--password-port", type=click.IntRange(0, 65535), help="For those with passwords; 0 takes none.  [default: 0]"
)
@click.option("--central-listen", help="Address to listen at for the central service.  [default: 127.0.0.1]")
@click.option("--central-port", type=_PORT, help="For the central service.  [default: 8885]")
@click.option("--memory-mb", type=click.IntRange(min=64), help="All that the broker may hold.  [default: 1024]")
@click.option(
    "--at",
    type=click.Path(path_type=Path),
    help="Where the broker will find its files, if they are copied.  [default: where they are written]",
)
def broker_config(
    *,
    folder: Path,
    hosts: tuple[str, ...],
    listen: str | None,
    port: int | None,
    password_port: int | None,
    central_listen: str | None,
    central_port: int | None,
    memory_mb: int | None,
    at: Path | None,
) -> None:
    """Write what a Mosquitto for fleets needs: configuration, certificates, access list.

    What is there stays: keys are kept, certificates are renewed in their last years, and options that are not given
    are as they were. Run it again after each update of edge.
    """
    from edge.central.broker.office import Office

    given = {
        "listen": listen,
        "port": port,
        "central_listen": central_listen,
        "central_port": central_port,
        "memory_mb": memory_mb,
        "at": None if at is None else str(at.absolute()),
    }

    def change(settings: Settings) -> Settings:
        settings = replace(settings, **{key: value for key, value in given.items() if value is not None})
        return settings if password_port is None else replace(settings, password_port=password_port or None)

    with Office(folder, SystemClock()) as office:
        made = office.set_up(change, hosts)
        settings = office.book.settings
    for each in made:
        print(f"made: {each}")
    _say_next(folder, settings)


def _say_next(folder: Path, settings: Settings) -> None:
    ours = folder / "mosquitto"
    config = ours / "mosquitto.conf"
    if Path(settings.at) != ours.resolve():
        print("on the broker's machine, after each change, with the folder mosquitto copied there:")
        print(f"  sudo cp -rT mosquitto {settings.at} && sudo chown -R mosquitto: {settings.at}")
        print(
            f"  sudo cp {settings.at}/mosquitto.conf /etc/mosquitto/mosquitto.conf && sudo systemctl restart mosquitto"
        )
    elif os.geteuid() == 0:
        print(f"the broker's files are in {ours}; to keep it running, on Debian:")
        print(f"  cp {config} /etc/mosquitto/mosquitto.conf && systemctl restart mosquitto")
    else:
        print(f"the broker's files are in {ours}; try them: mosquitto -c {config}")
        print("how to keep it running: edge central broker-config --at /var/lib/mosquitto/edge")
    print(f"the central service: edge central run --config {folder / 'central' / 'central.toml'}")
    print(f"each device: edge central enroll NAME --broker {folder}")
    print(f"keep {folder / 'authority'} to yourself: who has it lets in whom he likes; the broker does not need it")


@click.command()
@click.argument("names", metavar="NAME", nargs=-1)
@_broker
@click.option("--fleet", help="Its fleet.  [default: home]")
@click.option(
    "--certificate/--password", "is_certificate", default=True, help="How it proves who it is.  [default: certificate]"
)
@click.option(
    "--viewer", "is_viewer", is_flag=True, help="No device: a person or a program that looks, and sends texts."
)
@click.option(
    "--days", type=click.IntRange(min=1), default=3650, show_default=True, help="How long its certificate is good."
)
@click.option("--renew", "is_renewal", is_flag=True, help="It is enrolled: a new certificate or password for it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write; - for standard output.  [default: NAME.join]",
)
@click.option("--qr", "is_qr", is_flag=True, help="Show it as a QR code as well.")
@click.option("--list", "is_list", is_flag=True, help="Show who is enrolled, and enroll nobody.")
@click.option("--json", "is_json", is_flag=True, help="With --list: one JSON object a line.")
def enroll(
    *,
    names: tuple[str, ...],
    folder: Path,
    fleet: str | None,
    is_certificate: bool | None,
    is_viewer: bool,
    days: int,
    is_renewal: bool,
    out: Path | None,
    is_qr: bool,
    is_list: bool,
    is_json: bool,
) -> None:
    """Let each device NAME into a fleet: one file with all it needs, for edge device join.

    Several names at once are let in together, or none of them.
    """
    from edge.central.broker.office import Office, Wish

    with Office(folder, SystemClock()) as office:
        if is_list:
            _list(office.book.members, is_json=is_json)
            return
        paths = _paths(names, out)
        show = _qr_printer() if is_qr else None
        wishes = (
            Wish(
                name=name,
                fleet=fleet,
                kind="viewer" if is_viewer else None,
                by=None if is_certificate is None else "certificate" if is_certificate else "password",
                days=days,
                is_renewal=is_renewal,
            )
            for name in names
        )
        joins = office.enroll(*wishes)
    for join, path in zip(joins, paths, strict=True):
        _hand_out(join, path)
        if show is not None:
            show(join)
    print(_RELOAD, file=sys.stderr)


def _paths(names: tuple[str, ...], out: Path | None) -> tuple[Path, ...]:
    """A file for each, looked at before a key is made: one that cannot be written is lost."""
    if not names:
        raise InputError("name the device: edge central enroll NAME; --list shows who is enrolled")
    if out is not None and len(names) > 1:
        raise InputError(f"--out {out} is one file, and {len(names)} names want one each: NAME.join, in this folder")
    paths = tuple(Path(f"{check_name('name', name)}.join") for name in names) if out is None else (out,)
    for path in paths:
        _check_free(path)
    return paths


def _check_free(path: Path) -> None:
    if str(path) != "-" and path.exists():
        raise InputError(f"{path} exists; remove it, or name another file with --out")
    if str(path) != "-" and not os.access(path.parent, os.W_OK):
        raise InputError(f"{path.parent}: no folder that can be written; name a file in another one with --out")


def _hand_out(join: Join, path: Path) -> None:
    from edge.contract.join import toml

    if str(path) == "-":
        print(toml(join), end="")
        return
    write_atomic(path, toml(join).encode(), 0o600)
    what = "its certificate" if join.certificate else "its password"
    print(f"{path} written, with {what}: keep it secret until it was used", file=sys.stderr)
    if join.kind == "device":
        print(f"on the device: edge device join {path.name}", file=sys.stderr)


@click.command()
@click.argument("name")
@_broker
def expel(*, name: str, folder: Path) -> None:
    """Let the device or viewer NAME in no more: its certificates, its password and its rights end."""
    from edge.central.broker.office import Office

    with Office(folder, SystemClock()) as office:
        member = office.expel(name)
    print(f"{member.name} of fleet {member.fleet} is expelled once the broker knows; what it has sent before stays")
    print(_RELOAD)


def _list(members: tuple[Member, ...], *, is_json: bool) -> None:
    now_ms = SystemClock().wall_ms()
    for member in sorted(members, key=lambda each: (each.fleet, each.name)):
        if is_json:
            row = {
                "name": member.name,
                "fleet": member.fleet,
                "kind": member.kind,
                "by": member.by,
                "enrolled": _date(member.enrolled_ms),
                "until": None if member.until_ms is None else _date(member.until_ms),
            }
            print(msgspec.json.encode(row).decode())
            continue
        proof = "password" if member.until_ms is None else f"certificate until {_date(member.until_ms)}"
        left_days = None if member.until_ms is None else (member.until_ms - now_ms) // _DAY_MS
        if left_days is not None and left_days < _SOON_DAYS:
            proof += f", {left_days} days left: edge central enroll {member.name} --renew"
        print(f"{member.fleet}/{member.name}  {member.kind}  {proof}")
    if not members and not is_json:
        print("nobody is enrolled yet")


def _date(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, tz=timezone.utc).date().isoformat()


def _qr_printer() -> Callable[[Join], None]:
    """Shows a code where the terminal has room for it; half a line is one row of squares."""
    try:
        import segno
    except ImportError as err:
        raise MissingExtraError("segno", "central") from err
    from edge.contract.join import code

    def show(join: Join) -> None:
        made = segno.make(code(join), error="l", micro=False)
        width, height = made.symbol_size(border=_QUIET)
        columns, rows = shutil.get_terminal_size()
        if sys.stdout.isatty() and (width > columns or height // 2 + 1 > rows):
            print(
                f"the code needs {width} columns and {height // 2 + 1} lines, and this terminal has {columns} and "
                f"{rows}: make it larger, or its letters smaller, and run this again with --renew",
                file=sys.stderr,
            )
            return
        made.terminal(sys.stdout, border=_QUIET, compact=True)

    return show
