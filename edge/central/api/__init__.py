"""The HTTP API of the central service."""

__all__: list[str] = []
