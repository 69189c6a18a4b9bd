"""Environments of other tools and older engines, made on demand beside ours."""

__all__: list[str] = []
