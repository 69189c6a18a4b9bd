"""What a person may ask of a conversion.

Promises: one value for the command line and the Python API; defaults are safe.
Leaves out: parsing flags (`edge.commands`), doing it (`convert`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from converters.load.memory import available_bytes
from converters.samples.gather import Origin
from converters.spec import Budget, Format
from edge.contract.manifest import Manifest
from edge.dropin.found import Overrides

__all__ = ["Options"]

_NOTHING_SAID = Overrides()
_USUAL = Budget()
_SPARE_SHARE = 0.9  # of the memory that is free
_USUAL_MB = 8192  # where nobody says how much is free


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A conversion.

    Args:
        source: the trained model: a file, a SavedModel folder, or `file.py:function` for a PyTorch factory.
        out: folder for bundle, report and workspace.
        formats: which files to make.
        targets: boards or engine profiles that every variant must run on.
        calibration: samples that ranges come from; see `converters.samples.gather`.
        evaluation: samples that figures come from; by default those of `calibration` that it does not need.
        sample_scale: factor on float samples, for data that was not normalised.
        manifest: preprocessing, task and labels; by default what `edge inspect` would say of the float file, with
            `overrides` on top.
        vocabularies: content by the name that the manifest uses.
        card: text of `MODEL_CARD.md`; empty: none.
        recipes: by name; empty: the usual ladder.
        batch: the batch that is frozen into every file.
        input_shapes, input_dtypes: for factories, and for sizes that a source leaves free; batch included.
        custom_objects: a .py file whose public names are given to Keras.
        is_pickle_trusted: pickles run what their maker put in.
        calibration_samples: how many to use at most.
        evaluation_samples: how many to use at most; by default as many as an engine answers in some seconds, which
            the first run in a folder finds out.
        threads: processor threads of the engines that are measured.
        memory_mb: for any child process, in units of 2^20 bytes; by default nine tenths of what is free.
        timeout_s: wall seconds for any single step in a child process.
        search_s: wall seconds for ranking groups and searching mixed precision, each format.
        is_offline: make no environments, which downloads packages.
        command: how a report says it can be made again; empty: it does not say.
    """

    source: str
    out: Path
    formats: tuple[Format, ...] = ("tflite", "onnx")
    targets: tuple[str, ...] = ("any",)
    calibration: Origin | None = None
    evaluation: Origin | None = None
    sample_scale: float = 1.0
    manifest: Manifest | None = None
    overrides: Overrides = _NOTHING_SAID
    vocabularies: Mapping[str, bytes] = field(default_factory=dict)
    card: str = ""
    budget: Budget = _USUAL
    recipes: tuple[str, ...] = ()
    batch: int = 1
    input_shapes: tuple[tuple[int, ...], ...] = ()
    input_dtypes: tuple[str, ...] = ()
    custom_objects: str = ""
    is_pickle_trusted: bool = False
    calibration_samples: int = 200
    evaluation_samples: int | None = None
    threads: int = 1
    memory_mb: int | None = None
    timeout_s: float = 1800.0
    search_s: float = 300.0
    is_offline: bool = False
    command: str = ""

    @property
    def limit_mb(self) -> int:
        """Private memory that a child may take."""
        free = available_bytes()
        if self.memory_mb is not None or free is None:
            return self.memory_mb or _USUAL_MB
        return int(free * _SPARE_SHARE) >> 20
