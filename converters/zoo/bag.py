"""A text classifier of the simplest kind: a bag of hashed n-grams through one small layer.

It tells spam among short messages (SMS Spam Collection) where that is in the data folder, and otherwise the seven
topics of the sentences that ship.

Promises: the same weights from the same versions on one machine; texts that occur twice are in one part only; the bags
are the device's own.
Leaves out: grammar; word order beyond two words.
Thread: main.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.zoo import cards, datasets
from converters.zoo.course import Course, accuracy, f1
from converters.zoo.datasets import Labelled, class_indices, labels_of, split_rows
from converters.zoo.frameworks import Network, open_torch
from converters.zoo.made import Expected, Made
from converters.zoo.prepare import prepare_texts
from converters.zoo.storing import write_arrays, write_pt2, write_texts
from converters.zoo.topic_texts import demo_texts, own_sentences, word_list_texts
from converters.zoo.torch_training import answers, count_parameters, train
from edge.compute.tensors import Array, TensorSpec
from edge.contract.manifest import Classify, HashedNgrams, Manifest, TextInput

__all__ = ["bag_network", "card", "make"]

_GRAMS = HashedNgrams(buckets=4096, characters=(2, 4), words=(1, 2))
_INPUT = TextInput(tokenizer=_GRAMS, nfkc=True, lowercase=True)
_HIDDEN = 16
_SEED = 7
_TEST_SHARE = 0.2
_LISTS = 60  # texts drawn from the word lists, for each topic and language
_COURSE = Course(epochs=20, batch=32, rate=2e-3, decay=1e-2, smoothing=0.05)
_QUICK = Course(epochs=6, batch=32, rate=4e-3, decay=1e-2, smoothing=0.05)
_QUICK_ROWS = 1500
_CALIBRATION = 200  # samples

_CARD = """# bag {version}

{what}

| | |
|---|---|
| Network | {buckets} hashed n-grams (characters 2 to 4, words 1 to 2), Dense {hidden}, Dense {classes}, softmax |
| Parameters | {parameters} |
| Input | text after NFKC and lower case |
| Files | {files} |
| Data | {data}: {train} texts to train on, {test} to test on |
| Licence | {licence} |
| Made by | `python -m converters.zoo bag --data DATA --out DIR`, seeds fixed; versions: `firmware_configs/locks` |

Accuracy on the {test} texts, in the project's own engines:

{scores}

Know before use: a bag of n-grams knows words and spellings, not what a sentence says. Train on your own texts.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What there is to learn."""

    what: str
    data: str
    licence: str
    train: Labelled
    test: Labelled
    figures: tuple[str, ...]


def make(folder: Path, data: Path | None = None, *, quick: bool = False) -> Made:
    """Train, and write everything into `folder`; `quick` is worth a test and no more.

    Raises:
        MissingExtraError: PyTorch is not installed.
    """
    task = _spam(data, quick=quick) or _topics()
    labels = labels_of(task.train)
    (inputs, classes), (test_x, test_y) = _bags(task.train, labels), _bags(task.test, labels)

    def draw(epoch: int) -> tuple[Array, Array]:
        order = np.random.default_rng(_SEED + epoch).permutation(len(classes))
        return inputs[order], classes[order]

    course = _QUICK if quick else _COURSE
    trained = train(lambda: bag_network(_GRAMS.buckets, _HIDDEN, len(labels)), draw, course)
    scores = answers(trained, test_x)
    reached = {"accuracy": accuracy(scores, test_y), "F1": f1(scores, test_y)}
    return Made(
        source=write_pt2(folder / "bag.pt2", trained, inputs[:1]),
        manifest=_manifest(task, labels),
        calibration=write_arrays(folder / "calibration.npz", x=draw(0)[0][:_CALIBRATION]),
        evaluation=write_arrays(folder / "evaluation.npz", x=test_x, y=test_y),
        readable=write_texts(folder / "evaluation.jsonl", [text for _, text in task.test], [at for at, _ in task.test]),
        expected={name: _EXPECTED[task.data, quick][name] for name in task.figures},
        reached={name: reached[name] for name in task.figures},
        facts={
            "what": task.what,
            "data": task.data,
            "licence": task.licence,
            "classes": len(labels),
            "parameters": count_parameters(trained),
            "train": len(classes),
            "test": len(test_y),
        },
    )


def card(figures: cards.Figures) -> str:
    """`MODEL_CARD.md`."""
    return _CARD.format(
        version=figures.version,
        buckets=_GRAMS.buckets,
        hidden=_HIDDEN,
        files=cards.file_rows(figures),
        scores=cards.score_table(figures, {"evaluation": "accuracy"}),
        **figures.facts,
    )


def bag_network(buckets: int, hidden: int, classes: int) -> Network:
    """A bag of hashed n-grams through one small hidden layer. (n, buckets) float -> (n, classes) logits."""
    nn = open_torch().nn
    return nn.Sequential(
        nn.Dropout(0.3), nn.Linear(buckets, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, classes)
    )


_SMS, _OWN = "SMS Spam Collection v.1", "sentences and word lists written for this project"
_EXPECTED = {
    (_SMS, False): {"accuracy": Expected(value=0.985, tolerance=0.01), "F1": Expected(value=0.94, tolerance=0.03)},
    (_SMS, True): {"accuracy": Expected(value=0.955, tolerance=0.02), "F1": Expected(value=0.8, tolerance=0.1)},
    (_OWN, False): {"accuracy": Expected(value=0.97, tolerance=0.05)},
    (_OWN, True): {"accuracy": Expected(value=0.9, tolerance=0.08)},
}


def _spam(data: Path | None, *, quick: bool) -> _Task | None:
    pairs = datasets.sms_spam(data)
    if pairs is None:
        return None
    rows, held = split_rows(np.array([label == "spam" for label, _ in pairs], np.int64), _TEST_SHARE, _SEED)
    return _Task(
        what="Tells whether a short English message is spam.",
        data=_SMS,
        licence="weights Apache-2.0; messages free to use, without warranty (T. A. Almeida, J. M. Gomez Hidalgo)",
        train=[pairs[row] for row in (rows[:_QUICK_ROWS] if quick else rows)],
        test=[pairs[row] for row in held],
        figures=("accuracy", "F1"),
    )


def _topics() -> _Task:
    own = own_sentences()
    return _Task(
        what="Says which of seven topics an English or Chinese sentence is about.",
        data=_OWN,
        licence="Apache-2.0",
        train=own + own + word_list_texts(_LISTS, _SEED),
        test=demo_texts(),
        figures=("accuracy",),
    )


def _manifest(task: _Task, labels: tuple[str, ...]) -> Manifest:
    return Manifest(
        name="bag",
        version="1.0.0",
        description=task.what,
        licence=task.licence,
        input=_INPUT,
        output=Classify(top_k=min(3, len(labels))),
        labels=labels,
    )


def _bags(pairs: Labelled, labels: tuple[str, ...]) -> tuple[Array, Array]:
    """What the device's own tokenizer makes of the texts, (n, buckets) float32, and classes (n,) int64."""
    tensor = TensorSpec(name="input", shape=(1, _GRAMS.buckets), dtype=np.dtype(np.float32))
    bags = prepare_texts(_INPUT, [text for _, text in pairs], tensor)
    return bags, class_indices(pairs, labels)
