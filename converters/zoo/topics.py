"""What a text is about: seven topics, English and Chinese, one small dense network. The demo sorts texts by it.

Promises: the same weights from the same versions on one machine; the texts that the demo reads and SIB-200's dev part
are never trained on.
Leaves out: the data: SIB-200 is read from a folder that you name and none of it is copied here; without it, the
sentences and word lists that ship are all there is.
Thread: main.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from converters.zoo import cards, datasets
from converters.zoo.bag import bag_network
from converters.zoo.course import Course, accuracy
from converters.zoo.datasets import Labelled, class_indices
from converters.zoo.made import Expected, Made
from converters.zoo.prepare import prepare_texts
from converters.zoo.storing import write_arrays, write_pt2, write_texts
from converters.zoo.topic_texts import TOPICS, demo_texts, own_sentences, word_list_texts
from converters.zoo.torch_training import answers, count_parameters, train
from edge.compute.tensors import Array, TensorSpec
from edge.contract.manifest import Classify, HashedNgrams, Manifest, TextInput

__all__ = ["card", "make"]

_LANGUAGES = {"english": "eng_Latn", "chinese": "zho_Hans"}
_GRAMS = HashedNgrams(buckets=8192, characters=(1, 3), words=(1, 1))
_INPUT = TextInput(tokenizer=_GRAMS, nfkc=True, lowercase=True)
_HIDDEN = 16
_SEED = 7
_LISTS = 60  # texts drawn from the word lists, for each topic and language
_COURSE = Course(epochs=60, batch=32, rate=3e-3, decay=1e-2, smoothing=0.1)
_CALIBRATION = 200  # samples
_EXPECTED = {  # with SIB-200, and without
    True: {
        "accuracy": Expected(value=0.667, tolerance=0.04),
        "accuracy, demo": Expected(value=0.905, tolerance=0.05),
    },
    False: {"accuracy": Expected(value=0.97, tolerance=0.05)},
}

_MANIFEST = Manifest(
    name="topics",
    version="1.0.0",
    description="Says which of seven topics an English or Chinese sentence is about.",
    licence="CC BY-SA 4.0, trained on SIB-200 (sentences of FLORES-200)",
    input=_INPUT,
    output=Classify(top_k=3),
    labels=TOPICS,
)
_OWN_LICENCE = "Apache-2.0, trained on sentences written for this project"

_CARD = """# topics {version}

Says which of seven topics a sentence in English or Chinese is about: {labels}.

| | |
|---|---|
| Network | {buckets} hashed n-grams (characters 1 to 3, words), Dense {hidden}, Dense {classes}, softmax |
| Input | text after NFKC and lower case; runs of Chinese characters count as words of one character |
| Files | {files} |
| Data | SIB-200, English and Simplified Chinese, train part: {sib} sentences |
| More data | {own} sentences and lists of topic words, written for this project |
| Licence | {licence} |
| Made by | `python -m converters.zoo topics --data DATA --out DIR`, seeds fixed; versions: `firmware_configs/locks` |

Accuracy of the files, in the project's own engines:

{scores}

Know before use: 700 sentences a language are few, and a bag of n-grams knows no grammar: about two in three unseen
sentences come out right, chance being one in seven. The demo's texts are easier: they were written by the same hands
as the word lists, and name their topic plainly. For real work, train on your own texts.
"""
_SIB_LICENCE = "CC BY-SA 4.0: SIB-200 (Adelani et al., 2023) labels sentences of FLORES-200 (NLLB Team, Meta AI)"


def make(folder: Path, data: Path | None = None, *, quick: bool = False) -> Made:
    """Train, and write everything into `folder`; `quick` leaves SIB-200 out.

    Raises:
        MissingExtraError: PyTorch is not installed.
    """
    sib, held = ([], {}) if quick else _sib200(data)
    own = own_sentences()
    inputs, classes = _bags(sib + own + own + word_list_texts(_LISTS, _SEED))

    def draw(epoch: int) -> tuple[Array, Array]:
        order = np.random.default_rng(_SEED + epoch).permutation(len(classes))
        return inputs[order], classes[order]

    trained = train(lambda: bag_network(_GRAMS.buckets, _HIDDEN, len(TOPICS)), draw, _COURSE)
    # Without SIB-200 the demo's texts are the only ones to test on.
    tested = {"evaluation": [pair for pairs in held.values() for pair in pairs] or demo_texts(), **held}
    if held:
        tested["demo"] = demo_texts()
    bags = {part: _bags(pairs) for part, pairs in tested.items()}
    scores = {part: accuracy(answers(trained, x), y) for part, (x, y) in bags.items()}
    paths = {part: write_arrays(folder / f"{part}.npz", x=x, y=y) for part, (x, y) in bags.items()}
    licence = _MANIFEST.licence if sib else _OWN_LICENCE
    return Made(
        source=write_pt2(folder / "topics.pt2", trained, inputs[:1]),
        manifest=msgspec.structs.replace(_MANIFEST, licence=licence),
        calibration=write_arrays(folder / "calibration.npz", x=draw(0)[0][:_CALIBRATION]),
        evaluation=paths.pop("evaluation"),
        parts=paths,
        readable=_readable(folder, tested["evaluation"]),
        expected=_EXPECTED[bool(held)],
        reached={"accuracy" if part == "evaluation" else f"accuracy, {part}": score for part, score in scores.items()},
        facts={
            "parameters": count_parameters(trained),
            "sib": len(sib),
            "own": len(own),
            "licence": _SIB_LICENCE if sib else licence,
            **{f"rows, {part}": len(pairs) for part, pairs in tested.items()},
        },
    )


def card(figures: cards.Figures) -> str:
    """`MODEL_CARD.md`."""
    headings = {"english": "SIB-200 dev, English", "chinese": "SIB-200 dev, Chinese", "demo": "the demo's own texts"}
    if "rows, demo" not in figures.facts:
        headings = {"evaluation": headings["demo"]}
    counted = {part: f"{heading} ({figures.facts[f'rows, {part}']})" for part, heading in headings.items()}
    return _CARD.format(
        version=figures.version,
        labels=", ".join(TOPICS),
        buckets=_GRAMS.buckets,
        hidden=_HIDDEN,
        classes=len(TOPICS),
        files=cards.file_rows(figures),
        scores=cards.score_table(figures, counted),
        **figures.facts,
    )


def _sib200(data: Path | None) -> tuple[Labelled, dict[str, Labelled]]:
    """SIB-200's train part, both languages, and its dev parts by language; nothing where it is not in the folder."""
    train_part: Labelled = []
    held: dict[str, Labelled] = {}
    for language, code in _LANGUAGES.items():
        rows, dev = datasets.sib200(data, code, "train"), datasets.sib200(data, code, "dev")
        if rows is None or dev is None:
            return [], {}
        train_part += rows
        held[language] = dev
    return train_part, held


def _readable(folder: Path, pairs: Labelled) -> Path:
    return write_texts(folder / "evaluation.jsonl", [text for _, text in pairs], [topic for topic, _ in pairs])


def _bags(pairs: Labelled) -> tuple[Array, Array]:
    """What the device's own tokenizer makes of the texts, (n, buckets) float32, and classes (n,) int64."""
    tensor = TensorSpec(name="input", shape=(1, _GRAMS.buckets), dtype=np.dtype(np.float32))
    bags = prepare_texts(_INPUT, [text for _, text in pairs], tensor)
    return bags, class_indices(pairs, TOPICS)
