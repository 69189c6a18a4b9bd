"""Which variants are tried, in which order, and which is taken; every trial on disk as it finishes."""

__all__: list[str] = []
