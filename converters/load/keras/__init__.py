"""Keras models of every age, opened in Keras. Everything here runs in child processes."""

__all__: list[str] = []
