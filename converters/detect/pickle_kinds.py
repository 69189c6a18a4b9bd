"""Tells what a pickle holds by the classes that it names.

Promises: nothing is unpickled; a pickle that may be a source still needs a person's word that its maker is trusted.
Leaves out: listing the names (`pickle_names`).
Thread: any; pure.
"""

from __future__ import annotations

from pathlib import Path

from converters.detect.pickle_names import Named
from converters.spec import SourceKind
from edge.errors import UnsupportedSourceError

__all__ = ["joblib_kind", "torch_kind"]

# What tensors and plain data are made of. A file with these and no other class has weights and no module.
_PLAIN_MODULES = frozenset({
    "_codecs", "argparse", "builtins", "__builtin__", "collections", "copy_reg", "copyreg", "datetime", "pathlib",
    "torch", "torch._tensor", "torch._utils", "torch.nn.parameter", "torch.serialization", "torch.storage",
})  # fmt: skip
_EXPORT = "torch.export.save(torch.export.export(model.eval(), (x,)), 'model.pt2')"

# Libraries whose models have a way of their own.
_FAMILIES: tuple[tuple[str, str], ...] = (
    ("ultralytics", "a checkpoint of Ultralytics YOLO; export it: yolo export model={name} format=onnx"),
    ("models.yolo", "a checkpoint of YOLOv5; export it: python export.py --weights {name} --include onnx"),
    ("models.common", "a checkpoint of YOLOv5 or YOLOv7; export it with that repository's export.py to ONNX"),
    ("xgboost", "a pickle of XGBoost; export it to ONNX: onnxmltools.convert_xgboost"),
    ("lightgbm", "a pickle of LightGBM; export it to ONNX: onnxmltools.convert_lightgbm"),
    ("catboost", "a pickle of CatBoost; export it: model.save_model('model.onnx', format='onnx')"),
    ("keras", "a pickle of Keras; save the model: model.save('model.keras')"),
    ("tensorflow", "a pickle of TensorFlow; save the model: model.save('model.keras')"),
    ("fastai", "a learner of fastai; export its module: torch.export.export(learn.model.eval(), (x,))"),
)  # fmt: skip


def torch_kind(named: Named, path: Path, *, is_trusted: bool) -> SourceKind:
    """Of a file of `torch.save`.

    Raises:
        UnsupportedSourceError: weights without a module, another library's checkpoint, or a pickle and not trusted.
    """
    if not named.is_whole:
        raise UnsupportedSourceError(
            f"E500 {path} was cut short or is damaged (a part of a PyTorch file); copy or download it again"
        )
    _refuse_families(named, path)
    modules = _modules(named)
    if not modules - _PLAIN_MODULES - {module for module in modules if module.split(".")[0] == "numpy"}:
        kind = "a checkpoint of Lightning" if "pytorch-lightning_version" in named.strings else "weights (a state dict)"
        raise UnsupportedSourceError(
            f"E511 {path} has {kind} and not the module that they belong to; write a function that builds the module "
            "and loads them, and convert FILE.py:FUNCTION"
        )
    if not is_trusted:
        raise UnsupportedSourceError(
            f"E504 {path} is a pickle, which runs what its maker put in; better save {_EXPORT}, or, if you trust its "
            "maker, add --trust-pickle"
        )
    return SourceKind.TORCH_PICKLE


def joblib_kind(named: Named, path: Path, *, is_trusted: bool) -> SourceKind:
    """Of a file of joblib or a plain pickle.

    Raises:
        UnsupportedSourceError: no model of scikit-learn in it, or not trusted.
    """
    tops = {module.split(".")[0] for module in _modules(named)}
    if "sklearn" not in tops:
        _refuse_families(named, path)
        if "torch" in tops:
            raise UnsupportedSourceError(f"E503 {path} is a plain pickle of PyTorch; save it as .pt2: {_EXPORT}")
        held = ", ".join(sorted(named.classes)[:3]) or "plain data"
        raise UnsupportedSourceError(
            f"E502 {path} is a pickle without a model of scikit-learn in it, as far as can be told ({held}); give the "
            "model itself"
        )
    if not is_trusted:
        raise UnsupportedSourceError(
            f"E504 {path} is a pickle, which runs what its maker put in; better save it with skops.io.dump(model, "
            "'model.skops'), or, if you trust its maker, add --trust-pickle"
        )
    return SourceKind.SKLEARN_PICKLE


def _refuse_families(named: Named, path: Path) -> None:
    for start, what in _FAMILIES:
        if any(module == start or module.startswith(start + ".") for module in _modules(named)):
            raise UnsupportedSourceError(f"E502 {path} is {what.format(name=path.name)}")


def _modules(named: Named) -> set[str]:
    return {name.split(" ", 1)[0] for name in named.classes}
