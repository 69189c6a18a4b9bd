"""`edge rollout`: bring a release to a fleet in waves, and see or decide how it goes on.

Promises: an order is kept with who gave it before the command ends; the running service follows it within seconds.
Leaves out: deciding (`central.rollout.engine`), signing and sending (`central.leader`).
Thread: main.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.core import ParameterSource
from msgspec.structs import replace

from edge.central.rollout.drafts import Draft, read_draft
from edge.central.rollout.forecast import Forecast, forecast
from edge.central.rollout.plan import Phase, Plan, Wave, check_plan
from edge.central.rollout.words import count_of
from edge.clock import SystemClock
from edge.commands.registry_options import registry_option
from edge.commands.rollout_follow import follow, line_of, open_screen, summary, told
from edge.commands.rollout_options import database_option, lines_of, opened, wanted_release
from edge.errors import InputError

if TYPE_CHECKING:
    from edge.central.store.rollouts import Decide

__all__ = ["command"]

_ENDED_EARLY = 3
_SHARE = click.FloatRange(0, 1)
_COUNT = click.IntRange(min=1)
_LIMITS = (
    "max_failed",
    "max_unknown",
    "max_unproven",
    "min_committed",
    "soak_s",
    "deadline_s",
    "rate_per_min",
    "max_in_flight",
)


@click.group()
def command() -> None:
    """Bring a release to a fleet in waves, and decide how it goes on."""


@command.command()
@database_option
@registry_option
@click.argument("name")
@click.argument("family", required=False)
@click.option("--plan", "file", type=click.Path(path_type=Path), help="A TOML file with the waves and all else.")
@click.option("--release", type=click.IntRange(min=1), help="[default: the newest that may be started]")
@click.option("--fleet", help="Fleet of the devices.")
@click.option("--slot", help="Pipeline whose model it is.")
@click.option("--where", "cohort", default="", help="Conditions, as 'model=raspberry-pi-5 label:site=north'.")
@click.option("--shadow", type=click.FloatRange(0, 100, min_open=True), help="First beside the active one, on N %.")
@click.option("--min-items", type=click.IntRange(min=1), default=100, show_default=True, help="That a shadow sees.")
@click.option("--min-agreement", type=_SHARE, default=0.95, show_default=True, help="Of a shadow with the active one.")
@click.option("--canary", "canaries", multiple=True, metavar="DEVICE", help="Then on these devices; may be repeated.")
@click.option("--waves", default="1,10,100", show_default=True, help="Then on percents of the devices, one a wave.")
@click.option("--max-failed", type=_SHARE, default=0.0, show_default=True, help="Above it all halts.")
@click.option("--max-unknown", type=_SHARE, default=0.2, show_default=True, help="Above it all halts.")
@click.option(
    "--max-unproven",
    type=_SHARE,
    default=0.5,
    show_default=True,
    help="Failure rate that the devices so far must exclude; else a person approves.",
)
@click.option("--min-committed", type=click.IntRange(min=0), default=1, show_default=True, help="Devices that run it.")
@click.option("--soak-s", type=click.FloatRange(min=0), default=600.0, show_default=True, help="Rest after a wave.")
@click.option(
    "--deadline-s",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    help="A device that is there and has come to nothing by then is unknown.",
)
@click.option("--rate", "rate_per_min", type=_COUNT, default=60, show_default=True, help="Devices assigned a minute.")
@click.option(
    "--in-flight", "max_in_flight", type=_COUNT, default=50, show_default=True, help="Devices on the way at once."
)
@click.option("--stay", is_flag=True, help="Leave devices on the release when it halts or is aborted.")
@click.option("--dry-run", is_flag=True, help="Show the waves with the devices that are known now, and begin nothing.")
@click.pass_context
def create(
    context: click.Context, /, *, database: str, where: str, name: str, file: Path | None, dry_run: bool, **given: Any
) -> None:
    """Begin to bring a release of FAMILY to a fleet; NAME is never used again."""
    draft = _draft(given) if file is None else _draft_of(context, file, given)
    if draft.family is None:
        raise click.UsageError("FAMILY is missing: the releases of which model? A plan file may name it too.")
    plan = Plan(
        id=name,
        fleet=draft.fleet,
        slot=draft.slot,
        wanted=wanted_release(where, draft.family, draft.release),
        waves=draft.wave,
        cohort=draft.cohort,
        is_returning=draft.is_returning,
    )
    check_plan(plan)
    now_ms = SystemClock().wall_ms()
    with opened(database) as rollouts:
        seen = forecast(plan, rollouts.reports(plan, now_ms))
        if not dry_run:
            rollouts.create(plan, now_ms, getpass.getuser())
    if dry_run:
        _show(plan, seen)
        return
    click.echo(f"rollout {name} of {plan.wanted.target} begins with wave {plan.waves[0].name}")
    if not seen.devices:
        click.echo(f"no device that is known belongs to it: fleet {plan.fleet}, slot {plan.slot}", err=True)


def _draft(given: dict[str, Any]) -> Draft:
    """The options as a plan file would say it."""
    for key in ("fleet", "slot"):
        if given[key] is None:
            raise click.UsageError(f"--{key} is missing; --plan names a file that may have it")
    limits = {key: given[key] for key in _LIMITS}
    waves = [Wave(name=f"{percent:g}%", percent=percent, **limits) for percent in _percents(given["waves"])]
    if given["canaries"]:
        waves.insert(0, Wave(name="canary", devices=given["canaries"], **limits))
    if given["shadow"] is not None:
        compared = {key: given[key] for key in ("min_items", "min_agreement")}
        waves.insert(0, Wave(name="shadow", percent=given["shadow"], mode="shadow", **limits, **compared))
    return Draft(
        fleet=given["fleet"],
        slot=given["slot"],
        wave=tuple(waves),
        family=given["family"],
        release=given["release"],
        cohort=given["cohort"],
        is_returning=not given["stay"],
    )


def _draft_of(context: click.Context, file: Path, given: dict[str, Any]) -> Draft:
    """A plan file; only which release it is may be said beside it."""
    for parameter in context.command.params:
        key = parameter.name or ""
        is_given = context.get_parameter_source(key) is ParameterSource.COMMANDLINE
        if is_given and key in given and key not in {"family", "release"}:
            raise click.UsageError(f"{parameter.opts[0]} stands in the file that --plan names, if anywhere")
    draft = read_draft(file)
    named = {key: given[key] for key in ("family", "release") if given[key] is not None}
    return replace(draft, **named)


def _show(plan: Plan, seen: Forecast) -> None:
    click.echo(f"{plan.wanted.target} for slot {plan.slot} of fleet {plan.fleet}: {count_of(seen.devices, 'device')}")
    if seen.kept:
        click.echo(f"{count_of(seen.kept, 'device')} kept off: pinned, or assigned by another rollout that goes on")
    table = [("WAVE", "DEVICES", "THERE", "IF ALL DO WELL")]
    table += [(each.wave, str(each.devices), str(each.online), each.proof) for each in seen.turns]
    for line in lines_of(table):
        click.echo(line)


@command.command()
@database_option
@click.argument("name", required=False)
@click.option("--all", "is_all", is_flag=True, help="Those that have ended, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a rollout and line, without what was decided.")
@click.option("--follow", "is_following", is_flag=True, help="Show NAME until it is done (0) or has ended early (3).")
def status(database: str, name: str | None, *, is_all: bool, as_json: bool, is_following: bool) -> None:
    """Show the rollouts that go on, or NAME with everything that was decided."""
    if is_following:
        if name is None or as_json:
            raise click.UsageError("--follow wants the NAME of one rollout, and has no --json")
        sys.exit(_follow(database, name))
    with opened(database) as rollouts:
        names = (name,) if name is not None else rollouts.names() if is_all else rollouts.going()
        found = [rollouts.load(each) for each in names]
        lines = () if name is None else rollouts.log(name)
    if as_json:
        for each in found:
            click.echo(msgspec.json.encode(told(each)))
        return
    for each in found:
        click.echo(summary(each))
    for line in lines:
        click.echo(f"  {line_of(line)}")
    if not found:
        click.echo("there is no rollout" if is_all else "no rollout goes on; --all shows those that have ended")


def _follow(database: str, name: str) -> int:
    with opened(database) as rollouts, open_screen(sys.stdout, is_live=sys.stdout.isatty()) as screen:
        phase = follow(rollouts, name, SystemClock(), screen)
    return 0 if phase in {Phase.DONE, Phase.REPLACED} else _ENDED_EARLY


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


def _percents(waves: str) -> list[float]:
    try:
        return [float(part) for part in waves.split(",")]
    except ValueError as err:
        raise InputError(f"--waves {waves!r}: expected percents, for example 1,10,100") from err
