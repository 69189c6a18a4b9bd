"""The daemon on the device."""

__all__: list[str] = []
