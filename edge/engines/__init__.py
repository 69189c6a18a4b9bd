"""The only package that touches native runtimes."""

__all__: list[str] = []
