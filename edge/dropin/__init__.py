"""Reads what other tools left in or beside a model file and writes a manifest from it."""

__all__: list[str] = []
