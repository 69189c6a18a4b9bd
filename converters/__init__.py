"""From any trained model to a verified bundle of TFLite and ONNX files; `converters.api` is the way in from Python.

The map, in the order of the way:

- `detect`, `load`: what a source is; its framework, in a child process. `environments`, `bridge`: other tools' own.
- `graph`, `floats`: the canonical float files, cleaned, compared with their source.
- `samples`, `split`: samples, by the device's own steps, what is wrong with them, and what each is used for.
- `spec`, `records`: the values that the steps hand on, and their JSON.
- `case`: all of that together, before the first variant.
- `ladder`: what is tried, in which order, and taken. `emit`: variants, made in child processes.
- `judge`: files run on every engine, in processes of their own, and held against their source.
- `explain`, `report`, `bundle`, `outcome`: what is left behind.
- `convert`, `assess`: the whole way; the way of files that are there already. `zoo`: models to start from.
"""

__all__: list[str] = []
