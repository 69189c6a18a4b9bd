"""From a trained model to files that a device runs. So far: the zoo that makes the demo's own models."""

__all__: list[str] = []
