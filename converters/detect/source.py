"""Tells what a trained model comes as, by its content and never by its name.

Promises: no model is opened and nothing in a file is run to tell; what cannot be converted is refused here, in one
sentence that says what it is and what to do instead.
Leaves out: whether the model is sound (`load`).
Thread: main; reads files.
"""

from __future__ import annotations

import ast
import bz2
import lzma
import mmap
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from converters.detect.pickle_kinds import joblib_kind, torch_kind
from converters.detect.pickle_names import LEGACY_TORCH, is_pickle, list_names
from converters.detect.strangers import SOURCES, is_tar, stranger, stranger_at_end
from converters.spec import SourceKind
from edge.engines.protobuf import fields, messages
from edge.errors import InputError, UnsupportedSourceError
from edge.reading import open_file

__all__ = ["Detected", "detect"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
# What Python's zipfile raises at damage; a RuntimeError is a member that wants a password.
_ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, ValueError, EOFError)
_HEAD_BYTES = 1 << 20
_PICKLE_BYTES = 64 << 20  # classes are named long before; tensors of torch lie elsewhere
_LARGEST_BYTES = 32 << 30  # a thousand times what boards run; a slip of the finger, or a disk image
_FACTORY = re.compile(r"(?P<file>.+):(?P<function>[A-Za-z_]\w*)")
_MODELS_IN_ARCHIVES = (".onnx", ".tflite", ".keras", ".h5", ".hdf5", ".pt2", ".pt", ".pth", ".skops", ".joblib", ".pkl")


class Detected(Struct, frozen=True, kw_only=True):
    """A source that may be opened. `function` is the factory's, in the .py file at `path`."""

    path: Path
    kind: SourceKind
    function: str = ""


def detect(source: str, *, is_pickle_trusted: bool = False) -> Detected:
    """What `source` is: a path, or FILE.py:FUNCTION.

    Raises:
        InputError: it is not there, or cannot be read.
        UnsupportedSourceError: it is no source of a conversion, or a pickle and not trusted.
    """
    path = Path(source)
    if not path.exists() and (factory := _FACTORY.fullmatch(source)):
        return _factory(Path(factory["file"]), factory["function"])
    try:
        if path.is_dir():
            return _folder(path)
        with open_file(path) as file:
            kind = _file(file, path, is_trusted=is_pickle_trusted)
    except OSError as err:
        raise InputError(f"E500 {source}: {err.strerror or err}") from err
    if kind is SourceKind.SAVEDMODEL:
        return Detected(path=path.parent, kind=kind)
    return Detected(path=path, kind=kind)


def _factory(path: Path, function: str) -> Detected:
    try:
        with open_file(path) as file:
            tree = _parsed(file.read(_HEAD_BYTES))
    except OSError as err:
        raise InputError(f"E500 {path}: {err.strerror or err}; expected FILE.py:FUNCTION") from err
    except (SyntaxError, ValueError) as err:
        raise UnsupportedSourceError(f"E500 {path}: no Python file that this Python reads ({err})") from err
    names, has_more = _top_level(tree)
    if function not in names and not has_more:
        there = ", ".join(sorted(name for name in names if not name.startswith("_"))[:8]) or "nothing"
        raise UnsupportedSourceError(f"E500 {path} defines no {function!r}; it defines {there}")
    return Detected(path=path, kind=SourceKind.TORCH_FACTORY, function=function)


def _parsed(code: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in somebody's file
        return ast.parse(code)


def _top_level(tree: ast.Module) -> tuple[set[str], bool]:
    """The names that a file defines, and whether there may be more than can be seen."""
    names: set[str] = set()
    has_more = False
    rest: list[ast.AST] = [tree]
    while rest:
        node = rest.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
            continue  # what is defined in it is its own
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom):
            has_more |= any(alias.name == "*" for alias in node.names)
            names |= {alias.asname or alias.name for alias in node.names}
        rest.extend(ast.iter_child_nodes(node))
    return names, has_more


def _folder(path: Path) -> Detected:
    names = {entry.name for entry in path.iterdir()}
    if {"saved_model.pb", "saved_model.pbtxt"} & names:
        return Detected(path=path, kind=SourceKind.SAVEDMODEL)
    models = sorted(name for name in names if name.endswith(_MODELS_IN_ARCHIVES))
    if not names:
        what, instead = "an empty folder", f"expected {SOURCES}"
    elif "manifest.json" in names and models:
        what, instead = "a bundle, which is finished", "check it with: edge selftest FOLDER"
    elif "config.json" in names and "metadata.json" in names:
        what, instead = "an unpacked .keras file", "give the .keras file, or zip the folder's content"
    elif "config.json" in names:
        what = "a Hugging Face model"
        instead = "export it with: optimum-cli export onnx --model FOLDER OUT, and convert OUT/model.onnx"
    elif "Manifest.json" in names:
        what, instead = "a Core ML package", "give the model that it was made from, or an ONNX export of it"
    elif "variables" in names or any(name.endswith(".index") for name in names):
        what, instead = "a folder without saved_model.pb", "copy all of the SavedModel, or save it again"
    elif models:
        what, instead = "a folder", f"give the file in it: {', '.join(models[:3])}"
    else:
        what, instead = "a folder without saved_model.pb", f"expected {SOURCES}"
    raise UnsupportedSourceError(f"E502 {path} is {what}; {instead}")


def _file(file: BinaryIO, path: Path, *, is_trusted: bool) -> SourceKind:
    head = file.read(_HEAD_BYTES)
    size = file.seek(0, 2)
    if not head:
        raise UnsupportedSourceError(f"E500 {path} is empty; copy or download it again")
    if size > _LARGEST_BYTES:
        raise UnsupportedSourceError(
            f"E500 {path} has {size:,} bytes, above the limit of {_LARGEST_BYTES:,}; is it a model?"
        )
    if head[4:8] == b"TFL3":
        return SourceKind.TFLITE
    if head.startswith(_HDF5):
        return _hdf5(head, size, path)
    if head.startswith(_ZIP):
        return _archive(file, path, is_trusted=is_trusted)
    if found := stranger(head):
        raise UnsupportedSourceError(f"E502 {path} is {found[0]}; {found[1]}")
    return _pickle(file, head, path, is_trusted=is_trusted) or _protobuf(file, head, path)


def _hdf5(head: bytes, size: int, path: Path) -> SourceKind:
    """Refuse a file that ends before the end that its superblock states (HDF5 File Format Specification, II.A)."""
    place = {0: 40, 1: 44}.get(int.from_bytes(head[8:9], "little"), 28)  # by the superblock's version
    end = int.from_bytes(head[place : place + 8], "little")
    if end > size:
        raise _cut_short(path, f"{size:,} of {end:,} bytes of an HDF5 file")
    return SourceKind.KERAS_H5


def _archive(file: BinaryIO, path: Path, *, is_trusted: bool) -> SourceKind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if member := next((name for name in names if name.endswith("/data.pkl") or name == "data.pkl"), None):
                if any("/code/" in name or name.endswith("constants.pkl") for name in names):
                    raise UnsupportedSourceError(_torchscript(path))
                with archive.open(member) as pickled:
                    return torch_kind(list_names(pickled.read(_PICKLE_BYTES)), path, is_trusted=is_trusted)
            if "schema.json" in names:
                with archive.open("schema.json") as schema:
                    if b"_skops_version" in schema.read(_PICKLE_BYTES):
                        return SourceKind.SKOPS
    except _ZIP_DAMAGE as err:
        raise _cut_short(path, f"a zip archive that is damaged: {err}") from err
    return _archive_by_names(names, path)


def _archive_by_names(names: list[str], path: Path) -> SourceKind:
    last = {name.rsplit("/", 1)[-1] for name in names}
    if {"config.json", "metadata.json"} <= set(names):
        return SourceKind.KERAS
    if "serialized_exported_program.json" in last or any(
        "models/" in name and name.endswith(".json") for name in names
    ):
        return SourceKind.TORCH_EXPORT
    models = sorted(name for name in names if name.endswith(_MODELS_IN_ARCHIVES))
    if "archive_format" in last:
        what, instead = "a package that PyTorch compiled for one machine", "save the .pt2 of torch.export.save instead"
    elif "saved_model.pb" in last:
        what, instead = "a zip archive with a SavedModel in it", "unpack it and give the folder"
    elif models:
        what, instead = "a zip archive", f"unpack it and give the model in it: {', '.join(models[:3])}"
    elif names and all(name.endswith(".npy") for name in names):
        what, instead = "arrays of NumPy", "give the model; data goes to --calib and --eval"
    else:
        held = ", ".join(sorted(names)[:3]) or "nothing"
        what, instead = f"a zip archive with {held} in it", f"expected {SOURCES}"
    raise UnsupportedSourceError(f"E502 {path} is {what}; {instead}")


def _torchscript(path: Path) -> str:
    return (
        f"E503 {path} is a TorchScript file, which no exporter takes any more; save the nn.Module that it was made "
        "from: torch.export.save(torch.export.export(model.eval(), (x,)), 'model.pt2')"
    )


def _unpacked(head: bytes) -> bytes | None:
    """The first bytes of what a compressed file holds; None: it is none."""
    try:
        if head[:2] == b"\x1f\x8b":
            return zlib.decompressobj(31).decompress(head, _HEAD_BYTES)
        if head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0:  # RFC 1950, 2.2
            return zlib.decompressobj().decompress(head, _HEAD_BYTES)
        if head[:3] == b"BZh":
            return bz2.BZ2Decompressor().decompress(head, _HEAD_BYTES)
        if head[:5] == b"\xfd7zXZ":
            return lzma.LZMADecompressor().decompress(head, _HEAD_BYTES)
    except (zlib.error, OSError, lzma.LZMAError):
        return b""
    return None


def _pickle(file: BinaryIO, head: bytes, path: Path, *, is_trusted: bool) -> SourceKind | None:
    """A bare pickle, or one that joblib compressed; None: neither."""
    if head.startswith(LEGACY_TORCH):
        file.seek(0)
        return torch_kind(list_names(file.read(_PICKLE_BYTES), pickles=4), path, is_trusted=is_trusted)
    inner = _unpacked(head)
    if is_pickle(head if inner is None else inner):
        return joblib_kind(list_names(head if inner is None else inner), path, is_trusted=is_trusted)
    if inner is None:
        return None
    what = "a compressed tar archive" if is_tar(inner) else "a compressed file"
    raise UnsupportedSourceError(f"E502 {path} is {what}; unpack it and give the model in it")


def _protobuf(file: BinaryIO, head: bytes, path: Path) -> SourceKind:
    """ONNX, SavedModel and what else is protobuf: no magic number, so the fields have to tell."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as content:
        found, is_whole = _top_fields(content)
        is_graph = is_whole and found.get(1) is True and _is_graph_def(content)
        tail = bytes(content[-8:])
    if found.get(1) is False and found.get(7) is True and is_whole:
        return SourceKind.ONNX
    if found == {1: False, 2: True} and is_whole:
        if path.name == "saved_model.pb":
            return SourceKind.SAVEDMODEL
        raise UnsupportedSourceError(f"E502 {path} is a part of a SavedModel; give the folder that held it")
    if found.get(1) is False and head[:1] == b"\x08" and not is_whole:
        raise _cut_short(path, "a part of an ONNX file")
    what = _other_protobuf(found, tail, is_whole=is_whole, is_graph=is_graph)
    if _is_python(head):
        what = f"a Python file; name the function in it that makes the model: {path}:FUNCTION"
    raise UnsupportedSourceError(f"E502 {path} is {what}")


def _top_fields(content: memoryview) -> tuple[dict[int, bool], bool]:
    """Whether each field of a message holds bytes, and whether it is protobuf to its end."""
    found: dict[int, bool] = {}
    try:
        for number, value in fields(content):
            found[number] = not isinstance(value, int)
    except ValueError:
        return found, False
    return found, True


def _is_python(head: bytes) -> bool:
    try:
        tree = _parsed(head)
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom) for node in tree.body)


def _is_graph_def(content: memoryview) -> bool:
    """A frozen graph of TensorFlow: each field 1 is a node with a name and an operation."""
    try:
        first = next(messages(content, 1))
        return {1, 2} <= {number for number, value in fields(first) if not isinstance(value, int)}
    except (ValueError, StopIteration):
        return False


def _other_protobuf(found: dict[int, bool], tail: bytes, *, is_whole: bool, is_graph: bool) -> str:
    if is_graph:
        return (
            "a frozen graph of TensorFlow 1; turn it into ONNX: python -m tf2onnx.convert --graphdef FILE "
            "--inputs IN:0 --outputs OUT:0 --output model.onnx"
        )
    if is_whole and found.get(1) is False and any(number >= 200 for number in found):  # noqa: PLR2004 - Core ML's Model.Type
        return "a Core ML model; give the model that it was made from, or an ONNX export of it"
    if is_whole and 100 in found:  # noqa: PLR2004 - caffe.proto: NetParameter.layer
        return "a Caffe model; give an ONNX export of it"
    if other := stranger_at_end(tail):
        return "; ".join(other)
    return f"no model that can be told by its content; expected {SOURCES}"


def _cut_short(path: Path, what: str) -> UnsupportedSourceError:
    return UnsupportedSourceError(f"E500 {path} was cut short or is damaged ({what}); copy or download it again")
