"""One module for each kind of thing that can be asked for."""

__all__: list[str] = []
