"""`edge demo`: the whole loop on this machine.

Promises: downloads nothing, touches no broker, camera or config that is already here; Ctrl-C ends every part. Exit code
1 when anything was lost, doubled, or read far worse than it should be, and when a bad release ran.
Leaves out: the demo (`edge.demo`).
Thread: main.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import MissingExtraError

if TYPE_CHECKING:
    from edge.demo.account import Figures, Updated
    from edge.demo.brokers import BrokerKind

__all__ = ["command"]

_UPDATES_S = 240.0  # that the belt may run on for releases: they take a quarter of it, and a slow machine longer


@click.command(name="demo")
@click.option("--headless", is_flag=True, help="Plain lines instead of a live picture.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on stdout; all else goes to stderr.")
@click.option(
    "--broker",
    type=click.Choice(["auto", "mosquitto", "amqtt"]),
    default="auto",
    show_default=True,
    help="Which broker to start; auto takes Mosquitto where it is installed.",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything lies; must be empty or new.  [default: a new folder in the temporary one]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=12, max=600),
    default=40.0,
    show_default=True,
    help="Length of the camera's clip.",
)
@click.option(
    "--update/--no-update",
    default=False,
    help="Go on with releases: a better model comes while the device runs, and bad ones are refused.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Which digits come, and how the lights change.")
def command(
    broker: BrokerKind,
    folder: Path | None,
    seconds: float,
    seed: int,
    *,
    update: bool,
    headless: bool,
    as_json: bool,
) -> None:
    """Run the whole loop on this machine: device, broker and central service.

    A camera looks at labels on a belt, texts arrive, both are inferred; the broker is cut, the daemon killed, and in
    the end every result is counted. With --update the device begins with a poor model, and releases follow.
    """
    import msgspec

    from edge.clock import SystemClock
    from edge.durable import write_atomic

    try:
        from edge.demo.belt import Belt
        from edge.demo.publisher import Publisher
        from edge.demo.report import contact_sheet
        from edge.demo.scenes import play
        from edge.demo.screen import open_screen
        from edge.demo.stage import Stage
    except ImportError as err:
        raise MissingExtraError(err.name or "a library of the demo", "demo") from err

    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal ends the parts too
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    clock = SystemClock()
    place = _folder(folder)
    # Beside the children's own logs: a line that the connection was lost would tear the live picture.
    logging.basicConfig(filename=place / "demo.log", level=logging.INFO)
    belt = Belt(seconds=seconds + (_UPDATES_S if update else 0.0), seed=seed, lap_s=seconds)
    out = sys.stderr if as_json else sys.stdout
    is_live = out.isatty() and not headless
    try:
        publisher = Publisher(place, place / "central.db", clock) if update else None
        with Stage(place, belt, broker, clock, publisher) as stage:
            topics = {asked.text: asked.topic for asked in stage.texts}
            with open_screen(out, topics, is_live=is_live) as screen:
                played = play(stage, screen, clock)
    except (KeyboardInterrupt, SystemExit):
        if folder is None:  # nobody will look for what an interrupted demo left; a failed one keeps its logs
            shutil.rmtree(place, ignore_errors=True)
        raise
    sheet = place / "labels.png"
    write_atomic(sheet, contact_sheet(belt, played.readings))
    click.echo(_summary(played.figures, place, sheet), file=out)
    if as_json:
        click.echo(msgspec.json.encode(played.figures))
    sys.exit(0 if played.figures.is_good else 1)


def _folder(chosen: Path | None) -> Path:
    if chosen is None:
        return Path(tempfile.mkdtemp(prefix="edge-demo-"))
    chosen.mkdir(parents=True, exist_ok=True)
    if any(chosen.iterdir()):
        raise click.BadParameter(f"{chosen} is not empty", param_hint="--dir")
    return chosen.resolve()


def _summary(figures: Figures, place: Path, sheet: Path) -> str:
    share = figures.gated / figures.frames if figures.frames else 0.0
    edge = _how_to_call()
    verdict = "every result is at the centre, once" if figures.is_good else "THIS IS NOT AS IT SHOULD BE"
    digits = f"  digits read right       {figures.digits_right} of {figures.digits_shown} shown"
    registry = ""
    if figures.update is not None:
        digits = _releases(figures.update)
        registry = f"""
  {edge} registry list --registry {place / "registry"}
  {edge} rollout status {_rollout(figures.update)} --database {place / "central.db"}"""
    return f"""
  frames looked at        {figures.frames}
  of these gated          {share:.0%} (nothing moved: the model did not run)
{digits}
  texts right             {figures.texts_right} of {figures.texts}
  rows on the device      {figures.produced} ({figures.results} results, the rest events)
  rows at the centre      {figures.received}
  lost                    {figures.lost}
  doubled                 {figures.doubled}
  {verdict}; {figures.seconds:.0f} s

Where to look next:
  {sheet}   each label and what was read off it
  {edge} results --database {place / "central.db"}
  {edge} central status --database {place / "central.db"}
  {edge} outbox status --config {place / "edge.toml"}{registry}
  {edge} infer {_models()} YOUR_TEXT.txt
  {edge} init   a config for your own camera and model
"""


def _releases(update: Updated) -> str:
    """What came of the releases, a line each."""
    from edge.demo.updates import in_words, named

    lines = [
        f"  digits read right       {in_words(update.before)} by the factory's model",
        f"  after the update        {in_words(update.after)} by {named(update.target)}",
    ]
    for each in update.refused:
        how = "rolled back" if each.is_tried else "refused"
        ran = f", after {each.results} results" if each.results else ""
        lines.append(f"  {named(each.target):<24}{how}{ran}: {each.what}")
    lines.append(f"  attacks refused         {sum(bool(why) for _, why in update.attacks)} of {len(update.attacks)}")
    return "\n".join(lines)


def _rollout(update: Updated) -> str:
    """The name of the first one that halted."""
    from edge.demo.updates import named

    return named(update.refused[0].target).replace(" ", "-")


def _how_to_call() -> str:
    """`edge`, or its path where the shell would not find it or would find another."""
    this = Path(sys.argv[0]).resolve()
    found = shutil.which("edge")
    return "edge" if this.name != "edge" or (found and Path(found).resolve() == this) else str(this)


def _models() -> str:
    from edge.demo import stage

    return str(Path(stage.__file__).with_name("models") / "topics")
