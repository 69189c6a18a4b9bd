"""One module for each subcommand of `edge`; imported only when it runs."""

__all__: list[str] = []
