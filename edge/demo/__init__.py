"""The whole loop on one machine, with nothing downloaded."""

__all__: list[str] = []
