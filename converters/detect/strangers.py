"""Files that are no source of a conversion: what each one is, and what to do instead.

Promises: one sentence for each, told by the first or last bytes.
Leaves out: archives and pickles, which have to be looked into (`source`).
Thread: any; pure.
"""

from __future__ import annotations

__all__ = ["SOURCES", "is_tar", "stranger", "stranger_at_end"]

SOURCES = (
    "a .keras or .h5 file, a SavedModel folder, a .pt2 file, FILE.py:FUNCTION, a .onnx, .tflite or .skops file, "
    "or a joblib or pickle of scikit-learn"
)

_DOWNLOAD = "download it again; the address of the file itself is another one"
_VENDOR = "it is made for one chip and cannot be turned back; give the model that it was made from"
_MAKER = "export a SavedModel from the program that made it"
_DATA = "give the model; data goes to --calib and --eval"

_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it with: git lfs pull"),
    (b"<!DOCTYPE", "a web page", _DOWNLOAD),
    (b"<!doctype", "a web page", _DOWNLOAD),
    (b"<html", "a web page", _DOWNLOAD),
    (b"<PMML", "a PMML file", "export the model itself: to ONNX, or with skops"),
    (b"<?xml", "an XML file (OpenVINO or PMML)", "give the model that it was made from, or an ONNX export of it"),
    (b"<net", "an OpenVINO model", "give the model that it was made from, or an ONNX export of it"),
    (b"ftrt", "a TensorRT engine", _VENDOR),
    (b"ptrt", "a TensorRT engine", _VENDOR),
    (b"RKNN", "a Rockchip model", _VENDOR),
    (b"\x01HEF", "a Hailo model", _VENDOR),
    (b"GGUF", "a language model for llama.cpp", "this runtime takes classifiers, detectors and the like"),
    (b"7767517", "an ncnn model", "give the model that it was made from, or an ONNX export of it"),
    (b"model_checkpoint_path", "the index of a TensorFlow checkpoint", _MAKER),
    (b"tree\nversion=", "a LightGBM model", "export it to ONNX: onnxmltools.convert_lightgbm"),
    (b"\x93NUMPY", "a NumPy array", _DATA),
    (b"PAR1", "a table (Parquet)", _DATA),
    (b"SQLite format 3", "a database", _DATA),
    (b"\x89PNG", "a PNG picture", _DATA),
    (b"\xff\xd8\xff", "a JPEG picture", _DATA),
    (b"%PDF", "a PDF file", "give the model"),
    (b"\x7fELF", "a program", "give the model"),
    (b"Rar!", "a RAR archive", "unpack it and give the model in it"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it and give the model in it"),
    (b"(\xb5/\xfd", "a Zstandard archive", "unpack it and give the model in it"),
    (b"PK\x05\x06", "an empty zip archive", "pack or download it again"),
)  # fmt: skip

# What a JSON file is, by a key near its start.
_JSON: tuple[tuple[bytes, str, str], ...] = (
    (b'"modelTopology"', "a TensorFlow.js model", "give the Keras model that it was made from"),
    (b'"learner"', "an XGBoost model", "export it to ONNX: onnxmltools.convert_xgboost"),
    (b'"class_name"', "a Keras model without its weights", "save both: model.save('model.keras')"),
    (b'"model_type"', "a Hugging Face model's settings", "export it: optimum-cli export onnx --model FOLDER OUT"),
    (b'"variants"', "the manifest of a bundle", "a bundle is finished; check it with: edge selftest FOLDER"),
    (b"", "a JSON file", "give the model"),
)  # fmt: skip

_TAR_MARK = slice(257, 262)
_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # LevelDB's table format, which TensorFlow's checkpoints are
_LONGEST_HEADER = 100_000_000  # of safetensors, by its own rule


def stranger(head: bytes) -> tuple[str, str] | None:
    """What a file is and what to do about it, by its first kilobytes; None where they say nothing."""
    for start, what, instead in _STARTS:
        if head.startswith(start):
            return what, instead
    if head.lstrip()[:1] == b"{":
        return next((what, instead) for key, what, instead in _JSON if key in head)
    if 0 < int.from_bytes(head[:8], "little") < _LONGEST_HEADER and head[8:9] == b"{":
        return (
            "a .safetensors file, which has weights and no model",
            "write a function that builds the module and loads them, and convert FILE.py:FUNCTION",
        )
    if is_tar(head):
        return "a tar archive", "unpack it and give the model in it"
    return None


def stranger_at_end(tail: bytes) -> tuple[str, str] | None:
    """The same by the last bytes."""
    if tail.endswith(_TABLE_MAGIC):
        return (
            "a TensorFlow checkpoint, which has variables and no model",
            "export a SavedModel from the program that made it",
        )
    return None


def is_tar(head: bytes) -> bool:
    """By the first half kilobyte."""
    return head[_TAR_MARK] == b"ustar"
