"""Rows on disk until the centre holds them."""

__all__: list[str] = []
