"""A model file made callable: prepare, run, decode.

Promises: what `recognise` found in or beside the file is what runs; pictures are written straight into the engine's
memory; a bad input costs that input and names what was expected.
Leaves out: cameras, rates, keeping results (`device`).
Thread: one thread opens, runs and closes a model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np

from edge.clock import Clock, SystemClock
from edge.compute.decode import Decode, compile_decoder
from edge.compute.placement import Placement
from edge.compute.steps import Preparation, compile_steps
from edge.compute.tensors import Array, TensorSpec, quantize
from edge.compute.text import TextPreparation, compile_text
from edge.contract.kinds import kind_of
from edge.contract.manifest import (
    ImageInput,
    Interpolation,
    Letterbox,
    Manifest,
    Resize,
    TensorInput,
    TextInput,
)
from edge.contract.messages import InputKind, Item, ModelRef, Timing
from edge.dropin.found import Found, Overrides, Rule
from edge.dropin.recognise import recognise
from edge.engines.api import Engine
from edge.engines.open import open_engine
from edge.errors import InferenceError, ManifestError, MediaError
from edge.media import LONGEST_TEXT, as_picture, as_text

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Model", "Prediction"]

_Input: TypeAlias = "str | bytes | PathLike[str] | Array | float"
_TAKES = {InputKind.IMAGE: "a picture", InputKind.TEXT: "a text", InputKind.TENSOR: "plain numbers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model said of one input. Sizes are those of the picture, 0 for texts and numbers.

    `mask` is a class map (h, w) in the model's view of the picture; `placement.mask_to_frame` brings it to the frame.
    """

    kind: InputKind
    items: tuple[Item, ...]
    timing_ms: Timing
    mask: Array | None = None
    placement: Placement | None = None
    width_px: int = 0
    height_px: int = 0


class Model:
    """One model, open. Call it on a picture, a text or numbers; a context manager."""

    def __init__(self, found: Found, engine: Engine, clock: Clock, *, threads: int = 1, target: str = "") -> None:
        """Take over `engine`; use `Model.open` or `Model.of`."""
        self._engine = engine
        self._clock = clock
        self.manifest: Manifest = found.manifest
        self.rules: tuple[Rule, ...] = found.rules
        self.kind = kind_of(found.manifest.input)
        self.inputs: tuple[TensorSpec, ...] = engine.inputs
        self.ref = ModelRef(
            name=found.manifest.name,
            version=found.manifest.version,
            digest=found.digest,
            engine=engine.runtime,
            precision=next((v.precision for v in found.manifest.variants if v.sha256 == found.digest), ""),
            threads=threads,
            target=target,
        )
        self._decode: Decode = compile_decoder(found.manifest.output, found.manifest.labels, engine.outputs)
        self._image: Preparation | None = None
        self._text: TextPreparation | None = None
        match found.manifest.input:
            case ImageInput(tensor=name):
                self._place = _input_place(name, engine.inputs)
                self._image = compile_steps(found.manifest.input, engine.inputs[self._place])
            case TextInput():
                self._text = compile_text(found.manifest.input, found.files, engine.inputs)
            case TensorInput():
                self._axes = _axes(found, engine.inputs)

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        *,
        labels: str | PathLike[str] | None = None,
        threads: int = 1,
        overrides: Overrides | None = None,
        interpolation: Interpolation | None = None,
        clock: Clock | None = None,
    ) -> Model:
        """Open a model file or bundle.

        Args:
            path: a `.tflite` or `.onnx` file, or a folder with a `manifest.json`.
            labels: a labels file to use instead of whatever the model brings.
            threads: processor threads the engine may use.
            overrides: what a person knows better than the file.
            interpolation: how pictures change size, instead of what the manifest says. LINEAR takes a tenth of the time
                of ANTIALIAS, but skips pixels: at half the size scores move by up to 0.25, at a sixth 0.89 became 0.25.
            clock: where stage durations come from; the machine's own by default.

        Raises:
            ModelError: the file is no model, or the engine refuses it.
            ManifestError: what the model wants or says cannot be told, or contradicts its tensors.
            MissingExtraError: what this model needs is not installed.
        """
        chosen = overrides or Overrides()
        if labels is not None:
            chosen = replace(chosen, labels=Path(labels))
        found = recognise(Path(path), overrides=chosen)
        return cls.of(found, threads=threads, interpolation=interpolation, clock=clock)

    @classmethod
    def of(
        cls,
        found: Found,
        *,
        threads: int = 1,
        interpolation: Interpolation | None = None,
        clock: Clock | None = None,
        target: str = "",
    ) -> Model:
        """Open a model that was read and recognised already: the engine gets the very bytes in `found`.

        Args:
            found: of `edge.dropin.recognise`.
            threads: as `open`.
            interpolation: as `open`.
            clock: as `open`.
            target: the signed release it belongs to, for `ref`.

        Raises:
            As `open`.
        """
        if interpolation is not None:
            found = replace(found, manifest=_with_interpolation(found.manifest, interpolation))
        engine = open_engine(found.content, threads=threads)
        try:
            return cls(found, engine, clock or SystemClock(), threads=threads, target=target)
        except BaseException:
            engine.close()
            raise

    def __call__(self, given: _Input) -> Prediction:
        """Infer one input.

        Args:
            given: for a model of pictures a path, a file's bytes, or a uint8 array: (h, w, 3) BGR, (h, w) gray or
                (h, w, 4) BGRA; for a model of texts a text (or its UTF-8 bytes), or the `Path` of one; for one of
                numbers an array or a number, in real units, its axes in the bundle's order whatever the variant's is.

        Raises:
            MediaError: the picture or text cannot be read.
            InferenceError: it does not fit the model, or the engine failed.
        """
        match self.kind:
            case InputKind.IMAGE:
                return self.infer_image(as_picture(given))
            case InputKind.TEXT:
                return self.infer_text(as_text(given))
            case InputKind.TENSOR:
                return self.infer_tensor(given)

    def infer_image(self, image_bgr: Array) -> Prediction:
        """Infer a picture, uint8, (h, w, 3), BGR; it is not written to.

        Raises:
            InferenceError: the model takes no pictures, the picture does not fit, or the engine failed.
        """
        if self._image is None:
            raise InferenceError(f"{self.ref.name} takes {_TAKES[self.kind]}, not a picture")
        start = self._clock.monotonic_s()
        placement, tensors = self._prepare(self._image, image_bgr)
        if not placement.is_found:
            prepared = self._clock.monotonic_s()
            return _prediction(InputKind.IMAGE, (), Timing(prepare=_ms(start, prepared)), placement=placement)
        return self._finish(tensors, placement, start)

    def infer_text(self, text: str) -> Prediction:
        """Infer a text.

        Raises:
            MediaError: above a million characters.
            InferenceError: the model takes no text, or the engine failed.
        """
        if self._text is None:
            raise InferenceError(f"{self.ref.name} takes {_TAKES[self.kind]}, not a text")
        if len(text) > LONGEST_TEXT:
            raise MediaError(f"a text of {len(text):,} characters is above the limit of {LONGEST_TEXT:,}; split it")
        start = self._clock.monotonic_s()
        return self._finish(self._text(text), None, start)

    def infer_tensor(self, *given: object) -> Prediction:
        """Infer numbers, one array for each input of the model; real units, quantised here where the model wants that.

        Axes are in the order that the bundle's golden samples have: every variant of a bundle takes the same arrays.

        Raises:
            InferenceError: the model takes no plain numbers, they do not fit, or the engine failed.
        """
        if self.kind is not InputKind.TENSOR:
            raise InferenceError(f"{self.ref.name} takes {_TAKES[self.kind]}, not plain numbers")
        specs = self._engine.inputs
        if len(given) != len(specs):
            raise InferenceError(f"{self.ref.name} has {len(specs)} inputs and was given {len(given)}")
        start = self._clock.monotonic_s()
        tensors = tuple(_as_tensor(one, spec, order) for one, spec, order in zip(given, specs, self._axes, strict=True))
        return self._finish(tensors, None, start)

    def close(self) -> None:
        """Give the engine's memory back. Idempotent."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, prepare: Preparation, image: Array) -> tuple[Placement, tuple[Array, ...]]:
        """Into the engine's own memory where it has any, that is where no dimension is free."""
        if -1 in self._engine.inputs[self._place].shape:
            tensor, placement = prepare(image)
            return placement, (tensor,)
        placements: list[Placement] = []

        def write(out: Array) -> None:
            placements.append(prepare.write(image, out))

        self._engine.fill(self._place, write)
        return placements[0], ()

    def _finish(self, tensors: tuple[Array, ...], placement: Placement | None, start: float) -> Prediction:
        prepared = self._clock.monotonic_s()
        outputs = self._engine.run(tensors)
        ran = self._clock.monotonic_s()
        decoded = self._decode(outputs, placement)
        decided = self._clock.monotonic_s()
        timing = Timing(prepare=_ms(start, prepared), run=_ms(prepared, ran), decode=_ms(ran, decided))
        items = decoded.items
        if placement is not None and placement.region is not None:
            items = tuple(_placed(item, placement) for item in items)
        return _prediction(self.kind, items, timing, placement=placement, mask=decoded.mask)


def _with_interpolation(manifest: Manifest, interpolation: Interpolation) -> Manifest:
    if not isinstance(manifest.input, ImageInput):
        return manifest
    steps = tuple(
        msgspec.structs.replace(step, interpolation=interpolation) if isinstance(step, Resize | Letterbox) else step
        for step in manifest.input.steps
    )
    return msgspec.structs.replace(manifest, input=msgspec.structs.replace(manifest.input, steps=steps))


def _prediction(
    kind: InputKind,
    items: tuple[Item, ...],
    timing: Timing,
    *,
    placement: Placement | None = None,
    mask: Array | None = None,
) -> Prediction:
    return Prediction(
        kind=kind,
        items=items,
        timing_ms=timing,
        mask=mask,
        placement=placement,
        width_px=0 if placement is None else placement.width_px,
        height_px=0 if placement is None else placement.height_px,
    )


def _ms(start_s: float, end_s: float) -> float:
    return round((end_s - start_s) * 1000.0, 3)


def _placed(item: Item, placement: Placement) -> Item:
    """What was read off a located label is where the label is."""
    region = placement.region
    if item.box is not None or region is None:
        return item
    pixels = (
        round(region.x1 * placement.width_px),
        round(region.y1 * placement.height_px),
        round(region.x2 * placement.width_px),
        round(region.y2 * placement.height_px),
    )
    return Item(
        label=item.label,
        score=item.score,
        index=item.index,
        box=region,
        box_px=pixels,
        value=item.value,
        pixels=item.pixels,
        vector=item.vector,
    )


def _input_place(name: str | None, inputs: tuple[TensorSpec, ...]) -> int:
    names = [spec.name for spec in inputs]
    if name is None and len(inputs) == 1:
        return 0
    if name in names and len(inputs) == 1:
        return names.index(name)
    raise ManifestError(f"expected a model with one picture as its input, and this one has {', '.join(names)}")


def _axes(found: Found, inputs: tuple[TensorSpec, ...]) -> tuple[tuple[int, ...], ...]:
    """Which axis of what is given each axis of an input is, the batch axis included; () where they are the same.

    Raises:
        ManifestError: the manifest's are no order of this model's axes.
    """
    orders = next((each.axes for each in found.manifest.variants if each.file == found.path.name), ())
    if not orders:
        return ((),) * len(inputs)
    if len(orders) != len(inputs) or any(
        sorted(order) != list(range(len(spec.shape) - 1)) for order, spec in zip(orders, inputs, strict=True)
    ):
        wants = " and ".join(str(spec.shape) for spec in inputs)
        raise ManifestError(f"manifest gives {found.path.name} the axes {orders}, but its inputs are {wants}")
    return tuple((0, *(axis + 1 for axis in order)) if list(order) != sorted(order) else () for order in orders)


def _as_tensor(given: object, spec: TensorSpec, order: tuple[int, ...]) -> Array:
    """Real numbers in the shape and dtype of an input; a missing batch axis and free dimensions are filled in.

    `order` says which axis of `given` each axis of the input is; empty: the same.
    """
    try:
        real = np.asarray(given, np.float64)
    except (TypeError, ValueError) as err:
        raise InferenceError(f"expected numbers for input {spec.name!r}, got {type(given).__name__}") from err
    shape = tuple(spec.shape[order.index(axis)] for axis in range(len(order))) if order else spec.shape
    if -1 not in shape:
        fits = real.size == int(np.prod(shape, dtype=np.int64))
    else:
        real = real.reshape((1,) * (len(shape) - real.ndim) + real.shape) if real.ndim < len(shape) else real
        fits = real.ndim == len(shape) and all(want in {-1, have} for want, have in zip(shape, real.shape, strict=True))
        shape = real.shape
    if not fits:
        raise InferenceError(f"input {spec.name!r} wants {shape} {spec.dtype}, got {real.size} numbers")
    with np.errstate(over="ignore"):
        is_finite = bool(np.isfinite(real.astype(np.float32)).all())
    if not is_finite:
        raise InferenceError(f"input {spec.name!r}: expected finite numbers, got NaN, infinity or one past 3.4e38")
    real = real.reshape(shape)
    return quantize(np.ascontiguousarray(real.transpose(order)) if order else real, spec)
