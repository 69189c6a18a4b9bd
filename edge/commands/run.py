"""`edge run`: the device daemon.

Promises: nothing of the daemon is imported before the arguments are right.
Leaves out: the daemon (`device.app`).
Thread: main.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="run")
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("edge.toml"),
    show_default=True,
    help="The device's config; `edge init` writes one.",
)
@click.option("--until-done", is_flag=True, help="End when every source has ended and its results are on disk.")
@click.option(
    "--drain",
    "drain_s",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="With --until-done: wait so long for the centre to confirm them.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much to say on stderr.",
)
def command(path: Path, *, until_done: bool, drain_s: float, log_level: str) -> None:
    """Run the device daemon: cameras and texts in, results out, none lost.

    SIGTERM ends it in order, SIGHUP reads the config again.
    """
    logging.basicConfig(
        stream=sys.stderr, level=log_level.upper(), format="%(levelname)s %(threadName)s %(name)s: %(message)s"
    )
    logging.getLogger("tuf").setLevel(logging.WARNING)  # at info it tells of every signature that it looks at
    # numpy's BLAS starts a thread a core when it is loaded, and nothing here multiplies large matrices: 8 MB saved.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from edge.device.app import run

    sys.exit(run(path, is_until_done=until_done, drain_s=drain_s))
