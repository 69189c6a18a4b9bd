"""What a loader is asked and what it answers; the same for every framework.

Promises: every loader module has `look(OpenRequest) -> Source`, `convert(ConvertRequest) -> Converted` and
`predict(PredictRequest) -> Predicted`; `look` comes first, and its process keeps the opened source for the calls after.
Leaves out: how a framework does it (the modules beside this one); starting the process (`source`).
Thread: any; pure.
"""

from __future__ import annotations

from msgspec import Struct

from converters.spec import FloatFile, Format, Note, SourceKind

__all__ = ["ConvertRequest", "Converted", "OpenRequest", "PredictRequest", "Predicted"]


class OpenRequest(Struct, frozen=True, kw_only=True):
    """A trained model and what a person has to say to have it opened."""

    path: str
    kind: SourceKind
    function: str = ""  # of a factory: the name of a function in the .py file at `path`
    custom_objects: str = ""  # a .py file whose public names are given to Keras
    is_pickle_trusted: bool = False  # a pickle runs what its maker put in; only a person can allow that
    batch: int = 1
    input_shapes: tuple[tuple[int, ...], ...] = ()  # batch included; for factories and for sizes left free
    input_dtypes: tuple[str, ...] = ()  # numpy's names; for factories. Empty: float32


class ConvertRequest(Struct, frozen=True, kw_only=True):
    """Make float files of the opened source."""

    folder: str  # exists; the files are written into it
    formats: tuple[Format, ...]


class Converted(Struct, frozen=True, kw_only=True):
    """The float files. A format that this framework cannot make itself is absent; a bridge makes it later."""

    files: tuple[FloatFile, ...]
    notes: tuple[Note, ...] = ()


class PredictRequest(Struct, frozen=True, kw_only=True):
    """Run samples through the source in its own framework, in float32.

    `inputs` is an `.npz` with one array for each input, in the source's order, each (samples, *the input's shape),
    batch included; `outputs` is the `.npz` to write, one array for each output, each (samples, *the output's shape).
    """

    inputs: str
    outputs: str


class Predicted(Struct, frozen=True, kw_only=True):
    """The outputs are written."""

    samples: int
