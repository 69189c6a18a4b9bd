"""Samples from what people have, prepared by the device's own steps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from converters.samples.gather import gather
from converters.spec import Port, Signature
from edge.contract.manifest import (
    Binary,
    Classify,
    Color,
    Decoder,
    HashedNgrams,
    ImageInput,
    InputSpec,
    Manifest,
    MultiLabel,
    Normalize,
    Resize,
    Scale,
    TensorInput,
    TextInput,
)
from edge.errors import MediaError
from edge.model import Model

_ONE_OF_MANY = Classify()
_IMAGE = ImageInput(color=Color.RGB, steps=(Resize(width=4, height=4), Scale(factor=1 / 255)))
_TEXT = TextInput(tokenizer=HashedNgrams(buckets=16), lowercase=True)


def _port(*shape: int, name: str = "x", dtype: str = "float32") -> Port:
    return Port(name=name, shape=shape, dtype=dtype)


def _gather(
    origin,
    spec: InputSpec,
    *ports: Port,
    labels: tuple[str, ...] = (),
    task: Decoder = _ONE_OF_MANY,
    classes: int = 10,
    **more,
):
    manifest = Manifest(name="m", input=spec, output=task, labels=labels)
    return gather(origin, manifest, Signature(inputs=ports, outputs=(_port(1, classes, name="y"),)), {}, **more)


def _picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 6, 3), level, np.uint8))


def test_a_folder_for_each_class_gives_labels(tmp_path: Path) -> None:
    _picture(tmp_path / "cat" / "1.png", 255)
    _picture(tmp_path / "dog" / "1.png", 51)
    _picture(tmp_path / "dog" / "2.png", 0)
    found = _gather(tmp_path, _IMAGE, _port(1, 4, 4, 3), labels=("dog", "cat"))
    assert found.names == ("cat/1.png", "dog/1.png", "dog/2.png")
    assert found.truth is not None
    assert found.truth.tolist() == [1, 0, 0]
    assert found.inputs[0].shape == (3, 1, 4, 4, 3)
    assert [float(sample.max()) for sample in found.inputs[0]] == pytest.approx([1.0, 0.2, 0.0])
    assert isinstance(found.shown[0], np.ndarray)


def test_pictures_in_an_archive_go_through_the_steps_and_tensors_do_not(tmp_path: Path) -> None:
    pixels = np.full((3, 8, 8, 3), 255, np.uint8)
    pixels[..., 0] = 51  # red, as archives have it
    np.savez(tmp_path / "p.npz", x=pixels, y=np.array([2, 1, 0], np.uint8))
    found = _gather(tmp_path / "p.npz", _IMAGE, _port(1, 4, 4, 3))
    assert found.inputs[0][0, 0, 0, 0].tolist() == pytest.approx([0.2, 1.0, 1.0])
    assert found.truth is not None
    assert found.truth.tolist() == [2, 1, 0]
    tensors = np.full((3, 4, 4, 3), 0.7, np.float32)
    np.savez(tmp_path / "t.npz", x=tensors)
    assert np.array_equal(_gather(tmp_path / "t.npz", _IMAGE, _port(1, 4, 4, 3)).inputs[0][:, 0], tensors)


def test_a_model_with_channels_first_gets_them_first(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x=np.zeros((2, 8, 8, 3), np.uint8))
    assert _gather(tmp_path / "p.npz", _IMAGE, _port(1, 3, 4, 4)).inputs[0].shape == (2, 1, 3, 4, 4)


def test_what_is_calibrated_with_is_what_the_device_feeds(tmp_path: Path, shared_data: Path) -> None:
    """One picture, prepared here and by the model that runs on a device."""
    with Model.open(shared_data / "models/vww/vww_96_float.tflite") as model:
        spec = model.manifest.input
        assert isinstance(spec, ImageInput)
        picture = shared_data / "images/cat.bmp"
        (tmp_path / "cat.bmp").write_bytes(picture.read_bytes())
        found = _gather(tmp_path, spec, _port(1, 96, 96, 3))
        direct = model.infer_image(cv2.imread(str(picture))).items[0].score
        replayed = model._engine.run([found.inputs[0][0]])[0]
    assert float(replayed.max()) == pytest.approx(direct, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "category,text\nspam,buy now\nham,see you\n"),
        ("t.tsv", "index_id\tcategory\ttext\n1\tspam\tbuy now\n2\tham\tsee you\n"),
        ("t.jsonl", '{"text": "buy now", "label": "spam"}\n\n{"text": "see you", "label": "ham"}\n'),
    ],
)
def test_texts_and_labels_are_found_where_custom_puts_them(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    found = _gather(tmp_path / name, _TEXT, _port(1, 16), labels=("ham", "spam"))
    assert found.shown == ("buy now", "see you")
    assert found.truth is not None
    assert found.truth.tolist() == [1, 0]
    assert found.inputs[0].shape == (2, 1, 16)


def test_lines_of_text_are_samples_without_labels(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one\ntwo\n\n")
    found = _gather(tmp_path / "t.txt", _TEXT, _port(1, 16))
    assert (len(found), found.truth) == (2, None)


def test_a_table_of_numbers_may_have_a_label_column(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("a,b,label\n1,2,0\n3,4,1\n")
    found = _gather(tmp_path / "n.csv", TensorInput(), _port(1, 2))
    assert found.inputs[0].tolist() == [[[1.0, 2.0]], [[3.0, 4.0]]]
    assert found.truth is not None
    assert found.truth.tolist() == [0, 1]


def test_a_function_may_yield_inputs_pairs_or_mappings(tmp_path: Path) -> None:
    pairs = _gather(lambda: iter([(np.ones(2), 1), (np.zeros(2), 0)]), TensorInput(), _port(1, 2))
    assert pairs.truth is not None
    assert pairs.truth.tolist() == [1, 0]
    two = (_port(1, 2, name="a"), _port(1, 3, name="b", dtype="int32"))
    named = _gather(lambda: iter([{"b": [1, 2, 3], "a": [0.5, 0.5]}]), TensorInput(), *two)
    assert named.inputs[1].tolist() == [[[1, 2, 3]]]
    assert named.inputs[1].dtype == np.int32
    code = tmp_path / "data.py"
    code.write_text("import numpy as np\ndef rows():\n    for n in range(3):\n        yield np.full(2, n)\n")
    assert len(_gather(f"{code}:rows", TensorInput(), _port(1, 2))) == 3


def test_many_samples_are_thinned_evenly_so_that_sorted_classes_all_stay(tmp_path: Path) -> None:
    np.savez(tmp_path / "n.npz", x=np.arange(1000, dtype=np.float32)[:, None], y=np.repeat(np.arange(10), 100))
    found = _gather(tmp_path / "n.npz", TensorInput(), _port(1, 1), most=50)
    assert len(found) == 50
    assert found.truth is not None
    assert set(found.truth.tolist()) == set(range(10))


def _wrong(tmp_path: Path, name: str) -> str | Path:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "heading.csv").write_text("a,b\n")
    (tmp_path / "short.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "words.csv").write_text("a,b\n1,two\n")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "odd.parquet").write_text("x")
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "rows.npz", x=np.zeros((3, 2)), y=np.zeros(4))
    np.savez(tmp_path / "shape.npz", x=np.zeros((3, 5)))
    np.savez(tmp_path / "text.npz", x=np.array(["a", "b"]))
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    return tmp_path / name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("absent.npz", "no such file or folder"),
        ("empty.csv", "empty"),
        ("heading.csv", "no sample in it"),
        ("short.csv", r"short\.csv:3: 1 cells, the heading has 2"),
        ("words.csv", r"words\.csv:2: could not convert string to float: 'two'"),
        ("cut.npz", "no NumPy archive that can be read"),
        ("pickle.npy", "no NumPy archive that can be read"),
        ("latin.txt", "texts, and this model takes plain numbers"),
        ("odd.parquet", r"samples come as \.npz"),
        ("folder", "a folder of pictures, and this model takes plain numbers"),
        ("rows.npz", "its arrays have different numbers of rows"),
        ("shape.npz", r"shape \(5,\), input 'x' wants \(1, 2\)"),
        ("text.npz", r"(shape|values)"),
    ],
)
def test_what_cannot_be_samples_is_one_sentence(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(MediaError, match=sentence) as refusal:
        _gather(_wrong(tmp_path, name), TensorInput(), _port(1, 2))
    assert "\n" not in str(refusal.value)


def test_labels_that_are_none_of_the_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\nhello,greeting\n")
    with pytest.raises(MediaError, match="label 'greeting' is none of the model's 2"):
        _gather(tmp_path / "t.csv", _TEXT, _port(1, 16), labels=("ham", "spam"))
    with pytest.raises(MediaError, match="--labels FILE"):
        _gather(tmp_path / "t.csv", _TEXT, _port(1, 16))


def test_caffe_style_pictures_keep_their_order_of_channels(tmp_path: Path) -> None:
    spec = ImageInput(
        color=Color.BGR, steps=(Resize(width=2, height=2), Normalize(mean=(10.0, 20.0, 30.0), std=(1.0,)))
    )
    picture = np.zeros((1, 2, 2, 3), np.uint8)
    picture[..., 0] = 200
    np.savez(tmp_path / "p.npz", x=picture)
    found = _gather(tmp_path / "p.npz", spec, _port(1, 2, 2, 3))
    assert found.inputs[0][0, 0, 0, 0].tolist() == [-10.0, -20.0, 170.0]


def _labelled(tmp_path: Path, truth: np.ndarray) -> Path:
    np.savez(tmp_path / "l.npz", x=np.zeros((len(truth), 2)), y=truth)
    return tmp_path / "l.npz"


@pytest.mark.parametrize(
    ("truth", "task", "sentence"),
    [
        (np.arange(50, 60), Classify(), "label 50 is no class; the model's are 0 to 9"),
        (np.arange(1, 11), Classify(), "label 10 is no class; .* counted from 1"),
        (np.array([0, -1]), Classify(), "label -1 is no class"),
        (np.array([0.0, 1.5]), Classify(), "label 1.5 is no class"),
        (np.array([0, 2]), Binary(), "label 2 is no class; the model's are 0 to 1"),
        (np.eye(7), Classify(), "expected a class number, or a row of 10 with a single 1"),
        (np.ones((2, 10)), Classify(), "expected a class number, or a row of 10 with a single 1"),
        (np.array([3, 4]), MultiLabel(), "labels of 1 numbers a sample; expected 10 numbers of 0 or 1"),
    ],
)
def test_labels_that_are_no_class_of_the_model_are_refused(
    tmp_path: Path, truth: np.ndarray, task: Decoder, sentence: str
) -> None:
    """A label that nothing can match would make any other model as good as the source."""
    with pytest.raises(MediaError, match=sentence) as refusal:
        _gather(_labelled(tmp_path, truth), TensorInput(), _port(1, 2), task=task)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [np.float32, np.uint8, bool])
def test_a_row_with_a_single_one_is_a_class(tmp_path: Path, kind: type) -> None:
    found = _gather(_labelled(tmp_path, np.eye(10, dtype=kind)[[3, 0, 9]]), TensorInput(), _port(1, 2))
    assert found.truth is not None
    assert found.truth.tolist() == [3, 0, 9]
    assert found.truth.dtype == np.int64


def test_class_numbers_may_come_as_floats(tmp_path: Path) -> None:
    found = _gather(_labelled(tmp_path, np.array([1.0, 2.0])), TensorInput(), _port(1, 2))
    assert found.truth is not None
    assert found.truth.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("dtype", "value"), [("int32", 0.7), ("int32", np.nan), ("int8", 300), ("uint8", -1), ("int32", 2**40)]
)
def test_numbers_that_an_integer_input_cannot_hold_are_refused(tmp_path: Path, dtype: str, value: float) -> None:
    np.savez(tmp_path / "n.npz", x=np.array([[0, 1], [1, value]]))
    with pytest.raises(MediaError, match=rf"n\.npz\[1\]: .* is no {dtype}"):
        _gather(tmp_path / "n.npz", TensorInput(), _port(1, 2, dtype=dtype))
    np.savez(tmp_path / "n.npz", x=np.array([[0.0, 1.0], [1.0, 3.0]]))
    assert _gather(tmp_path / "n.npz", TensorInput(), _port(1, 2, dtype=dtype)).inputs[0].dtype == dtype


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def rows():\n    return 1 / 0\n", r"rows of d\.py fails: ZeroDivisionError: division by zero \(line 2\)"),
        (
            "def rows():\n    yield [1, 2]\n    raise OSError('gone')\n",
            r"rows of d\.py fails: OSError: gone \(line 3\)",
        ),
        ("def rows():\n    raise SystemExit(0)\n", r"rows of d\.py fails: SystemExit: 0 \(line 2\)"),
        ("def rows():\n    return 3\n", r"rows of d\.py fails: TypeError: 'int' object is not iterable"),
        (
            "import h2_that_is_nowhere\n",
            r"d\.py fails when it is imported: ModuleNotFoundError: .*h2_that.* \(line 1\)",
        ),
        ("def lines():\n    return []\n", r"defines no function 'rows'"),
        (None, "expected a Python file"),
    ],
)
def test_a_function_that_fails_is_one_sentence_with_the_line(tmp_path: Path, code: str | None, sentence: str) -> None:
    if code is not None:
        (tmp_path / "d.py").write_text(code)
    with pytest.raises(MediaError, match=sentence) as refusal:
        _gather(f"{tmp_path / 'd.py'}:rows", TensorInput(), _port(1, 2))
    assert "\n" not in str(refusal.value)


def test_a_function_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_the_samples.py").write_text("ROW = [1, 2]\n")
    (tmp_path / "drawn.py").write_text("from beside_the_samples import ROW\ndef rows():\n    yield ROW\n")
    assert len(_gather(f"{tmp_path / 'drawn.py'}:rows", TensorInput(), _port(1, 2))) == 1


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0c"])
def test_only_the_end_of_a_line_ends_a_text(tmp_path: Path, mark: str) -> None:
    (tmp_path / "t.jsonl").write_bytes(f'{{"text": "one{mark}two"}}\r\n'.replace("\x0c", "\\f").encode())
    (tmp_path / "t.txt").write_bytes(f"one{mark}two\r\n".encode())
    for name in ("t.jsonl", "t.txt"):
        assert _gather(tmp_path / name, _TEXT, _port(1, 16)).shown == (f"one{mark}two",)
