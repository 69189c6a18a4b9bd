"""From a recipe of the zoo to a bundle with its model card.

Promises: the card's figures are those of the bundle's own files, in the project's own engines.
Leaves out: making the model (the recipes), converting it (`converters.convert`).
Thread: main.
"""

from __future__ import annotations

from pathlib import Path

from converters.bundle import write_card
from converters.convert import convert
from converters.ladder.choose import first_run
from converters.ladder.recipes import file_name
from converters.options import Options
from converters.outcome import BUNDLE
from converters.report.screen import Progress
from converters.samples.gather import gather
from converters.spec import Report, Trial
from converters.zoo.cards import Figures, FileFigures
from converters.zoo.catalogue import open_recipe
from converters.zoo.course import accuracy
from converters.zoo.made import Made
from edge.engines.host import EngineHost

__all__ = ["convert_made"]

_TIMEOUT_S = 300.0
_EVALUATION = "evaluation"


def convert_made(
    made: Made,
    out: Path,
    *,
    progress: Progress | None = None,
    targets: tuple[str, ...] = ("any",),
    recipes: tuple[str, ...] = (),
    is_offline: bool = False,
) -> Report:
    """Convert a model of the zoo, and put its card into the bundle.

    Raises:
        EdgeError: as `converters.convert.convert`.
    """
    options = Options(
        source=str(made.source),
        out=out,
        calibration=made.calibration,
        evaluation=made.evaluation,
        manifest=made.manifest,
        vocabularies={name: path.read_bytes() for name, path in made.files.items()},
        budget=made.budget,
        targets=targets,
        recipes=recipes,
        is_offline=is_offline,
        command=f"python -m converters.zoo {made.manifest.name} --out {out}",
    )
    report = convert(options, progress)
    chosen = [trial for trial in report.trials if trial.is_chosen]
    floats = next(trial for trial in report.trials if trial.recipe.name == "fp32")
    figures = Figures(
        version=made.manifest.version,
        facts=made.facts,
        reached=made.reached,
        scores=_scores(made, out, floats, report),
        files=tuple(_file(made, out, trial, report) for trial in chosen),
    )
    write_card(out / BUNDLE, open_recipe(made.manifest.name).card(figures))
    return report


def _file(made: Made, out: Path, trial: Trial, report: Report) -> FileFigures:
    return FileFigures(
        file=file_name(made.manifest.name, trial.recipe),
        size_bytes=trial.size_bytes,
        precision=trial.recipe.name,
        scores=_scores(made, out, trial, report),
    )


def _scores(made: Made, out: Path, trial: Trial, report: Report) -> dict[str, float]:
    """How good a file is on each part of the samples."""
    run = first_run(trial)
    scores = {} if run is None or run.agreement is None else {_EVALUATION: run.agreement.score}
    for part, path in made.parts.items():
        samples = gather(path, made.manifest, report.source.signature, {})
        if samples.truth is not None:
            with EngineHost(what=trial.recipe.name) as host:
                replay = host.replay(out / "work" / trial.file, samples.inputs, timeout_s=_TIMEOUT_S)
            scores[part] = accuracy(replay.outputs[0].reshape(len(samples), -1), samples.truth)
    return scores
