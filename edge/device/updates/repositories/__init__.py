"""Where signed models come from: three implementations of one seam, `updates.api.Repository`."""

__all__: list[str] = []
