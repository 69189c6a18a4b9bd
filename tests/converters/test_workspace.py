"""What a workspace keeps between runs, numbers that JSON lacks included."""

from __future__ import annotations

import math
from pathlib import Path

from converters.ladder.workspace import Measured, Workspace, sha256_of
from converters.spec import Agreement, EngineRun, Recipe, RunStatus, Scheme, Trial, TrialStatus

_RECIPE = Recipe(name="int8", format="tflite", scheme=Scheme.STATIC)


def _measured(key: str, sqnr_db: float) -> Measured:
    return Measured(key=key, size_bytes=1, sqnr_db=sqnr_db, score=0.5, is_within=False)


def test_a_search_goes_on_from_copies_and_from_files_that_answer_nothing(tmp_path: Path) -> None:
    found = {"a": _measured("a", math.inf), "b": _measured("b", -math.inf), "c": _measured("c", 12.5)}
    with Workspace(tmp_path / "work") as workspace:
        for each in found.values():
            workspace.note("search", each)
    with (tmp_path / "work" / "search.jsonl").open("ab") as file:
        file.write(b'{"key": "d", "size_by')  # the power went
    with Workspace(tmp_path / "work") as workspace:
        assert workspace.measured("search") == found


def test_a_trial_is_used_again_only_in_its_context_and_while_its_file_is_what_it_was(tmp_path: Path) -> None:
    with Workspace(tmp_path) as workspace:
        workspace.bind({"samples": "one"})
        place = workspace.place(_RECIPE)
        place.write_bytes(b"model")
        exact = Agreement(
            samples=9,
            metric="top-1 agreement",
            score=1.0,
            reference=1.0,
            interval=(0.7, 1.0),
            cosine=1.0,
            sqnr_db=math.inf,
            max_abs=0.0,
        )
        trial = Trial(
            recipe=_RECIPE,
            file=str(place.relative_to(tmp_path)),
            sha256=sha256_of(place),
            size_bytes=5,
            status=TrialStatus.BUILT,
            runs=(EngineRun(engine="litert", status=RunStatus.PASSED, agreement=exact),),
        )
        workspace.save(trial)
        assert workspace.load(_RECIPE) == trial
        workspace.bind({"samples": "two"})
        assert workspace.load(_RECIPE) is None
        workspace.bind({"samples": "one"})
        place.write_bytes(b"other")
        assert workspace.load(_RECIPE) is None
