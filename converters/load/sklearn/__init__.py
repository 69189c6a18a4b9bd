"""Models of scikit-learn, and the dense layers that many of them are. Everything here runs in child processes."""

__all__: list[str] = []
