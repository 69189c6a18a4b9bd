"""`edge central`: run the service that keeps what the fleet sends, ask it how the fleet is, and let devices in.

Promises: `run` ends cleanly on SIGTERM and Ctrl-C; `status` reads only, and works while the service runs or not;
`copy-to` copies all or nothing.
Leaves out: the service (`central.app`); brokers and who may come in (`enrolment`).
Thread: main.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec.structs import asdict, replace

from edge.central.config import CentralConfig, HttpConfig, load_config
from edge.clock import SystemClock
from edge.commands import enrolment
from edge.commands.api_client import ApiClient, api_options, open_api
from edge.commands.database_option import database_option, database_url
from edge.commands.people import people, setup_link, token
from edge.contract.ids import check_name
from edge.errors import ConfigError
from edge.wire.config import BrokerConfig

if TYPE_CHECKING:
    from edge.central.store.verdict import DeviceStatus

__all__ = ["command"]

_DATABASE_HELP = "A path, sqlite:///PATH or postgresql://USER@HOST/NAME.  [default: central.db in this folder]"


@click.group()
def command() -> None:
    """Run the central service, ask it how the fleet is, and let devices in."""


for _each in (people, token, setup_link, enrolment.broker_config, enrolment.enroll, enrolment.expel):
    command.add_command(_each)


@command.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file; the other options win.")
@click.option("--database", help=_DATABASE_HELP)
@click.option("--fleet", help="Listen to one fleet only.  [default: all on this broker]")
@click.option("--broker-host", help="[default: localhost]")
@click.option("--broker-port", type=int, help="[default: 1883]")
@click.option("--broker-username", help="Name under which the broker knows this service.")
@click.option(
    "--broker-password-file", type=click.Path(dir_okay=False), help="File that holds its password and nothing else."
)
@click.option("--listen", metavar="ADDRESS:PORT", help="HTTP API; '' serves none.  [default: 127.0.0.1:8080]")
@click.option("--verbose", is_flag=True, help="Tell more.")
def run(
    config_path: Path | None,
    database: str | None,
    fleet: str | None,
    broker_host: str | None,
    broker_port: int | None,
    broker_username: str | None,
    broker_password_file: str | None,
    listen: str | None,
    *,
    verbose: bool,
) -> None:
    """Keep what devices send, and tell them what is safe to forget."""
    from edge.central.app import run_central

    config = load_config(config_path) if config_path is not None else CentralConfig()
    overrides = {
        "host": broker_host,
        "port": broker_port,
        "username": broker_username,
        "password_file": broker_password_file,
    }
    try:
        # Built anew, not replaced: older msgspec checks a struct only when it is built.
        given = {key: value for key, value in overrides.items() if value is not None}
        broker = BrokerConfig(**{**asdict(config.broker), **given})
    except ValueError as err:
        raise ConfigError((f"broker: {err}",)) from err
    try:
        http = HttpConfig(**{**asdict(config.http), **({} if listen is None else {"listen": listen})})
    except ValueError as err:
        raise ConfigError((f"http: {err}",)) from err
    if fleet is not None:
        check_name("fleet name", fleet)
    config = replace(
        config,
        broker=broker,
        http=http,
        database=database_url(config.database if database is None else database),
        fleet=config.fleet if fleet is None else fleet,
    )
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    if not verbose:
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it counts its plugins aloud
    stopping = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda _signal, _frame: stopping.set())
    run_central(config, SystemClock(), stopping, _say)


@command.command()
@database_option
@api_options
@click.option("--fleet", help="Only this fleet.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a device and line.")
def status(
    database: str, api: str | None, token_file: str | None, ca_file: str | None, fleet: str | None, *, as_json: bool
) -> None:
    """Show each device: is it there, what came, is anything missing."""
    client = open_api(api, token_file, ca_file)
    found = _of_database(database, fleet) if client is None else _of_service(client, fleet)
    if as_json:
        for each in found:
            click.echo(msgspec.json.encode(each))
    elif found:
        _print(found, SystemClock().wall_ms())
    else:
        click.echo("no device has sent anything yet")


def _of_database(database: str, fleet: str | None) -> tuple[DeviceStatus, ...]:
    from edge.central.store.read import Reader
    from edge.central.store.verdict import devices

    reader = Reader.open(database_url(database))
    try:
        return devices(reader, SystemClock().wall_ms(), fleet=fleet)
    finally:
        reader.close()


def _of_service(client: ApiClient, fleet: str | None) -> tuple[DeviceStatus, ...]:
    from edge.central.store.verdict import DeviceStatus

    return tuple(msgspec.convert(each, DeviceStatus) for each in client.pages("/devices", fleet=fleet, limit=500))


@command.command("copy-to")
@click.argument("target", metavar="DATABASE")
@click.option("--database", default="central.db", help=_DATABASE_HELP)
def copy_to(target: str, database: str) -> None:
    """Copy everything into another database, which must be empty or new.

    Stop the service before, and start it on the other one after: devices notice nothing.
    """
    from edge.central.store.copying import copy_to as copy_all

    rows = copy_all(database_url(database), database_url(target), click.echo)
    click.echo(f"copied {rows} rows; go on with: edge central run --database {target}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _print(found: tuple[DeviceStatus, ...], now_ms: int) -> None:
    table = [("DEVICE", "", "LAST SEEN", "EPOCHS", "ROWS", "LOST", "PENDING", "CONFLICTS", "VERDICT")]
    table.extend(
        (
            f"{each.fleet}/{each.device}",
            "online" if each.is_online else "offline",
            "never" if each.last_ms is None else f"{_age(now_ms - each.last_ms)} ago",
            str(len(each.epochs)),
            str(each.rows),
            str(each.lost),
            str(each.pending),
            str(each.conflicts),
            each.verdict + _remarks(each),
        )
        for each in found
    )
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _remarks(device: DeviceStatus) -> str:
    remarks = ""
    if device.is_cloned:
        remarks += "; two devices use this name"
    if device.refused:
        remarks += f"; {device.refused} messages could not be read"
    return remarks


def _age(milliseconds: int) -> str:
    seconds = max(0, milliseconds) // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
