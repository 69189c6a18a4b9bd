"""`edge fleet`: see what the devices of a fleet run, and say of single ones what they shall run or be chosen by.

Promises: the running service follows it within seconds; who said it stands in the log. A slip of the pen changes
nothing.
Leaves out: bringing a release to many devices (`commands.rollout`), whether all results came (`commands.central`).
Thread: main.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from edge.clock import SystemClock
from edge.commands.registry_options import registry_option
from edge.commands.rollout_options import database_option, lines_of, moment, opened, wanted_release
from edge.contract.ids import check_name
from edge.errors import InputError

if TYPE_CHECKING:
    from edge.central.store.devices import Device, Slot
    from edge.central.store.people import Person
    from edge.contract.trust import Wanted

__all__ = ["command"]

_FACTORY = "factory"
_RELEASE = re.compile(r"(?:models/)?([^/]+)/([1-9][0-9]{0,8})(?:\.json)?")
_device_argument = click.argument("device", metavar="FLEET/NAME")


@click.group()
def command() -> None:
    """See what devices run, and say what single ones shall run, or what rollouts choose them by."""


@command.command(name="list")
@database_option
@click.option("--where", "cohort", default="", help="Conditions as in a rollout: 'fleet=farm label:site=north'.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a device and line.")
def list_(database: str, cohort: str, *, as_json: bool) -> None:
    """Show each device: is it there, which releases its slots run, and what people said of it."""
    from edge.central.rollout.cohort import parse_cohort

    chosen = parse_cohort(cohort)
    now_ms = SystemClock().wall_ms()
    with opened(database) as rollouts:
        known = rollouts.devices(now_ms)
    found = [each for each in known if chosen.holds(each.facts, each.labels)]
    if as_json:
        for each in found:
            click.echo(msgspec.json.encode(each))
    elif not known:
        click.echo("no device has sent anything yet")
    elif not found:
        click.echo(f"none of {len(known)} devices meets {cohort!r}")
    else:
        table: list[tuple[str, ...]] = [("DEVICE", "", "VERSION", "ORDER", "LABELS", "SLOT", "RUNS", "STATE", "")]
        table += [row for each in found for row in _rows(each)]
        for line in lines_of(table):
            click.echo(line)


@command.command()
@database_option
@registry_option
@_device_argument
@click.argument("slot")
@click.argument("release")
def use(database: str, where: str, device: str, slot: str, release: str) -> None:
    """Let a slot run RELEASE (FAMILY/NUMBER) or its "factory" model; rollouts that go on leave it alone from then on.

    The device checks, probes and tries it first, as any other.
    """
    person = _person(device)
    _assign(database, person, slot, _wanted(where, release))


@command.command()
@database_option
@registry_option
@_device_argument
@click.argument("slot")
def rollback(database: str, where: str, device: str, slot: str) -> None:
    """Let a slot go back to what it ran before; below the first release lies the factory's model."""
    from edge.central.store.people import previous_of

    person = _person(device)
    with opened(database) as rollouts, rollouts.reading() as connection:
        previous = previous_of(connection, person, slot)
    _assign(database, person, slot, _wanted(where, previous or _FACTORY))


@command.command()
@database_option
@_device_argument
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE...")
def label(database: str, device: str, labels: tuple[str, ...]) -> None:
    """Give a device labels, for conditions such as label:site=north; an empty value takes one away."""
    from edge.central.store.people import set_label

    person = _person(device)
    pairs = [each.partition("=") for each in labels]
    for key, sign, _ in pairs:
        if not sign:
            raise InputError(f"label {key!r}: expected KEY=VALUE, for example site=north")
        check_name("label", key)
    with opened(database) as rollouts, rollouts.transaction() as connection:
        for key, _, value in pairs:
            set_label(connection, person, key, value)


@command.command()
@database_option
@_device_argument
@click.argument("slot")
@click.option("--off", is_flag=True, help="Let rollouts assign it again.")
def pin(database: str, device: str, slot: str, *, off: bool) -> None:
    """Keep every rollout off a slot; what it was assigned before stays."""
    from edge.central.store.people import set_pin

    person = _person(device)
    with opened(database) as rollouts, rollouts.transaction() as connection:
        set_pin(connection, person, slot, is_on=not off)


@command.command()
@database_option
@click.argument("device", metavar="[FLEET/NAME]", required=False)
def log(database: str, device: str | None) -> None:
    """Show what people said of devices, oldest first: when, who, what. What rollouts did stands in theirs."""
    from edge.central.store.log import BY_HAND

    with opened(database) as rollouts:
        lines = rollouts.log(BY_HAND)
    for line in lines:
        if device is None or line.device == device:
            click.echo(f"{moment(line.at_ms)}  {line.who}  {line.what}  {line.device}  {line.text}")


def _person(device: str) -> Person:
    from edge.central.store.people import Person

    fleet, sign, name = device.partition("/")
    if not sign:
        raise InputError(f"device {device!r}: expected FLEET/NAME, as `edge fleet list` shows it")
    return Person(who=getpass.getuser(), now_ms=SystemClock().wall_ms(), fleet=fleet, device=name)


def _wanted(where: str, release: str) -> Wanted:
    from edge.contract.trust import Wanted

    if release == _FACTORY:
        return Wanted(target="", sha256="", size_bytes=0)
    found = _RELEASE.fullmatch(release)
    if found is None:
        raise InputError(f'release {release!r}: expected FAMILY/NUMBER, for example digits/7, or "{_FACTORY}"')
    return wanted_release(where, found[1], int(found[2]))


def _assign(database: str, person: Person, slot: str, wanted: Wanted) -> None:
    from edge.central.store.people import use as assign

    with opened(database) as rollouts, rollouts.transaction() as connection:
        assign(connection, person, slot, wanted)
    click.echo(f"{person}: slot {slot} shall run {wanted.target or 'the factory model'}")


def _rows(device: Device) -> Iterator[tuple[str, ...]]:
    order = f"{device.rev} of {device.assigned_rev}" if device.rev < device.assigned_rev else str(device.rev or "")
    labels = " ".join(f"{key}={value}" for key, value in device.labels.items())
    about: tuple[str, ...] = (
        f"{device.fleet}/{device.device}",
        "online" if device.is_online else "offline",
        device.version or "",
        order,
        labels,
    )
    for slot in device.slots:
        yield (*about, slot.name, slot.active or _FACTORY, slot.state, _remarks(slot))
        about = ("",) * len(about)
    if not device.slots:
        yield (*about, "-", "", "", "")


def _remarks(slot: Slot) -> str:
    remarks = []
    if slot.coming:
        remarks.append(f"{slot.coming} on its way")
    elif slot.wanted is not None and slot.wanted != slot.active and (not slot.wanted or slot.wanted != slot.refused):
        remarks.append(f"shall run {slot.wanted or _FACTORY}")
    if slot.is_pinned_there:
        remarks.append("pinned at the device")
    if slot.is_pinned_here:
        remarks.append("pinned")
    if slot.refused:
        remarks.append(f"not run: {slot.refused}: {slot.why}")
    return "; ".join(remarks)
