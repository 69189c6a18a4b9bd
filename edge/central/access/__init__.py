"""Who may do what: people, passwords, tokens, log-ins, and limits to trying."""

__all__: list[str] = []
