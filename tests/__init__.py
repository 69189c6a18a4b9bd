"""Everything that shows the project keeps its word."""
