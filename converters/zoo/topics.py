"""What a text is about: seven topics, English and Chinese, one small dense network.

    python -m converters.zoo.topics --sib200 FOLDER --out edge/demo/models/topics

Promises: the same files from the same versions on one machine; the texts that the demo reads and SIB-200's dev part
are never trained on; the accuracy on the card is that of the int8 files in the project's own engines.
Leaves out: the data: SIB-200 is read from a folder that you name and none of it is copied here.
Thread: main.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from converters.zoo import bundle, net, quantize
from edge.compute.tensors import Array, TensorSpec
from edge.compute.text import compile_text
from edge.contract.manifest import Classify, HashedNgrams, Manifest, TextInput

__all__ = ["main"]

_LABELS = ("entertainment", "geography", "health", "politics", "science/technology", "sports", "travel")
_LANGUAGES = {"english": "eng_Latn", "chinese": "zho_Hans"}
_GRAMS = HashedNgrams(buckets=8192, characters=(1, 3), words=(1, 1))
_INPUT = TextInput(tokenizer=_GRAMS, nfkc=True, lowercase=True)
_HIDDEN = 16
_SEED = 7
_LISTS = 60  # texts drawn from the word lists, for each topic and language
_COURSE = net.Course(epochs=60, batch=32, rate=3e-3, decay=1e-2, smoothing=0.1)
_HERE = Path(__file__).parent
_DEMO = _HERE.parents[1] / "edge" / "demo" / "texts.tsv"

_MANIFEST = Manifest(
    name="topics",
    version="1.0.0",
    description="Says which of seven topics an English or Chinese sentence is about.",
    licence="CC BY-SA 4.0, trained on SIB-200 (sentences of FLORES-200)",
    input=_INPUT,
    output=Classify(top_k=3),
    labels=_LABELS,
)

_CARD = """# topics {version}

Says which of seven topics a sentence in English or Chinese is about: {labels}.

| | |
|---|---|
| Network | {buckets} hashed n-grams (characters 1 to 3, words), Dense {hidden}, Dense {classes}, softmax |
| Input | text after NFKC and lower case; runs of Chinese characters count as words of one character |
| Files | `model.int8.tflite` {tflite_bytes} bytes, `model.onnx` (int8, QDQ) {onnx_bytes} bytes |
| Data | SIB-200, English and Simplified Chinese, train part: {sib} sentences |
| More data | {own} sentences and lists of topic words, written for this project |
| Licence | CC BY-SA 4.0: SIB-200 (Adelani et al., 2023) labels sentences of FLORES-200 (NLLB Team, Meta AI) |
| Made by | `python -m converters.zoo.topics --sib200 FOLDER --out DIR`, seeds fixed, versions in `constraints.txt` |

Accuracy of the files, in the project's own engines:

| | SIB-200 dev, English ({english}) | SIB-200 dev, Chinese ({chinese}) | the demo's own texts ({demo}) |
|---|---|---|---|
| float network | {float_english:.3f} | {float_chinese:.3f} | {float_demo:.3f} |
| `model.int8.tflite` | {tflite_english:.3f} | {tflite_chinese:.3f} | {tflite_demo:.3f} |
| `model.onnx` | {onnx_english:.3f} | {onnx_chinese:.3f} | {onnx_demo:.3f} |

Know before use: 700 sentences a language are few, and a bag of n-grams knows no grammar: about two in three unseen
sentences come out right, chance being one in seven. The demo's texts are easier: they were written by the same hands
as the word lists, and name their topic plainly. For real work, train on your own texts.
"""

Labelled = list[tuple[str, str]]


def main() -> None:
    """Train, convert, measure, and write the bundle."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--sib200", type=Path, required=True, help="folder with sib200_<language>_<part>.tsv")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    chosen = parser.parse_args()
    if not (chosen.sib200 / "sib200_eng_Latn_train.tsv").is_file():
        parser.error(f"{chosen.sib200} holds no sib200_eng_Latn_train.tsv; SIB-200 is published as Davlan/sib200")
    sib = [pair for code in _LANGUAGES.values() for pair in _sib200(chosen.sib200, code, "train")]
    own = _plain(_HERE / "topics_sentences.tsv")
    inputs, classes = _bags(sib + own + own + _lists())
    held = {name: _bags(_sib200(chosen.sib200, code, "dev")) for name, code in _LANGUAGES.items()}
    held["demo"] = _bags(_plain(_DEMO))

    def draw(epoch: int) -> tuple[Array, Array]:
        order = np.random.default_rng(_SEED + epoch).permutation(len(classes))
        return inputs[order], classes[order]

    trained = net.train(lambda: net.topics(_GRAMS.buckets, _HIDDEN, len(_LABELS)), draw, _COURSE)
    shape = (1, _GRAMS.buckets)
    float_tflite, float_onnx = net.tflite_float(trained, shape), net.onnx_float(trained, shape)
    calibration = list(draw(0)[0][:200, None])
    files = {
        "model.int8.tflite": quantize.tflite_int8(float_tflite, calibration),
        "model.onnx": quantize.onnx_int8(float_onnx, calibration),
    }
    measured = {"float": float_onnx, "tflite": files["model.int8.tflite"], "onnx": files["model.onnx"]}
    card = _CARD.format(
        version=_MANIFEST.version,
        labels=", ".join(_LABELS),
        buckets=_GRAMS.buckets,
        hidden=_HIDDEN,
        classes=len(_LABELS),
        tflite_bytes=len(files["model.int8.tflite"]),
        onnx_bytes=len(files["model.onnx"]),
        sib=len(sib),
        own=len(own),
        **{name: len(right) for name, (_, right) in held.items()},
        **bundle.accuracies(measured, held),
    )
    bundle.write(chosen.out, _MANIFEST, files, card)
    print(card)


def _sib200(folder: Path, code: str, part: str) -> Labelled:
    """Topic and text of each line below the heading."""
    lines = (folder / f"sib200_{code}_{part}.tsv").read_text("utf-8").splitlines()[1:]
    return [(fields[1], fields[2]) for fields in (line.split("\t") for line in lines)]


def _plain(path: Path) -> Labelled:
    return [(topic, text) for topic, text in (line.split("\t") for line in path.read_text("utf-8").splitlines())]


def _lists() -> Labelled:
    """Texts of seven words, drawn from the topic's word list."""
    random = np.random.default_rng(_SEED)
    made: Labelled = []
    for topic, lists in json.loads((_HERE / "topics_words.json").read_text("utf-8")).items():
        for language, words in lists.items():
            joint = " " if language == "en" else ""
            made += [(topic, joint.join(random.choice(words.split(), 7, replace=False))) for _ in range(_LISTS)]
    return made


def _bags(pairs: Labelled) -> tuple[Array, Array]:
    """What the device's own tokenizer makes of the texts, (n, buckets) float32, and classes (n,) int64."""
    tensor = TensorSpec(name="input", shape=(1, _GRAMS.buckets), dtype=np.dtype(np.float32))
    prepare = compile_text(_INPUT, {}, (tensor,))
    bags = np.concatenate([prepare(text)[0] for _, text in pairs])
    return bags, np.array([_LABELS.index(topic) for topic, _ in pairs], np.int64)


if __name__ == "__main__":
    main()
