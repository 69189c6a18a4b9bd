"""The central database."""

__all__: list[str] = []
