"""report.json and report.html on disk.

Promises: what is written is read back equal; the same report gives the same bytes; a file is there whole or not at
all; a format that this version does not know is refused.
Leaves out: the page (`document`), JSON (`converters.records`).
Thread: any; two writers of one folder must agree between themselves.
"""

from __future__ import annotations

from pathlib import Path

from converters.records import decode, encode
from converters.report.document import document
from converters.spec import REPORT_FORMAT, Report
from edge.durable import write_atomic
from edge.errors import InputError

__all__ = ["HTML", "JSON", "read", "write"]

JSON, HTML = "report.json", "report.html"


def write(report: Report, folder: Path) -> Path:
    """Write both files into `folder`, which exists, and return the path of the page.

    Raises:
        OSError: the page, or both, were not written; what was there before is untouched.
    """
    write_atomic(folder / JSON, encode(report))
    write_atomic(folder / HTML, document(report))
    return folder / HTML


def read(path: Path) -> Report:
    """Read a report.json.

    Raises:
        InputError: it is none, or of a newer format.
        OSError: it cannot be read.
    """
    try:
        report = decode(path.read_bytes(), Report)
    except InputError as err:
        raise InputError(f"{path} is no conversion report: {err}; make one with: edge convert") from err
    if report.format > REPORT_FORMAT:
        raise InputError(f"{path} has format {report.format}, this version reads up to {REPORT_FORMAT}; update")
    return report
