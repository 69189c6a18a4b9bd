"""Results as a Parquet file, one row an item.

Promises: written in parts of bounded size while the results are read; the parts together are the file.
Leaves out: choosing results (`central.store`).
Thread: any.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from edge.central.store.read import Stored
from edge.errors import MissingExtraError

__all__ = ["parquet_parts"]

_ROWS = 20_000  # of a group; some megabytes in memory


def parquet_parts(results: Iterable[Stored]) -> Iterator[bytes]:
    """Bytes of the file, in order.

    Raises:
        MissingExtraError: at once, without pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as err:
        raise MissingExtraError("pyarrow", "parquet") from err
    return _parts(results, pa)


def _parts(results: Iterable[Stored], arrow: Any) -> Iterator[bytes]:
    schema = _schema(arrow)
    sink = _Sink()
    with arrow.parquet.ParquetWriter(arrow.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for stored in results:
            rows.extend(_rows(stored))
            if len(rows) >= _ROWS:
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
                rows = []
                yield sink.take()
        if rows:
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
    yield sink.take()


def _schema(arrow: Any) -> Any:
    text, number, share = arrow.string(), arrow.int64(), arrow.float64()
    return arrow.schema(
        [
            ("made", arrow.timestamp("ms", tz="UTC")),
            ("got", arrow.timestamp("ms", tz="UTC")),
            *((name, text) for name in ("fleet", "device", "pipeline", "kind", "input", "label")),
            *((name, share) for name in ("score", "value")),
            *((name, number) for name in ("x1", "y1", "x2", "y2")),
            *((name, text) for name in ("model", "version", "digest", "engine")),
            ("run_ms", share),
            *((name, number) for name in ("epoch", "seq")),
        ]
    )


def _rows(stored: Stored) -> list[dict[str, Any]]:
    result = stored.result
    whole = {
        "made": result.made_ms,
        "got": stored.got_ms,
        "fleet": stored.fleet,
        "device": stored.device,
        "pipeline": result.pipeline,
        "kind": result.kind.value,
        "input": result.input,
        "model": result.model.name,
        "version": result.model.version,
        "digest": result.model.digest,
        "engine": result.model.engine,
        "run_ms": result.timing_ms.run,
        "epoch": stored.epoch,
        "seq": stored.seq,
    }
    if not result.items:
        return [whole]
    rows = []
    for item in result.items:
        box = dict(zip(("x1", "y1", "x2", "y2"), item.box_px or (), strict=False))
        rows.append({**whole, **box, "label": item.label, "score": item.score, "value": item.value})
    return rows


class _Sink(io.RawIOBase):
    """A file that is only ever written to, and emptied from time to time."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """See `io`."""
        return True

    def write(self, content: Any) -> int:
        """See `io`."""
        self._parts.append(bytes(content))
        return len(self._parts[-1])

    def take(self) -> bytes:
        """What came since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
