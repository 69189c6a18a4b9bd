"""What a customer wants: a small transformer encoder on WordPiece ids, trained from nothing.

It knows the 77 intents of banking77 where that is in the data folder, and otherwise the seven topics of the sentences
that ship.

Promises: the same weights and the same vocabulary from the same versions on one machine; texts that occur twice are in
one part only; the vocabulary is learned from the training texts alone; ids are the device's own.
Leaves out: the network's insides (`encoder`), the vocabulary's (`pieces`).
Thread: main.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.zoo import cards, datasets
from converters.zoo.course import Course, accuracy
from converters.zoo.datasets import Labelled, class_indices, labels_of, split_rows
from converters.zoo.encoder import Encoder, encoder_network
from converters.zoo.keras_training import answers, fit
from converters.zoo.made import Expected, Made
from converters.zoo.pieces import learn_pieces
from converters.zoo.prepare import prepare_texts
from converters.zoo.storing import write_arrays, write_keras, write_texts
from converters.zoo.topic_texts import demo_texts, own_sentences, word_list_texts
from edge.compute.tensors import TensorSpec
from edge.contract.manifest import Classify, Manifest, TextInput, WordPiece
from edge.durable import write_atomic

__all__ = ["card", "make"]

_VOCABULARY = "vocab.txt"
_SEED = 7
_TEST_SHARE = 0.1
_LISTS = 60  # texts drawn from the word lists, for each topic and language
_QUICK_INTENTS = 8
_CALIBRATION = 200  # samples

_CARD = """# intents {version}

{what}

| | |
|---|---|
| Network | transformer encoder: {blocks} blocks of width {width}, {heads} heads, {length} places |
| Parameters | {parameters}, of them {pieces} pieces of {width} |
| Input | WordPiece ids (int32) of the lower-cased text, `vocab.txt`, {length} at most |
| Files | {files} |
| Data | {data}: {train} texts to train on, {test} to test on; {classes} classes |
| Licence | {licence} |
| Made by | `python -m converters.zoo intents --data DATA --out DIR`, seeds fixed; versions: `firmware_configs/locks` |

Accuracy on the {test} texts, in the project's own engines:

{scores}

Know before use: trained from nothing on a few thousand texts. Whatever it is asked, it names one of its classes; a
score is no certainty.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What there is to learn."""

    what: str
    data: str
    licence: str
    train: Labelled
    test: Labelled


_BANKING, _OWN = "banking77", "sentences and word lists written for this project"
_LENGTH = {_BANKING: 40, _OWN: 32}
_PIECES = {_BANKING: 2000, _OWN: 1500}
_COURSES = {
    (_BANKING, False): Course(epochs=12, rate=2e-3, decay=1e-2, smoothing=0.1, warmup=0.05),
    (_BANKING, True): Course(epochs=6, batch=32, rate=3e-3, decay=1e-2, smoothing=0.1, warmup=0.1),
    (_OWN, False): Course(epochs=12, batch=32, rate=2e-3, decay=1e-2, smoothing=0.1, warmup=0.05),
    (_OWN, True): Course(epochs=4, batch=32, rate=3e-3, decay=1e-2, smoothing=0.1, warmup=0.1),
}
_EXPECTED = {
    (_BANKING, False): Expected(value=0.88, tolerance=0.02),
    (_BANKING, True): Expected(value=0.98, tolerance=0.02),
    (_OWN, False): Expected(value=0.8, tolerance=0.1),
    (_OWN, True): Expected(value=0.8, tolerance=0.12),
}


def make(folder: Path, data: Path | None = None, *, quick: bool = False) -> Made:
    """Train, and write everything into `folder`; `quick` is worth a test and no more.

    Raises:
        MissingExtraError: Keras or `tokenizers` is not installed.
    """
    task = _banking(data, quick=quick) or _topics()
    labels = labels_of(task.train)
    pieces = learn_pieces((text for _, text in task.train), _PIECES[task.data])
    vocabulary = "".join(f"{piece}\n" for piece in pieces).encode()
    write_atomic(folder / _VOCABULARY, vocabulary)
    spec = TextInput(tokenizer=WordPiece(vocabulary=_VOCABULARY, length=_LENGTH[task.data]))
    ids, tested = (
        prepare_texts(spec, [text for _, text in pairs], _tensor(task), {_VOCABULARY: vocabulary})
        for pairs in (task.train, task.test)
    )
    truth = class_indices(task.test, labels)
    sizes = Encoder(pieces=len(pieces), length=ids.shape[1], classes=len(labels))
    course = _COURSES[task.data, quick]
    model = fit(lambda keras: encoder_network(keras, sizes), ids, class_indices(task.train, labels), course)
    return Made(
        source=write_keras(folder / "intents.keras", model),
        manifest=Manifest(
            name="intents",
            version="1.0.0",
            description=task.what,
            licence=task.licence,
            input=spec,
            output=Classify(top_k=3),
            labels=labels,
        ),
        calibration=write_arrays(folder / "calibration.npz", x=ids[:_CALIBRATION]),
        evaluation=write_arrays(folder / "evaluation.npz", x=tested, y=truth),
        readable=write_texts(folder / "evaluation.jsonl", [text for _, text in task.test], [at for at, _ in task.test]),
        expected={"accuracy": _EXPECTED[task.data, quick]},
        reached={"accuracy": accuracy(answers(model, tested), truth)},
        files={_VOCABULARY: folder / _VOCABULARY},
        facts=_facts(task, sizes, model.count_params()),
    )


def card(figures: cards.Figures) -> str:
    """`MODEL_CARD.md`."""
    return _CARD.format(
        version=figures.version,
        files=cards.file_rows(figures),
        scores=cards.score_table(figures, {"evaluation": "accuracy"}),
        **figures.facts,
    )


def _facts(task: _Task, sizes: Encoder, parameters: int) -> dict[str, int | float | str]:
    return {
        "what": task.what,
        "data": task.data,
        "licence": task.licence,
        "blocks": sizes.blocks,
        "width": sizes.width,
        "heads": sizes.heads,
        "length": sizes.length,
        "pieces": sizes.pieces,
        "classes": sizes.classes,
        "parameters": parameters,
        "train": len(task.train),
        "test": len(task.test),
    }


def _tensor(task: _Task) -> TensorSpec:
    return TensorSpec(name="ids", shape=(1, _LENGTH[task.data]), dtype=np.dtype(np.int32))


def _banking(data: Path | None, *, quick: bool) -> _Task | None:
    pairs = datasets.banking77(data)
    if pairs is None:
        return None
    kept = labels_of(pairs)[:_QUICK_INTENTS] if quick else labels_of(pairs)
    pairs = [pair for pair in pairs if pair[0] in kept]
    rows, held = split_rows(class_indices(pairs, kept), _TEST_SHARE, _SEED)
    return _Task(
        what="Says what a customer of a bank wants.",
        data=_BANKING,
        licence="weights Apache-2.0; data CC BY 4.0, PolyAI (I. Casanueva et al., 2020)",
        train=[pairs[row] for row in rows],
        test=[pairs[row] for row in held],
    )


def _topics() -> _Task:
    pairs = own_sentences() * 2 + word_list_texts(_LISTS, _SEED)
    order = np.random.default_rng(_SEED).permutation(len(pairs))
    return _Task(
        what="Says which of seven topics an English or Chinese sentence is about.",
        data=_OWN,
        licence="Apache-2.0",
        train=[pairs[row] for row in order],
        test=demo_texts(),
    )
