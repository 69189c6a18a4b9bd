"""The kinds of model that people start from, and the two that the demo ships, each made by one recipe."""

__all__: list[str] = []
