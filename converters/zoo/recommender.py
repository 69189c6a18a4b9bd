"""What to watch next: cosine similarity over other people's ratings, as one graph that runs on the device.

The model takes one person's own ratings, which never leave the device, and gives the ten best of what the person has
not rated. The people it compares with are inside: MovieLens where that is in the data folder, made-up ones otherwise.

Promises: items that the person rated are never recommended as long as ten others are left; a person without ratings is
given what most like; the numbers are those of `reference`, which says the same in NumPy. Rated items are taken out by
multiplying their scores, which are never negative, by 0: a mask of -1e9 would leave an integer file nothing to tell the
other scores apart with.
Leaves out: learning; the films' contents. MovieLens is for research only, and nothing of it ships.
Thread: main.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.spec import Budget
from converters.zoo import cards, datasets
from converters.zoo.datasets import Ratings
from converters.zoo.frameworks import Network, open_torch
from converters.zoo.made import Expected, Made
from converters.zoo.storing import write_arrays, write_pt2
from edge.compute.tensors import Array
from edge.contract.manifest import Manifest, Recommend, TensorInput

__all__ = ["LOWEST", "TOP", "card", "hit_rate", "make", "recommender_network", "reference"]

TOP = 10
LOWEST = 0.5  # rating that can be given
_PRIOR = 0.001  # of similarity: everyone is a little like everyone, so that a person without ratings has company
_LEAST = 20  # ratings that a film must have
_TEST_SHARE = 0.2  # of people
_HIDDEN_SHARE = 0.2  # of a person's ratings, the latest
_CALIBRATION = 200  # people
_SEED = 7
_MOVIELENS, _MADE_UP = "MovieLens, ml-latest-small (part)", "made-up people with two tastes out of eight"
_LICENCE = {
    _MOVIELENS: "MovieLens (F. M. Harper, J. A. Konstan, 2015): for research, not commercial, shared under its terms",
    _MADE_UP: "Apache-2.0",
}
_EXPECTED = {
    _MOVIELENS: {
        "hit rate": Expected(value=0.533, tolerance=0.01),
        "top-10 as NumPy": Expected(value=1.0, tolerance=0.01),
    },
    _MADE_UP: {
        "hit rate": Expected(value=0.86, tolerance=0.03),
        "top-10 as NumPy": Expected(value=1.0, tolerance=0.01),
    },
}

_CARD = """# recommender {version}

Ten things that a person who rated some might like, out of {items}.

| | |
|---|---|
| Network | cosine of the person's ratings with those of {people} people, squared, times their ratings; best 10 |
| Input | the person's own ratings of all {items} items, 0.5 to 5, 0: not rated; they stay on the device |
| Output | `items`, numbers of the best 10 not rated, and `scores`, never negative |
| Files | {files} |
| Data | {data}; items with {least} ratings or more |
| Licence | {licence} |
| Made by | `python -m converters.zoo recommender --data DATA --out DIR`, seeds fixed |

Of {test} people that are not inside, the latest fifth of the ratings was hidden. In {hit_rate:.3f} of the cases a
hidden item is among the ten; the most popular items, the same for all, reach {popular:.3f}.

{scores}

Know before use: it knows who rated what, and nothing else. Most ratings are of popular things, so these come first.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """People to test on: what they let us see (n, items), and what they liked later, True where so."""

    shown: Array
    hidden: Array


def make(folder: Path, data: Path | None = None, *, quick: bool = False) -> Made:  # noqa: ARG001 - quick as it is
    """Build the graph, and write everything into `folder`. There is nothing to train.

    `hidden.npz` has what the evaluation's people liked later: `hidden` (n, items) bool, beside their `x`.

    Raises:
        MissingExtraError: PyTorch is not installed.
    """
    rated = datasets.movielens(data, least=_LEAST)
    name, ratings = (_MOVIELENS, rated) if rated is not None else (_MADE_UP, _made_up())
    random = np.random.default_rng(_SEED)
    people = random.permutation(len(ratings.given))
    cut = round(_TEST_SHARE * len(people))
    inside, held = ratings.given[people[cut:]], _hide(ratings, people[:cut])
    network = recommender_network(inside)
    found, wanted = _items(network, held.shown), reference(inside, held.shown)[0]
    write_arrays(folder / "hidden.npz", x=held.shown, hidden=held.hidden)
    return Made(
        source=write_pt2(folder / "recommender.pt2", network, held.shown[:1]),
        manifest=_manifest(name, ratings.titles),
        calibration=write_arrays(folder / "calibration.npz", x=_half(inside, random)[:_CALIBRATION]),
        evaluation=write_arrays(folder / "evaluation.npz", x=held.shown),
        expected=_EXPECTED[name],
        reached={"hit rate": hit_rate(found, held.hidden), "top-10 as NumPy": float(np.mean(found == wanted))},
        budget=Budget(max_drop=0.05),  # a tenth of a list is one item, and neighbours in it are often level
        facts={
            "data": name,
            "licence": _LICENCE[name],
            "people": len(inside),
            "items": inside.shape[1],
            "least": _LEAST,
            "test": cut,
            "popular": hit_rate(_most_popular(inside, held.shown), held.hidden),
        },
    )


def card(figures: cards.Figures) -> str:
    """`MODEL_CARD.md`."""
    return _CARD.format(
        version=figures.version,
        files=cards.file_rows(figures),
        scores=cards.score_table(figures, {"evaluation": "same items as the float network"}),
        hit_rate=figures.reached["hit rate"],
        **figures.facts,
    )


def recommender_network(inside: Array) -> Network:
    """The graph around the people inside, (people, items): (1, items) -> item numbers int32 and scores (1, 10)."""
    torch: Any = open_torch()
    linear = torch.nn.functional.linear  # a dense layer, which every engine and quantizer knows

    class _Recommender(torch.nn.Module):  # type: ignore[misc]  # loaded at run time
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("directions", torch.from_numpy(_directions(inside)))
            self.register_buffer("ratings", torch.from_numpy(np.ascontiguousarray(inside.T)))

        def forward(self, own: Network) -> Network:
            length = torch.sqrt(torch.sum(own * own, dim=1, keepdim=True))
            # No rating is below 0.5, so only a person without any is shorter: nothing is divided by 0.
            similarity = linear(own / torch.clamp(length, min=LOWEST), self.directions)
            scores = linear(similarity * similarity + _PRIOR, self.ratings)
            unseen = 1.0 - torch.clamp(own / LOWEST, max=1.0)
            best, items = torch.topk(scores * unseen, TOP, dim=1)
            return items.to(torch.int32), best

    return _Recommender().eval()


def reference(inside: Array, own: Array) -> tuple[Array, Array]:
    """The same in NumPy, in double precision, for many: item numbers (n, 10), ties to the lower one, and scores.

    `own`: (n, items).
    """
    people = inside.astype(np.float64)
    length = np.sqrt(np.sum(own.astype(np.float64) ** 2, axis=1, keepdims=True))
    similarity = own / np.where(length > 0, length, 1.0) @ _directions(people).T
    scores = np.where(own > 0, 0.0, (similarity**2 + _PRIOR) @ people)
    items = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    return items, np.take_along_axis(scores, items, axis=1)


def hit_rate(items: Array, hidden: Array) -> float:
    """Share of people with at least one hidden item among those named; `items` (n, k), `hidden` (n, items) bool."""
    return float(np.mean(np.take_along_axis(hidden, items.astype(np.int64), axis=1).any(axis=1)))


def _directions(people: Array) -> Array:
    length = np.sqrt(np.sum(people * people, axis=1, keepdims=True))
    return np.asarray(people / np.where(length > 0, length, 1.0), people.dtype)


def _items(network: Network, own: Array) -> Array:
    torch = open_torch()
    with torch.inference_mode():
        return np.concatenate([network(torch.from_numpy(row[None]))[0].numpy() for row in own])


def _most_popular(inside: Array, shown: Array) -> Array:
    """For each person of `shown` the ten items with most stars inside that the person has not rated."""
    ranked = np.argsort(-inside.sum(axis=0, dtype=np.float64), kind="stable")
    return np.stack([ranked[own[ranked] == 0][:TOP] for own in shown])


def _manifest(name: str, titles: tuple[str, ...]) -> Manifest:
    return Manifest(
        name="recommender",
        version="1.0.0",
        description="Ten things that a person who rated some might like.",
        licence=_LICENCE[name],
        input=TensorInput(),
        output=Recommend(),
        labels=titles,
    )


def _hide(ratings: Ratings, people: Array) -> _Held:
    shown, hidden = ratings.given[people].copy(), np.zeros((len(people), ratings.given.shape[1]), np.bool_)
    for row, person in enumerate(people):
        rated = np.flatnonzero(ratings.given[person])
        latest = rated[np.argsort(ratings.when[person, rated], kind="stable")]
        cut = latest[-max(1, round(_HIDDEN_SHARE * len(latest))) :]
        shown[row, cut], hidden[row, cut] = 0.0, True
    return _Held(shown=shown, hidden=hidden)


def _half(people: Array, random: np.random.Generator) -> Array:
    """The people inside as if half of their ratings were not known: nobody on a device equals one of them."""
    return np.where(random.random(people.shape) < 0.5, people, 0).astype(np.float32)  # noqa: PLR2004 - a half


def _made_up(people: int = 250, items: int = 300, tastes: int = 8) -> Ratings:
    """People who like two kinds of things and rate mostly those, popular ones more often."""
    random = np.random.default_rng(_SEED)
    kind = random.integers(0, tastes, items)
    fame = random.pareto(2.0, items) + 0.3
    likes = np.zeros((people, tastes))
    for row in likes:
        row[random.choice(tastes, 2, replace=False)] = 1.0
    liking = likes[:, kind]
    chance = fame * (0.05 + liking)
    given = np.zeros((people, items), np.float32)
    when = np.zeros((people, items), np.int64)
    for person in range(people):
        count = int(random.integers(20, 60))
        chosen = random.choice(items, count, replace=False, p=chance[person] / chance[person].sum())
        stars = 2.5 + 1.5 * liking[person, chosen] + random.normal(0, 0.7, count)
        given[person, chosen] = np.clip(np.rint(2 * stars) / 2, LOWEST, 5.0)
        when[person, chosen] = 1 + np.arange(count)
    return Ratings(given=given, when=when, titles=tuple(f"kind {kind[item]}, item {item}" for item in range(items)))
