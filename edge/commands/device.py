"""`edge device`: make this board a device of a fleet.

Promises: `join` says what it did, whether the broker takes the device, and what to do next; exit code 0 when it does, 1
when all is written and the broker does not answer, 65 when nothing was done.
Leaves out: the doing (`device.joining`); making the file (`edge central enroll`).
Thread: main.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.clock import SystemClock
from edge.commands.init import starter_text
from edge.contract.ids import new_session
from edge.contract.join import Join, read
from edge.contract.topics import DeviceTopics
from edge.durable import Disk
from edge.errors import InputError, MissingExtraError, WireError
from edge.reading import read_stream, read_whole

if TYPE_CHECKING:
    from edge.device.joining import Joined

__all__ = ["command"]

_LARGEST_BYTES = 64 * 1024  # ten times any join file


@click.group()
def command() -> None:
    """Make this board a device of a fleet."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("edge.toml"),
    show_default=True,
    help="The device's config; one is made where there is none.",
)
@click.option("--replace", "is_replacing", is_flag=True, help="Although this board is another device so far.")
def join(file: Path, path: Path, *, is_replacing: bool) -> None:
    """Join the fleet that FILE is for; - reads it, or the letters of its QR code, from standard input.

    FILE comes from edge central enroll. Name, fleet and broker in the config become what it says, all else stays.
    """
    try:
        from edge.device.config import ENVIRONMENT
        from edge.device.joining import join_fleet
    except ImportError as err:
        raise MissingExtraError(err.name or "a library", "device") from err
    wanted = _read(file)
    starter = starter_text(wanted.name)
    done = join_fleet(path, wanted, starter=starter, is_replacing=is_replacing, disk=Disk())
    print(f"this board is {wanted.fleet}/{wanted.name}; what proves it is in {done.folder}")
    over = [name for name, (table, _) in ENVIRONMENT.items() if table in {"device", "broker"} and os.environ.get(name)]
    if over:
        print(f"{', '.join(over)} stand above {path}, as long as they are set")
    is_taken = _try(wanted, done)
    if done.is_new:
        print(f"{path} written; next, set model and source in it, then: edge check --config {path}")
    elif done.is_changed:
        print(f"{path} changed; next: edge check --config {path}, and restart the daemon, if it runs")
    if done.left:
        print(f"what proved it before is still in {', '.join(done.left)}; remove it when the daemon was restarted")
    if is_taken and str(file) != "-":
        print(f"then remove {file}: whoever has it is this device")
    sys.exit(0 if is_taken else 1)


def _read(file: Path) -> Join:
    try:
        if str(file) == "-":
            content = read_stream(sys.stdin.buffer, most_bytes=_LARGEST_BYTES)
        else:
            content = read_whole(file, most_bytes=_LARGEST_BYTES)
        return read(content.decode(), str(file))
    except OSError as err:
        raise InputError(f"{file}: cannot be read: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise InputError(f"{file}: no join file; edge central enroll makes one") from err


def _try(wanted: Join, done: Joined) -> bool:
    from edge.wire.attempt import connect_once

    broker = done.broker
    names = DeviceTopics(fleet=wanted.fleet, device=wanted.name)
    try:
        connect_once(
            broker,
            client_id=f"edge-join-{new_session()}",
            topic_filters=[names.receipt, names.texts, names.trust],
            clock=SystemClock(),
            may_speak_on=names.reply_to("join"),
        )
    except WireError as err:
        print(f"problem: broker {broker.host}:{broker.port}: {err}")
        print(f"  try: {_advice(str(err))}")
        return False
    print(f"ok: broker {broker.host}:{broker.port} takes this device")
    return True


def _advice(why: str) -> str:
    if "not yet valid" in why or "expired" in why:
        return "the clock of this board: timedatectl; or a new certificate of the broker: edge central broker-config"
    if "Hostname mismatch" in why or "not valid for" in why:
        return "the name that the broker's certificate is for: edge central broker-config --host NAME, then enroll anew"
    if "Not authorized" in why or "not authorised" in why:
        return "tell the broker to read its files again, where it runs: sudo systemctl reload mosquitto"
    if "connection was lost" in why:  # what TLS 1.3 leaves of a certificate that is refused
        return "the broker took the connection and ended it: was this device expelled? The broker's log says why"
    return "is the broker started, and can this board reach it? The daemon goes on trying by itself"
