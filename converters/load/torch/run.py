"""Runs a PyTorch module: what it looks like from outside, and what it says of samples.

Promises: float32 on the processor, no gradients; a module that answers differently each time is refused.
Leaves out: where the module comes from (`source`, `load.keras`), which samples run together (`batches`).
Thread: main, in a child process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from converters.load.batches import example, failing, most_at_once, predict_by_call
from converters.load.exported import distinct
from converters.load.messages import Predicted, PredictRequest
from converters.load.torch.masks import masks_at_work
from converters.spec import Note, Port, Signature
from converters.usercode import first_line
from edge.compute.tensors import Array
from edge.errors import UnsupportedSourceError

__all__ = ["Runnable", "attempt", "example_tensor", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runnable:
    """A module that takes and gives flat tensors in the signature's order. `at_once`: samples that may run together."""

    module: Any
    examples: tuple[Any, ...]
    signature: Signature
    at_once: int
    parameters: int = 0
    notes: tuple[Note, ...] = ()

    def predict(self, request: PredictRequest) -> Predicted:
        """Run samples through it.

        Raises:
            InputError: they do not fit.
            InferenceError: the module fails.
        """
        return predict_by_call(lambda arrays: _call(self.module, arrays), self.signature, self.at_once, request)


def example_tensor(shape: Sequence[int], dtype: str) -> Any:
    """A tensor to try a module on."""
    import torch

    return torch.from_numpy(example(shape, dtype))


def prepare(module: Any, examples: tuple[Any, ...], inputs: Sequence[str], outputs: Sequence[str] = ()) -> Runnable:
    """Try a module.

    Args:
        module: in evaluation mode, in float32.
        examples: a tensor for each input.
        inputs: a name for each.
        outputs: the same for the outputs, where they have names.

    Raises:
        UnsupportedSourceError: it fails, gives no tensors, or answers differently each time.
    """
    import torch

    named = tuple(zip(inputs, examples, strict=True))
    first = _tensors(attempt(module, examples, {}, named))
    masks = masks_at_work(module, examples)
    second = _tensors(attempt(module, examples, {}, named))
    if not all(isinstance(each, torch.Tensor) for each in first):
        kinds = ", ".join(type(each).__name__ for each in first)
        raise UnsupportedSourceError(f"E505 the model gives {kinds}; expected tensors")
    if not all(torch.equal(*(each.nan_to_num() for each in pair)) for pair in zip(first, second, strict=True)):
        raise UnsupportedSourceError(
            "E507 the model answers differently each time: something random stays on; call model.eval() before it is "
            "saved, and write F.dropout(x, p, training=self.training)"
        )
    signature = _signature(examples, first, inputs, outputs)
    return Runnable(
        module=module,
        examples=examples,
        signature=signature,
        at_once=most_at_once(
            lambda arrays: _call(module, arrays),
            [tensor.numpy() for tensor in examples],
            [tensor.numpy() for tensor in first],
        ),
        notes=masks,
    )


def attempt(module: Any, args: Sequence[Any], kwargs: dict[str, Any], named: Iterable[tuple[str, Any]]) -> Any:
    """Call a module; `named` are its input tensors, for the message.

    Raises:
        UnsupportedSourceError: it fails.
    """
    import torch

    try:
        with torch.no_grad():
            return module(*args, **kwargs)
    except MemoryError:
        raise
    except Exception as err:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in named)
        raise UnsupportedSourceError(
            f"E505 the model fails on an example ({shapes}): {type(err).__name__}: {first_line(err)}"
        ) from err


def _call(module: Any, arrays: Sequence[Array]) -> list[Array]:
    """Arrays in, arrays out."""
    import torch

    try:
        with torch.no_grad():
            return [each.numpy() for each in _tensors(module(*map(torch.from_numpy, arrays)))]
    except MemoryError:
        raise
    except Exception as err:
        raise failing(err) from err


def _tensors(answer: Any) -> tuple[Any, ...]:
    import torch

    return (answer,) if isinstance(answer, torch.Tensor) else tuple(answer)


def _signature(
    examples: Sequence[Any], answers: Sequence[Any], inputs: Sequence[str], outputs: Sequence[str]
) -> Signature:
    taken = distinct(inputs)
    if not outputs:
        outputs = ["output"] if len(answers) == 1 else [f"output_{place}" for place in range(len(answers))]
    names = distinct(outputs, taken)
    return Signature(
        inputs=tuple(_port(name, tensor) for name, tensor in zip(taken, examples, strict=True)),
        outputs=tuple(_port(name, tensor) for name, tensor in zip(names, answers, strict=True)),
    )


def _port(name: str, tensor: Any) -> Port:
    return Port(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))
