"""Cameras, clips, folders, pipes and texts."""

__all__: list[str] = []
