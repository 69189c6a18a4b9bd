"""The only package that knows MQTT. Both ends use it."""

__all__: list[str] = []
