"""The models that the demo ships, each made by one script: data, training, conversion, measurement, card."""

__all__: list[str] = []
