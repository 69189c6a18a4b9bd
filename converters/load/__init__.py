"""Trained models, opened in their own frameworks, to canonical float files. Everything here runs in child processes."""

__all__: list[str] = []
