"""`python -m converters.zoo NAME --out DIR`: make a model of the zoo, and convert it.

    ./run setup converters && . .venv-converters/bin/activate

makes the machine on which the figures were reached.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from converters.report import screen, store
from converters.report.screen import open_progress
from converters.zoo.catalogue import NAMES, open_recipe
from converters.zoo.converting import convert_made
from converters.zoo.made import Made, missed
from edge.clock import SystemClock
from edge.errors import EdgeError, InputError

_SOURCE = "source"  # folder below --out that the trained model and its samples go to


def main() -> int:
    """Make one model, say how good it is, and convert it. Returns the exit code: 1 where a figure was missed."""
    chosen = _parser().parse_args()
    try:
        made = _make(chosen)
        lacking = missed(made)
        for name, wanted in made.expected.items():
            print(f"  {name}: {made.reached[name]:.4g} (expected {wanted.value:.4g} +- {wanted.tolerance:g})")
        for sentence in lacking:
            print(f"  {sentence}", file=sys.stderr)
        if not chosen.is_source_only:
            _convert(made, chosen)
    except EdgeError as err:
        print(f"error: {err}", file=sys.stderr)
        return err.exit_code
    return 1 if lacking else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m converters.zoo", description=main.__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; source/ below it is made first")
    parser.add_argument("--data", type=Path, help="folder of data sets; without it, what ships or is made up")
    parser.add_argument("--quick", action="store_true", help="seconds of training, to try the way and nothing else")
    parser.add_argument("--source-only", action="store_true", dest="is_source_only", help="do not convert it")
    parser.add_argument(
        "--offline", action="store_true", dest="is_offline", help="make no environments of other engines"
    )
    parser.add_argument("--weights", type=Path, help="vgg16: a file of weights; random ones otherwise")
    parser.add_argument("--labels", type=Path, help="vgg16: a file of 1000 labels; numbers otherwise")
    return parser


def _make(chosen: argparse.Namespace) -> Made:
    extra = {name: given for name in ("weights", "labels") if (given := getattr(chosen, name)) is not None}
    if extra and chosen.name != "vgg16":
        raise InputError(f"--{' and --'.join(extra)}: only vgg16 takes such a file")
    folder: Path = chosen.out / _SOURCE
    folder.mkdir(parents=True, exist_ok=True)
    return open_recipe(chosen.name).make(folder, chosen.data, quick=chosen.quick, **extra)


def _convert(made: Made, chosen: argparse.Namespace) -> None:
    with open_progress(sys.stderr, SystemClock()) as progress:
        report = convert_made(made, chosen.out, progress=progress, is_offline=chosen.is_offline)
    screen.show(report, Console(highlight=False), str(chosen.out / store.HTML))


if __name__ == "__main__":
    sys.exit(main())
