"""From one format's float file to the other's, by other people's tools, and the check of what they did."""

__all__: list[str] = []
