"""Bringing a release to a fleet, wave by wave."""

__all__: list[str] = []
