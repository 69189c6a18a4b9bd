"""What a conversion found, for people and for machines: report.html, report.json and the table in the terminal."""

__all__: list[str] = []
