"""PyTorch modules and exported programs, opened in PyTorch. Everything here runs in child processes."""

__all__: list[str] = []
