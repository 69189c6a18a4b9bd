"""What a file is worth: run on every engine, compared with its source, held against the engines' profiles."""

__all__: list[str] = []
