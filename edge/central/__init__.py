"""The service that keeps what a fleet sends."""

__all__: list[str] = []
