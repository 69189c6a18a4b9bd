"""Goes up the ladder of one format: build, run on every engine, compare, record; then mixed precision if need be.

Promises: a rung that was done before is not done again, unless it failed then, or an engine is there now that was not;
one that fails or is refused is recorded with its reason and stops nothing; a rung that waits for another is tried only
when that one missed the budget, and the search for mixed precision only when every full-integer rung did.
Leaves out: what is on the ladder (`plan`), how files are made (`build`), which variant is taken (`choose`).
Thread: main.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from converters.judge.verify import EngineAt, Verifier
from converters.ladder.bench import Bench, Builder, Searching
from converters.ladder.choose import executed, first_run, is_within_budget
from converters.ladder.mixed import told
from converters.ladder.plan import Step
from converters.ladder.search import Found, isolated, search
from converters.ladder.workspace import Workspace, sha256_of
from converters.spec import Budget, FloatFile, Group, Recipe, RunStatus, Scheme, Trial, TrialStatus
from edge.clock import Clock
from edge.errors import EdgeError, RefusedError

__all__ = ["Ladder"]

_EACH_S = 0.2  # to run a candidate


class Ladder:
    """One format of one source."""

    def __init__(
        self,
        workspace: Workspace,
        builder: Builder,
        verifier: Verifier,
        floats: FloatFile,
        budget: Budget,
        *,
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        self._workspace = workspace
        self._builder = builder
        self._verifier = verifier
        self._floats = floats
        self._budget = budget
        self._clock = clock
        self._tell = tell
        self.trials: list[Trial] = []
        self.ranked: tuple[Group, ...] = ()

    def climb(self, steps: Sequence[Step]) -> None:
        """Try the rungs in their order."""
        for step in steps:
            reason = step.skipped or self._reason_to_wait(step)
            if reason:
                self.trials.append(Trial(recipe=step.recipe, status=TrialStatus.SKIPPED, reason=reason))
            else:
                self.trials.append(self.attempt(step.recipe))

    def attempt(self, recipe: Recipe) -> Trial:
        """One rung: from the record where it was done before, else built, run and recorded."""
        engines = self._verifier.engines(self._floats.format)
        trial = self._workspace.load(recipe)
        if trial is None or not _is_settled(trial):
            self._tell(f"{self._floats.format} {recipe.name}: building")
            trial = self._built(recipe)
            self._workspace.save(trial)
        if trial.status is TrialStatus.BUILT and not _has_run(trial, engines):
            running = sorted(engine.name for engine in engines if not engine.problem)
            self._tell(f"{self._floats.format} {recipe.name}: running on {', '.join(running)}")
            verified = self._verifier.run(self._workspace.folder / trial.file, self._floats.format, trial.axes)
            trial = replace(trial, runs=tuple(one.run for one in verified))
            trial = replace(trial, is_within_budget=is_within_budget(trial))
            self._workspace.save(trial)
        return trial

    @property
    def ranking_s(self) -> float:
        """About how many seconds `rank` will take; infinite where there is nothing to rank."""
        static = [trial for trial in self.trials if trial.recipe.scheme is Scheme.STATIC and executed(trial)]
        if not static:
            return float("inf")
        return len(self._builder.groups(is_equalized=False)) * (static[0].build_s + _EACH_S)

    def rank(self, searching: Searching, *, is_equalized: bool) -> None:
        """Measure the harm that each group does alone."""
        base = _full_integer(self.trials, is_equalized=is_equalized)
        groups = self._builder.groups(is_equalized=is_equalized)
        if base is None or not groups:
            return
        self._tell(f"{self._floats.format}: {len(groups)} groups, each alone in integers")
        with self._bench(searching) as bench:
            self.ranked = isolated(base, groups, bench.measure, bench.is_over)

    def mix(self, searching: Searching) -> None:
        """Search mixed precision, when there is a full-integer file and none is inside the budget."""
        static = [trial for trial in self.trials if trial.recipe.scheme is Scheme.STATIC and executed(trial)]
        if not static or any(trial.is_within_budget for trial in static):
            return
        best = max(static, key=_sqnr_db)
        if not self.ranked or best.recipe.is_equalized != static[0].recipe.is_equalized:
            self.rank(searching, is_equalized=best.recipe.is_equalized)
        with self._bench(searching) as bench:
            found = search(
                best.recipe,
                self.ranked,
                bench.measure,
                is_over=bench.is_over,
            )
        self.ranked = found.groups
        if found.recipe.kept_float or found.recipe.kept_weight_only:
            self.trials.append(self._annotated(found))

    def _bench(self, searching: Searching) -> Bench:
        return Bench(
            self._workspace,
            self._builder,
            searching,
            self._budget,
            name=f"search-{self._floats.format}",
            clock=self._clock,
            tell=self._tell,
        )

    def _annotated(self, found: Found) -> Trial:
        trial = self.attempt(found.recipe)
        full = next((each for each in self.trials if each.recipe.scheme is Scheme.STATIC and executed(each)), None)
        return replace(trial, notes=(*trial.notes, told(trial, full, len(self.ranked))))

    def _reason_to_wait(self, step: Step) -> str:
        if not step.after:
            return ""
        for trial in self.trials:
            if trial.recipe.name == step.after:
                if trial.status is not TrialStatus.BUILT:
                    return f"{step.after} could not be built"
                return f"{step.after} is inside the budget" if trial.is_within_budget else ""
        return f"{step.after} was not tried"

    def _built(self, recipe: Recipe) -> Trial:
        target = self._workspace.place(recipe)
        try:
            built = self._builder.build(recipe, target)
        except RefusedError as err:
            return Trial(recipe=recipe, status=TrialStatus.SKIPPED, reason=str(err))
        except EdgeError as err:
            return Trial(recipe=recipe, status=TrialStatus.FAILED, reason=str(err))
        return Trial(
            recipe=recipe,
            status=TrialStatus.BUILT,
            file=str(target.relative_to(self._workspace.folder)),
            sha256=sha256_of(target),
            size_bytes=target.stat().st_size,
            build_s=built.seconds,
            axes=self._floats.axes,
            notes=built.notes,
        )


def _is_settled(trial: Trial) -> bool:
    """Whether another run would come to the same: what failed lacked time or memory, which the next run may have."""
    return trial.status is not TrialStatus.FAILED


def _has_run(trial: Trial, engines: Sequence[EngineAt]) -> bool:
    """Whether it was run on each engine, but for those that are still not there."""
    status = {run.engine: run.status for run in trial.runs}
    return status.keys() == {engine.name for engine in engines} and not any(
        status[engine.name] is RunStatus.NOT_EXECUTED and not engine.problem for engine in engines
    )


def _full_integer(trials: Sequence[Trial], *, is_equalized: bool) -> Recipe | None:
    """The static recipe that groups are ranked under."""
    for trial in trials:
        if trial.recipe.scheme is Scheme.STATIC and trial.recipe.is_equalized == is_equalized and executed(trial):
            return trial.recipe
    return None


def _sqnr_db(trial: Trial) -> float:
    run = first_run(trial)
    return -200.0 if run is None or run.agreement is None else run.agreement.sqnr_db
