"""The zoo's PyTorch models: made quickly, with the shared data and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.zoo import recommender
from converters.zoo.course import accuracy
from converters.zoo.made import Made, missed
from converters.zoo.topic_texts import demo_texts
from tests.zoo.answering import Maker, contents, evaluation, torch_answers

# An exporter of PyTorch 2.13 asks NumPy for what NumPy 2 calls otherwise.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning:torch")


@pytest.fixture(params=["shipped", "shared"])
def data(request: pytest.FixtureRequest) -> Path | None:
    return None if request.param == "shipped" else request.getfixturevalue("shared_data")


@pytest.mark.parametrize("name", ["bag", "recommender"])
def test_what_is_expected_of_the_model_is_reached_with_data_and_without(
    name: str, data: Path | None, make: Maker
) -> None:
    assert missed(make(name, data)) == ()


@pytest.mark.parametrize("name", ["digits", "digits-early", "topics"])
def test_what_is_expected_of_a_model_of_the_demo_is_reached(name: str, make: Maker) -> None:
    assert missed(make(name)) == ()


@pytest.mark.parametrize("name", ["bag", "topics"])
def test_the_device_makes_of_texts_the_bags_that_the_network_was_tested_on(name: str, make: Maker, torch: Any) -> None:
    made = make(name)
    shape = (1, made.manifest.input.tokenizer.buckets)  # type: ignore[union-attr]
    stored, read = evaluation(made, shape), evaluation(made, shape, origin=made.readable)
    assert np.array_equal(stored.inputs[0], read.inputs[0])
    assert np.array_equal(stored.truth, read.truth)
    (scores,) = torch_answers(torch, made, read.inputs[0])
    assert accuracy(scores, read.truth) == pytest.approx(made.reached["accuracy"], abs=1e-9)


def test_the_saved_digits_are_as_good_as_the_figures_on_both_looks(make: Maker, torch: Any) -> None:
    made = make("digits")
    for origin, figure in ((made.evaluation, "accuracy"), (made.parts["plain"], "accuracy, plain")):
        samples = evaluation(made, (1, 28, 28, 1), origin=origin)
        (scores,) = torch_answers(torch, made, samples.inputs[0])
        assert accuracy(scores, samples.truth) == pytest.approx(made.reached[figure], abs=1e-9)


def test_the_digits_that_the_demo_prints_are_those_that_are_tested_on(make: Maker) -> None:
    made = make("digits")
    with np.load(Path(made.source).with_name("demo_digits.npz")) as printed, np.load(made.parts["plain"]) as tested:
        assert printed["images"].shape == (450, 8, 8)
        assert np.array_equal(printed["labels"], tested["y"])


def test_what_the_demo_reads_is_what_topics_are_tested_on_where_sib200_is_absent(make: Maker) -> None:
    assert make("topics").facts["rows, evaluation"] == len(demo_texts())


@pytest.mark.parametrize("name", ["bag", "recommender", "digits", "digits-early", "topics"])
def test_the_same_call_gives_the_same_bytes(name: str, make: Maker) -> None:
    first, second = contents(make(name)), contents(make(name, again=True))
    assert {file for file in first | second if first.get(file) != second.get(file)} == set()


@pytest.mark.parametrize("name", ["bag", "recommender", "digits", "digits-early", "topics"])
def test_an_exported_file_names_no_folder_of_the_machine_it_was_made_on(name: str, make: Maker) -> None:
    content = Path(make(name).source).read_bytes()
    assert str(Path(recommender.__file__).parents[2]).encode() not in content
    assert b"site-packages" not in content


def _inside(made: Made, torch: Any) -> np.ndarray:
    return torch.export.load(made.source).module().ratings.numpy().T


def test_the_ten_best_are_numpys_ten_best(data: Path | None, make: Maker, torch: Any) -> None:
    made = make("recommender", data)
    own = evaluation(made, (1, int(made.facts["items"]))).inputs[0]
    items, scores = torch_answers(torch, made, own)
    wanted, worth = recommender.reference(_inside(made, torch), own[:, 0])
    assert items.dtype == np.int32
    assert np.array_equal(items, wanted)
    assert np.allclose(scores, worth, rtol=1e-4)
    with np.load(Path(made.source).with_name("hidden.npz")) as held:
        assert recommender.hit_rate(items, held["hidden"]) == pytest.approx(made.reached["hit rate"])
    assert made.reached["hit rate"] > float(made.facts["popular"]) + 0.1


def test_nothing_that_a_person_rated_is_recommended_to_them(make: Maker, torch: Any) -> None:
    made = make("recommender")
    own = np.zeros((3, 1, 300), np.float32)
    own[0, 0, ::2], own[1, 0, :290], own[2, 0, 10:] = 0.5, 5.0, 3.5
    items, scores = torch_answers(torch, made, own)
    assert not np.take_along_axis(own[:, 0], items.astype(np.int64), axis=1).any()
    assert (scores > 0).all()


def test_a_person_without_ratings_is_given_what_most_like(make: Maker, torch: Any) -> None:
    made = make("recommender")
    (items,), _ = torch_answers(torch, made, np.zeros((1, 1, 300), np.float32))
    stars = _inside(made, torch).sum(axis=0, dtype=np.float64)
    assert np.allclose(stars[items], np.sort(stars)[::-1][:10])


def test_masking_puts_no_large_number_into_the_graph(make: Maker, torch: Any) -> None:
    program = torch.export.load(make("recommender").source)
    numbers = [each for node in program.graph.nodes for each in node.args if isinstance(each, int | float)]
    tables = [float(table.abs().max()) for table in program.state_dict.values()]
    assert max(map(abs, [*numbers, *tables])) <= 10


def test_no_title_of_movielens_is_in_the_project(shared_data: Path, make: Maker) -> None:
    titles = make("recommender", shared_data).manifest.labels
    assert len(titles) == 1263
    assert "Toy Story (1995)" in titles
    sources = "".join(path.read_text("utf-8") for path in Path(recommender.__file__).parent.iterdir() if path.is_file())
    assert not [title for title in titles if title in sources]
