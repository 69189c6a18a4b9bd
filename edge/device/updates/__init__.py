"""From an assignment to a model that runs: trust, fetch, slots, probe, trial; nothing here runs a pipeline."""

__all__: list[str] = []
