"""Pure numbers on numpy and OpenCV, shared by device and converters."""

__all__: list[str] = []
