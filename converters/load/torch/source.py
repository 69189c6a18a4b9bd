"""PyTorch: .pt2 files, functions that make a module, and pickled modules of a trusted maker.

Promises: one module is made, and it answers both the exporters and the samples; dropout is off; sizes are those of the
example inputs. TorchScript never comes here (`converters.detect.source`).
Leaves out: reading .pt2 (`program`), exporting (`export`), rewriting (`bags`).
Thread: main, in a child process.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.load.exported import digest
from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.load.torch.bags import exportable
from converters.load.torch.export import export
from converters.load.torch.flat import flat, parameter_names, plain
from converters.load.torch.program import open_program
from converters.load.torch.run import Runnable, example_tensor
from converters.spec import Note, Signature, Source, SourceKind
from converters.usercode import call_factory, first_line
from edge.errors import InputError, MissingExtraError, UnsupportedSourceError

__all__ = ["convert", "look", "predict"]

_OPENED: dict[str, Runnable] = {}  # one entry: what `look` opened, for the calls after it


def look(request: OpenRequest) -> Source:
    """Open the module and try it on an example.

    Raises:
        UnsupportedSourceError: it cannot be opened, traced or trusted; the message says what to do.
        InputError: shapes given that do not fit.
        MissingExtraError: PyTorch is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError as err:
        raise MissingExtraError("PyTorch", "torch") from err
    notes: tuple[Note, ...] = ()
    match request.kind:
        case SourceKind.TORCH_EXPORT:
            runnable = open_program(request)
        case SourceKind.TORCH_FACTORY:
            runnable, notes = _from_factory(request)
        case _:
            runnable, notes = _from_pickle(request)
    weights = {id(each): each.numel() for each in runnable.module.parameters()}
    runnable = replace(runnable, parameters=sum(weights.values()))
    _OPENED["source"] = runnable
    return Source(
        path=f"{request.path}:{request.function}" if request.function else request.path,
        kind=request.kind,
        sha256=digest(Path(request.path)),
        framework=f"torch {torch.__version__.partition('+')[0]}",
        signature=runnable.signature,
        parameters=runnable.parameters,
        notes=(*notes, *runnable.notes, *_batch_notes(runnable.signature, request)),
    )


def convert(request: ConvertRequest) -> Converted:
    """Write the float files.

    Raises:
        UnsupportedSourceError: the module cannot be traced.
        MissingExtraError: an exporter is not installed.
    """
    runnable = _OPENED["source"]
    module, notes = exportable(runnable)
    done = export(module, runnable.examples, runnable.signature, request, parameters=runnable.parameters)
    return Converted(files=done.files, notes=(*notes, *done.notes))


def predict(request: PredictRequest) -> Predicted:
    """Run samples through the module itself.

    Raises:
        InputError: they do not fit.
    """
    return _OPENED["source"].predict(request)


def _from_factory(request: OpenRequest) -> tuple[Runnable, tuple[Note, ...]]:
    """A function that returns a module, or (module, example inputs)."""
    import torch

    made = call_factory(Path(request.path), request.function)
    module, given = made if isinstance(made, tuple) and len(made) == 2 else (made, None)  # noqa: PLR2004
    if not isinstance(module, torch.nn.Module):
        raise UnsupportedSourceError(
            f"E500 {request.function} returns {type(module).__name__}; expected a torch.nn.Module, or (module, "
            "(example,)); of Keras give the saved .keras file"
        )
    return _from_module(module, given, request)


def _from_pickle(request: OpenRequest) -> tuple[Runnable, tuple[Note, ...]]:
    import torch

    if not request.is_pickle_trusted:
        raise UnsupportedSourceError(
            "E504 a pickle runs what its maker put in; add --trust-pickle if you trust its maker"
        )
    try:
        module = torch.load(request.path, map_location="cpu", weights_only=False)
    except MemoryError:
        raise
    except Exception as err:
        raise UnsupportedSourceError(
            f"E505 this pickle does not open here ({type(err).__name__}: {first_line(err)}); its classes must be "
            "importable: use FILE.py:FUNCTION beside them, or save a .pt2 where it was made"
        ) from err
    if not isinstance(module, torch.nn.Module):
        raise UnsupportedSourceError(
            f"E511 the pickle holds {type(module).__name__} and no module; write a function that builds the module and "
            "loads its weights, and convert FILE.py:FUNCTION"
        )
    return _from_module(module, None, request)


def _from_module(module: Any, given: Any, request: OpenRequest) -> tuple[Runnable, tuple[Note, ...]]:
    import torch

    module.eval()
    notes = _in_float32(module)
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if given is None or request.input_shapes:
        args = _given_shapes(request)
    elif isinstance(given, torch.Tensor):
        args = (given,)
    elif isinstance(given, dict):
        kwargs = given
    else:
        args = tuple(given)
    args, kwargs = plain((args, kwargs))
    return flat(module, args, kwargs, parameter_names(module, args, kwargs)), notes


def _in_float32(module: Any) -> tuple[Note, ...]:
    import torch

    tensors = [*module.parameters(), *module.buffers()]
    kinds = {each.dtype for each in tensors if each.is_floating_point()} - {torch.float32}
    if not kinds:
        return ()
    module.float()
    names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    return (Note(code="I510", message=f"its weights were {names}; it is converted and compared in float32"),)


def _given_shapes(request: OpenRequest) -> tuple[Any, ...]:
    if not request.input_shapes:
        raise UnsupportedSourceError(
            "E506 nothing says what the model takes; return (module, (example,)) from the function, or give each "
            "input's shape, batch included, with: --input-shape 1,3,224,224"
        )
    dtypes = request.input_dtypes or ("float32",) * len(request.input_shapes)
    if len(dtypes) != len(request.input_shapes):
        raise InputError(f"{len(request.input_shapes)} input shapes and {len(dtypes)} dtypes; give one for each input")
    return tuple(example_tensor(shape, dtype) for shape, dtype in zip(request.input_shapes, dtypes, strict=True))


def _batch_notes(signature: Signature, request: OpenRequest) -> tuple[Note, ...]:
    first = signature.inputs[0]
    if request.input_shapes or len(first.shape) < 2 or first.shape[0] == request.batch:  # noqa: PLR2004 - no batch
        return ()
    return (
        Note(
            code="W506",
            message=f"input {first.name!r} keeps the shape of its example, {list(first.shape)}; for batches of "
            f"{request.batch} make the example one of {request.batch}",
        ),
    )
