"""SavedModels, and Keras models by way of them, opened in TensorFlow. Everything here runs in child processes."""

__all__: list[str] = []
