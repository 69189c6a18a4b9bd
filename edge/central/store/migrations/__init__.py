"""How the central database came to be, one step a file; Alembic runs them when the service starts."""

__all__: list[str] = []
