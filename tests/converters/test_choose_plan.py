"""Plans before anything is built, and choices after all is measured; both pure."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from converters.ladder.choose import chosen, is_within_budget, marked
from converters.ladder.plan import Facts, plan
from converters.ladder.recipes import LADDER, find
from converters.spec import Agreement, Budget, EngineRun, Latency, Recipe, RunStatus, Scheme, Trial, TrialStatus
from edge.contract.profile import EngineProfile, Lack
from edge.errors import InputError

_NEW = EngineProfile(name="litert-2.3", runtime="ai-edge-litert 2.3.0", machine="x86_64")
_OLD = EngineProfile(
    name="tflite-runtime-2.14",
    runtime="tflite-runtime 2.14.0",
    machine="x86_64",
    lacks=(Lack.HYBRID_PER_CHANNEL, Lack.INT4, Lack.INT16),
)


def _facts(**changed) -> Facts:
    given = {"format": "tflite", "float_bytes": 500_000, "has_samples": True, "profiles": (_NEW,)}
    return Facts(**(given | changed))


def _skipped(facts: Facts) -> dict[str, str]:
    return {step.recipe.name: step.skipped for step in plan(facts) if step.skipped}


def test_the_ladder_goes_from_the_surest_to_the_most_daring() -> None:
    assert [step.recipe.name for step in plan(_facts())] == ["fp32", "fp16", "wo8", "dyn8", "int8", "int8-cle"]
    assert _skipped(_facts()) == {}


def test_without_samples_full_integer_is_skipped_and_says_how_to_get_it() -> None:
    skipped = _skipped(_facts(has_samples=False))
    assert set(skipped) == {"int8", "int8-cle"}
    assert "--calib" in skipped["int8"]


def test_a_tiny_model_stays_float() -> None:
    assert set(_skipped(_facts(float_bytes=2_200))) == {"fp16", "wo8", "dyn8", "int8", "int8-cle"}
    asked = plan(_facts(float_bytes=2_200, asked=("int8",)))
    assert [step.skipped for step in asked] == [""], "unless a person asks for it"


def test_what_came_quantised_is_not_quantised_again() -> None:
    (step,) = plan(_facts(is_quantised=True))
    assert (step.recipe.name, step.recipe.scheme, step.skipped) == ("as-is", Scheme.GIVEN, "")


def test_for_an_old_engine_dynamic_range_is_made_so_that_it_computes_it_right() -> None:
    """P2: there, one scale a channel in a dense layer loads and gives garbage."""
    (old,) = (step.recipe for step in plan(_facts(profiles=(_NEW, _OLD))) if step.recipe.name == "dyn8")
    assert not old.is_dense_per_channel
    assert not old.is_embedding_integer
    (new,) = (step.recipe for step in plan(_facts()) if step.recipe.name == "dyn8")
    assert new.is_dense_per_channel


def test_four_bits_are_not_made_for_an_engine_without_them() -> None:
    (step,) = plan(_facts(profiles=(_OLD,), asked=("wo4",)))
    assert step.skipped == "tflite-runtime-2.14 has no 4-bit weights"
    (step,) = plan(_facts(asked=("wo4",)))
    assert step.skipped == ""


def test_a_recipe_nobody_knows_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match="no recipe 'int7'; there are fp32, fp16"):
        plan(_facts(asked=("int7",)))
    assert plan(_facts(asked=("int8-x86",))) == (), "known, for the other format"
    assert [rung.recipe.format for rung in find("int8", ("tflite", "onnx"))] == ["tflite", "onnx"]


def test_recipe_names_are_unique_in_a_format_and_every_rung_explains_itself() -> None:
    for rungs in LADDER.values():
        names = [rung.recipe.name for rung in rungs]
        assert len(set(names)) == len(names)
        assert all(rung.words for rung in rungs)
        assert all(rung.after in {"", *names} for rung in rungs)


def _agreement(score: float, sqnr_db: float = 40.0) -> Agreement:
    return Agreement(
        samples=100,
        metric="top-1 agreement",
        score=score,
        reference=1.0,
        interval=(0.0, 1.0),
        cosine=1.0,
        sqnr_db=sqnr_db,
        max_abs=0.1,
    )


def _run(
    engine: str = "litert-2.3", status: RunStatus = RunStatus.PASSED, ms: float = 1.0, mb: float = 10.0, **more
) -> EngineRun:
    latency = Latency(p50_ms=ms, p95_ms=ms, fastest_ms=ms, runs=9)
    return EngineRun(
        engine=engine, status=status, agreement=more.get("agreement", _agreement(1.0)), latency=latency, memory_mb=mb
    )


def _trial(name: str, size: int, *runs: EngineRun, status: TrialStatus = TrialStatus.BUILT) -> Trial:
    trial = Trial(
        recipe=Recipe(name=name, format="tflite", scheme=Scheme.STATIC),
        status=status,
        size_bytes=size,
        runs=runs or (_run(),),
    )
    return replace(trial, is_within_budget=is_within_budget(trial))


def _taken(trials: list[Trial], **budget) -> str | None:
    found = chosen(trials, Budget(**budget))
    return None if found is None else found.recipe.name


def test_the_smallest_the_fastest_or_the_leanest_as_asked() -> None:
    trials = [
        _trial("small", 100, _run(ms=9, mb=9)),
        _trial("fast", 900, _run(ms=1, mb=8)),
        _trial("lean", 800, _run(ms=8, mb=1)),
    ]
    assert [_taken(trials, prefer=prefer) for prefer in ("size", "latency", "memory")] == ["small", "fast", "lean"]


def test_of_two_that_are_alike_in_size_the_one_that_computes_in_integers_whatever_a_clock_says() -> None:
    def weights(size: int) -> Trial:
        trial = _trial("wo8", size, _run(ms=1))
        return replace(trial, recipe=replace(trial.recipe, scheme=Scheme.WEIGHT_ONLY))

    assert _taken([weights(128), _trial("int8", 150, _run(ms=9))]) == "int8"
    assert _taken([weights(128), _trial("int8", 160, _run(ms=9))]) == "wo8"


def test_one_engine_that_refuses_is_enough_to_be_out() -> None:
    refused = _run("tflite-runtime-2.14", RunStatus.REFUSED, agreement=None)
    trials = [_trial("dyn8", 50, _run(), refused), _trial("wo8", 100, _run(), _run("tflite-runtime-2.14"))]
    assert _taken(trials) == "wo8"
    assert _taken([trials[0]]) is None, "not even as the best there is: it would be wrong there"


def test_an_engine_that_was_not_at_hand_does_not_count_against_a_variant() -> None:
    absent = EngineRun(engine="tflite-runtime-2.14", status=RunStatus.NOT_EXECUTED, reason="no Python 3.11")
    assert is_within_budget(_trial("wo8", 100, _run(), absent))
    assert not is_within_budget(_trial("wo8", 100, absent)), "but one must have answered"


def test_when_none_is_inside_the_closest_is_named() -> None:
    near = _run(status=RunStatus.MISSED, agreement=_agreement(0.9, 20))
    far = _run(status=RunStatus.MISSED, agreement=_agreement(0.5, 5))
    assert _taken([_trial("far", 10, far), _trial("near", 100, near)]) == "near"
    assert _taken([]) is None


def test_the_pareto_set_leaves_out_what_another_beats_in_all_three() -> None:
    trials = marked(
        [
            _trial("fp32", 400, _run(ms=4)),
            _trial("fp16", 200, _run(ms=4)),
            _trial("int8", 100, _run(ms=1, agreement=_agreement(0.99))),
            _trial("failed", 1, status=TrialStatus.FAILED),
        ],
        Budget(),
    )
    assert [trial.recipe.name for trial in trials if trial.is_pareto] == ["fp16", "int8"]
    assert [trial.recipe.name for trial in trials if trial.is_chosen] == ["int8"]
