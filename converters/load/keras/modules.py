"""A Keras model on the torch backend as a PyTorch module for exporters.

Promises: flat tensors in and out, inference only; layers keep their names in what is exported: exporters name tensors
after PyTorch modules, and Keras calls its layers past PyTorch.
Leaves out: exporting (`load.torch.export`).
Thread: main, in a child process; imported only where PyTorch and Keras are there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from torch import nn

__all__ = ["KerasModule", "Layer"]


class Layer(nn.Module):  # type: ignore[misc]
    """Stands for a layer in the tree of modules; the layer itself is no child of it, or it would have two names."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.held = [layer]

    def forward(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the layer by Keras's own way."""
        return call(self.held[0], *args, **kwargs)


class KerasModule(nn.Module):  # type: ignore[misc]
    """`structure` is how the model takes its inputs: a tensor, a list, a dict of any content."""

    def __init__(self, model: Any, structure: Any) -> None:
        super().__init__()
        self._held = [model]
        self._structure = structure
        self._stand_ins: dict[int, Layer] = {}
        self._stand_in(self, model)
        self.training = False

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        """All outputs, flat."""
        given = keras.tree.pack_sequence_as(self._structure, list(tensors))
        call = keras.layers.Layer.__call__

        def through_stand_in(layer: Any, *args: Any, **kwargs: Any) -> Any:
            named = self._stand_ins.get(id(layer))
            return call(layer, *args, **kwargs) if named is None else named(call, *args, **kwargs)

        keras.layers.Layer.__call__ = through_stand_in
        try:
            answer = self._held[0](given, training=False)
        finally:
            keras.layers.Layer.__call__ = call
        return tuple(keras.tree.flatten(answer))

    def _stand_in(self, parent: nn.Module, model: Any) -> None:
        for layer in getattr(model, "layers", ()):
            if id(layer) in self._stand_ins:
                continue
            named = Layer(layer)
            self._stand_ins[id(layer)] = named
            name = layer.name.replace(".", "_")
            parent.add_module(name if not hasattr(parent, name) else f"{name}_layer", named)
            self._stand_in(named, layer)
