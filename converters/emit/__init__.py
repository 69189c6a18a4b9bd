"""From a canonical float file and a recipe to a variant."""

__all__: list[str] = []
