"""An inference runtime for small machines that stand far away.

The map, from the ground up:

- `errors`, `clock`, `durable`: the exception tree, time, and atomic disk steps.
- `reading`, `toml` with `toml_lines` and `toml_edit`, `zstd`, `lock`, `child`: files that people name, strict configs
  whose mistakes have a line and whose keys can be changed, compression, one process at a time on one database, work
  that may kill its process.
- `contract`: what device, central service and converters agreed on. No I/O, no clock.
- `compute`: pure numbers on numpy and OpenCV: Sobel, the motion gate, preprocessing, tokenizers, decoding.
- `engines`: the only package that touches native runtimes (LiteRT, tflite-runtime, ONNX Runtime).
- `wire`: MQTT, behind one protocol.
- `dropin`: reads what other tools left in or beside a model file and writes a manifest from it.
- `media`: pictures, clips, texts and numbers from disk.
- `model`: a model file made callable: prepare, run, decode. `golden`, `selftest`: samples with the answers of the
  trained model, and their replay on the engines of a machine.
- `device`: the daemon. `central`: the service that keeps the fleet's results and its signed models. They never import
  each other.
- `commands`, `cli`: the one command `edge`. `demo`: the whole loop on one machine.

Two sentences carry everything: a result, once accepted, reaches the central service or leaves a recorded gap; and at
every instant the device has a model that is known to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from edge.model import Model

__all__ = ["__version__", "load_model"]

__version__ = "0.1.0"


def load_model(path: str | PathLike[str], *, labels: str | PathLike[str] | None = None, threads: int = 1) -> Model:
    """Open a model file or bundle and return it ready to call on a picture or a text.

    Args:
        path: a `.tflite` or `.onnx` file, or a bundle folder with a `manifest.json`.
        labels: a labels file to use instead of whatever the model brings.
        threads: processor threads the engine may use.

    Raises:
        ModelError: the file is no model, or the engine refuses it.
        MissingExtraError: the engine that this file needs is not installed.
    """
    from edge.model import Model

    return Model.open(path, labels=labels, threads=threads)
