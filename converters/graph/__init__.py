"""What is read from, and changed in, the graph of a TFLite or ONNX file, without any framework."""

__all__: list[str] = []
