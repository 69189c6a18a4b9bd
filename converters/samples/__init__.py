"""Samples of a model's inputs: read, made tensors by the device's own steps, and judged."""

__all__: list[str] = []
