"""Which kind of input a manifest's model takes: a picture, a text or plain numbers.

Promises: one answer for whoever opens a model, checks a set-up or fits a release to a pipeline.
Leaves out: what is done with it.
Thread: any; pure.
"""

from __future__ import annotations

from edge.contract.manifest import ImageInput, InputSpec, TensorInput, TextInput
from edge.contract.messages import InputKind

__all__ = ["kind_of"]


def kind_of(spec: InputSpec) -> InputKind:
    """The kind of a manifest's `input`."""
    match spec:
        case ImageInput():
            return InputKind.IMAGE
        case TextInput():
            return InputKind.TEXT
        case TensorInput():
            return InputKind.TENSOR
