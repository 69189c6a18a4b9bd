"""Profiles of engines, each written by `edge probe` in that engine's own environment; `profile_store` reads them."""

__all__: list[str] = []
