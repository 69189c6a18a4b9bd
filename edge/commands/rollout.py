"""`edge rollout`: bring a release to a fleet in waves, and see or decide how it goes on.

Promises: an order is kept with who gave it before the command ends; the running service follows it within seconds.
Leaves out: deciding (`central.rollout.engine`), signing and sending (`central.rollout.leader`).
Thread: main.
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from edge.clock import SystemClock
from edge.commands.registry_options import registry_option
from edge.commands.rollout_options import database_option, opened, wanted_release
from edge.errors import InputError

if TYPE_CHECKING:
    from edge.central.rollout.plan import Rollout
    from edge.central.store.rollouts import Decide

__all__ = ["command"]


@click.group()
def command() -> None:
    """Bring a release to a fleet in waves, and decide how it goes on."""


@command.command()
@database_option
@registry_option
@click.argument("name")
@click.argument("family")
@click.option("--release", type=click.IntRange(min=1), help="[default: the newest that may be started]")
@click.option("--fleet", required=True, help="Fleet of the devices.")
@click.option("--slot", required=True, help="Pipeline whose model it is.")
@click.option("--where", "cohort", default="", help="Conditions, as 'model=raspberry-pi-5 label:site=north'.")
@click.option("--waves", default="1,10,100", show_default=True, help="Percents of the devices, or one for each wave.")
@click.option("--max-failed", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Above it all halts.")
@click.option("--max-unknown", type=click.FloatRange(0, 1), default=0.2, show_default=True, help="Above it all halts.")
@click.option(
    "--max-unproven",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Failure rate that the devices so far must exclude; else a person approves.",
)
@click.option("--soak-s", type=click.FloatRange(min=0), default=600.0, show_default=True, help="Rest after a wave.")
@click.option("--stay", is_flag=True, help="Leave devices on the release when it halts or is aborted.")
def create(
    *,
    database: str,
    where: str,
    name: str,
    family: str,
    release: int | None,
    fleet: str,
    slot: str,
    cohort: str,
    waves: str,
    max_failed: float,
    max_unknown: float,
    max_unproven: float,
    soak_s: float,
    stay: bool,
) -> None:
    """Begin to bring a release of FAMILY to a fleet; NAME is never used again."""
    from edge.central.rollout.plan import Plan, Wave

    made = tuple(
        Wave(
            name=f"{percent:g}%",
            percent=percent,
            max_failed=max_failed,
            max_unknown=max_unknown,
            max_unproven=max_unproven,
            soak_s=soak_s,
        )
        for percent in _percents(waves)
    )
    wanted = wanted_release(where, family, release)
    plan = Plan(id=name, fleet=fleet, slot=slot, wanted=wanted, waves=made, cohort=cohort, is_returning=not stay)
    with opened(database) as rollouts:
        rollouts.create(plan, SystemClock().wall_ms(), getpass.getuser())
    click.echo(f"rollout {name} of {wanted.target} begins with wave {made[0].name}")


@command.command()
@database_option
@click.argument("name", required=False)
def status(database: str, name: str | None) -> None:
    """Show the rollouts that go on, or NAME with everything that was decided."""
    with opened(database) as rollouts:
        for each in rollouts.going() if name is None else (name,):
            click.echo(_line(rollouts.load(each)))
        if name is not None:
            for line in rollouts.log(name):
                click.echo("  " + "  ".join(part for part in (line.what, line.device, line.who, line.text) if part))


@command.command()
@database_option
@click.argument("name")
def pause(database: str, name: str) -> None:
    """Assign nothing more until `edge rollout resume`; it may still halt."""
    from edge.central.rollout.engine import pause as order

    _order(database, name, lambda rollout, _: order(rollout))


@command.command()
@database_option
@click.argument("name")
def resume(database: str, name: str) -> None:
    """Go on after a pause."""
    from edge.central.rollout.engine import resume as order

    _order(database, name, lambda rollout, _: order(rollout))


@command.command()
@database_option
@click.argument("name")
def approve(database: str, name: str) -> None:
    """Let the wave that goes on end without the proof it lacks."""
    from edge.central.rollout.engine import approve as order

    _order(database, name, lambda rollout, _: order(rollout))


@command.command()
@database_option
@click.argument("name")
@click.option("--why", default="", help="For the log.")
def abort(database: str, name: str, why: str) -> None:
    """End it for good; devices go back to what they ran, unless it was made with --stay."""
    from edge.central.rollout.engine import abort as order

    _order(database, name, lambda rollout, reports: order(rollout, reports, why))


def _order(database: str, name: str, order: Decide) -> None:
    with opened(database) as rollouts:
        made = rollouts.turn(name, order, SystemClock().wall_ms(), getpass.getuser())
    click.echo(f"rollout {name}: {made.decisions[0].text}")


def _line(rollout: Rollout) -> str:
    from edge.central.rollout.plan import Outcome

    plan = rollout.plan
    counts = dict.fromkeys(Outcome, 0)
    for member in rollout.members.values():
        counts[member.outcome] += 1
    told = ", ".join(f"{number} {outcome.value}" for outcome, number in counts.items() if number) or "no device yet"
    line = f"{plan.id}: {rollout.phase.value}, wave {plan.waves[rollout.wave].name}, {plan.wanted.target}: {told}"
    return line + "".join(f"; {text}" for text in (rollout.asks, rollout.why) if text)


def _percents(waves: str) -> list[float]:
    try:
        return [float(part) for part in waves.split(",")]
    except ValueError as err:
        raise InputError(f"--waves {waves!r}: expected percents, for example 1,10,100") from err
