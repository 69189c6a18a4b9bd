"""The broker's files: who may come in, who may say what, and what each device takes with it."""

__all__: list[str] = []
