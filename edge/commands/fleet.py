"""`edge fleet`: say of devices what rollouts choose them by.

Promises: the running service follows it within seconds.
Leaves out: rollouts (`commands.rollout`).
Thread: main.
"""

from __future__ import annotations

import click

from edge.clock import SystemClock
from edge.commands.central import database_url
from edge.contract.ids import check_name
from edge.errors import InputError

__all__ = ["command"]

_database_option = click.option(
    "--database", default="central.db", help="sqlite:///PATH, or just the path.  [default: central.db in this folder]"
)


@click.group()
def command() -> None:
    """Say of devices what rollouts choose them by."""


@command.command()
@_database_option
@click.argument("device", metavar="FLEET/NAME")
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE...")
def label(database: str, device: str, labels: tuple[str, ...]) -> None:
    """Give a device labels, for conditions such as label:site=north; an empty value takes one away."""
    from edge.central.store.people import set_label
    from edge.central.store.rollouts import Rollouts

    fleet, name = _split(device)
    pairs = [each.partition("=") for each in labels]
    for key, sign, _ in pairs:
        if not sign:
            raise InputError(f"label {key!r}: expected KEY=VALUE, for example site=north")
        check_name("label", key)
    rollouts = Rollouts.open(database_url(database))
    try:
        with rollouts.transaction() as connection:
            for key, _, value in pairs:
                set_label(connection, fleet, name, key, value)
    finally:
        rollouts.close()


@command.command()
@_database_option
@click.argument("device", metavar="FLEET/NAME")
@click.argument("slot")
@click.option("--off", is_flag=True, help="Let rollouts assign it again.")
def pin(database: str, device: str, slot: str, *, off: bool) -> None:
    """Keep every rollout off a slot; what it was assigned before stays."""
    from edge.central.store.people import set_pin
    from edge.central.store.rollouts import Rollouts

    fleet, name = _split(device)
    rollouts = Rollouts.open(database_url(database))
    try:
        with rollouts.transaction() as connection:
            set_pin(connection, fleet, name, check_name("slot", slot), None if off else SystemClock().wall_ms())
    finally:
        rollouts.close()


def _split(device: str) -> tuple[str, str]:
    fleet, sign, name = device.partition("/")
    if not sign:
        raise InputError(f"device {device!r}: expected FLEET/NAME, as `edge central status` shows it")
    return fleet, name
