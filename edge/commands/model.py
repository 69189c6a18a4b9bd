"""`edge model`: what each pipeline of this device runs, and an operator's own choice.

Promises: `list` reads only, also while the daemon runs; an order is done by the daemon, once, within seconds, and waits
for its next start where none runs. A release that an operator chooses is checked, probed and tried as any other.
Leaves out: releases that do not lie here; those are ordered at the centre (`edge rollout`).
Thread: main.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from edge.errors import ConfigError, InputError

if TYPE_CHECKING:
    from edge.device.config import DeviceConfig
    from edge.device.updates.record import SlotRecord

__all__ = ["command"]

_WAIT_S = 10.0  # the daemon looks every two seconds
_LOOK_S = 0.1

_config = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("edge.toml"),
    show_default=True,
    help="The device's config.",
)


@click.group()
def command() -> None:
    """Show what each pipeline runs, go back, hold it, or choose a release that lies here."""


@command.command(name="list")
@_config
@click.option("--json", "is_json", is_flag=True, help="One JSON object instead of text.")
def list_(path: Path, *, is_json: bool) -> None:
    """Show the active release of each pipeline, the one before, and what else lies here."""
    slots = _slots(_load(path))
    if is_json:
        print(msgspec.json.encode(slots).decode())
        return
    for slot in slots:
        print(_text_of(slot))


@command.command()
@_config
@click.argument("slot")
@click.argument("target")
def use(path: Path, slot: str, target: str) -> None:
    """Run TARGET (models/<family>/<release>.json) in the pipeline SLOT: it is checked, probed and tried first."""
    _order(path, slot, "use", target)


@command.command()
@_config
@click.argument("slot")
def rollback(path: Path, slot: str) -> None:
    """Go back to the release before, in the pipeline SLOT; below the first one lies the model of the config."""
    _order(path, slot, "rollback")


@command.command()
@_config
@click.option("--off", is_flag=True, help="Let orders from the centre move it again.")
@click.argument("slot")
def pin(path: Path, slot: str, *, off: bool) -> None:
    """Hold the pipeline SLOT where it is: orders from the centre no longer move it."""
    _order(path, slot, "unpin" if off else "pin")


def _load(path: Path) -> DeviceConfig:
    from edge.device.config import load_config

    config = load_config(path, is_checking_files=False)
    if config.updates is None:
        raise ConfigError((f"{path} has no [updates]: its models change only by hand",))
    return config


def _slots(config: DeviceConfig) -> list[dict[str, Any]]:
    """What `list` shows, for each pipeline."""
    from edge.device.updates.record import slot_state
    from edge.device.updates.slots import SLOTS_NAME, Slots

    records = _records(config)
    slots = Slots(config.device.data_dir / SLOTS_NAME, lambda _receipt, _manifest: None)
    found = []
    for pipeline in config.pipelines:
        record = records[pipeline.name]
        choice = None if record.active is None else slots.choice(pipeline.name, record.active)
        found.append(
            {
                "slot": pipeline.name,
                **msgspec.structs.asdict(slot_state(record)),
                "factory": str(pipeline.model),
                "here": [release.target for release in slots.releases(pipeline.name)],
                "choice": None if choice is None else msgspec.to_builtins(choice),
            }
        )
    return found


def _records(config: DeviceConfig) -> dict[str, SlotRecord]:
    from edge.device.outbox.reader import reading
    from edge.device.outbox.store import DATABASE_NAME
    from edge.device.updates.record import SlotRecord, read_record

    with reading(config.device.data_dir / DATABASE_NAME) as reader:
        stored = {str(name): read_record(bytes(body)).record for name, body in reader.guests("slot", ("name", "body"))}
    return {pipeline.name: stored.get(pipeline.name, SlotRecord()) for pipeline in config.pipelines}


def _text_of(slot: dict[str, Any]) -> str:
    lines = [f"{slot['slot']}: {slot['active'] or slot['factory']} ({slot['state'].value})"]
    if slot["pinned"]:
        lines.append("  pinned: orders from the centre do not move it")
    if slot["coming"]:
        lines.append(f"  on its way: {slot['coming']}")
    if slot["active"] or slot["previous"]:
        lines.append(f"  before it: {slot['previous'] or slot['factory']}")
    if slot["refused"]:
        lines.append(f"  not run: {slot['refused']}: {slot['why']}")
    if slot["choice"] is not None:
        lines += [_measured(each, slot["choice"]["file"]) for each in slot["choice"]["measured"]]
    others = [target for target in slot["here"] if target not in {slot["active"], slot["previous"]}]
    if others:
        lines.append(f"  lies here too: {', '.join(others)}")
    return "\n".join(lines)


def _measured(variant: dict[str, Any], chosen: str) -> str:
    mark = "runs" if variant["file"] == chosen else "measured"
    if variant.get("problem"):
        return f"  {mark} {variant['file']}: {variant['problem']}"
    return f"  {mark} {variant['file']}: {variant.get('p50_ms') or 0:.2f} ms, {variant.get('memory_mb') or 0:.1f} MB"


def _order(path: Path, slot: str, what: Literal["use", "rollback", "pin", "unpin"], target: str = "") -> None:
    from edge.device.updates.orders import Order, give

    config = _load(path)
    names = [pipeline.name for pipeline in config.pipelines]
    if slot not in names:
        raise InputError(f"no pipeline {slot!r}; there are: {', '.join(names)}")
    if what == "use" and target not in (here := _slots(config)[names.index(slot)]["here"]):
        raise InputError(f"{target} does not lie here; there are: {', '.join(here) or 'none'}")
    waiting = give(config.device.data_dir, Order(slot=slot, what=what, target=target))
    if _is_taken(waiting):
        print(_text_of(_slots(config)[names.index(slot)]))
    else:
        print("no daemon has taken it yet; it is done when one runs", file=sys.stderr)


def _is_taken(order: Path) -> bool:
    """Whether the daemon has picked the order up, within some seconds."""
    import threading

    from edge.clock import SystemClock

    clock = SystemClock()
    until_s = clock.monotonic_s() + _WAIT_S
    while order.exists():
        if clock.monotonic_s() >= until_s:
            return False
        clock.wait(threading.Event(), _LOOK_S)
    return True
