"""What a source is, told by its content; nothing in it is run."""

__all__: list[str] = []
