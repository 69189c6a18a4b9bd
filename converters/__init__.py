"""From any trained model to a verified bundle of TFLite and ONNX files; `converters.api` is the way in from Python.

The map, in the order of the way:

- `detect`, `load`: what a source is; its framework, in a child process. `environments`, `bridges`: other tools' own.
- `graph`, `clean`, `floats`: the canonical float files, compared with their source.
- `gather`, `samples`, `sampling`, `calibrate`: samples, by the device's own steps, and what is wrong with them.
- `case`: all of that together, before the first variant.
- `recipes`, `plan`, `ladder`, `bench`, `search`, `choose`: what is tried, in which order, and taken.
- `emit`, `build`: variants, made in child processes. `workspace`: on record as they are done.
- `engines`, `lint`, `verify`, `metrics`: run on every engine, in processes of their own, and judged.
- `explain`, `report`, `bundle`, `outcome`: what is left behind.
- `convert`, `assess`: the whole way; the way of files that are there already. `zoo`: models to start from.
"""

__all__: list[str] = []
