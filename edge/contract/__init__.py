"""What device, central service and converters agreed on: types, names, encodings. No I/O, no clock."""

__all__: list[str] = []
