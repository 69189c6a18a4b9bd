"""Each prints a ratio against a named peer, or a physical bound, measured in the same run."""
