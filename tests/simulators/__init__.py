"""Implementations of our own seams for tests: no patching, no sleeping."""
