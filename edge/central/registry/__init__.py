"""Keys, and the signed models that a fleet may run."""

__all__: list[str] = []
