"""Readers of foreign bytes end in `ValueError` or in silence, whatever the bytes are."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.dropin.flatbuffer import root
from edge.dropin.found import Candidate, Draft
from edge.dropin.graph import read_graph
from edge.dropin.labels import labels_from
from edge.dropin.tflite_metadata import packed_files, read_tflite_metadata
from edge.dropin.twin import find_twin
from edge.dropin.ultralytics import read_onnx_properties, read_zip_metadata
from edge.engines.open import kind_of, open_engine
from edge.engines.probe import ProbeReport
from edge.engines.protobuf import fields
from edge.errors import ModelError

TEXT = "models/text/test_model_nl_classifier_with_regex_tokenizer.tflite"


@given(st.binary(max_size=200))
def test_protobuf_of_any_bytes_is_fields_or_a_value_error(data: bytes) -> None:
    try:
        for _ in fields(memoryview(data)):
            pass
    except ValueError:
        pass


@given(st.binary(max_size=200))
def test_a_flatbuffer_of_any_bytes_is_values_or_a_value_error(data: bytes) -> None:
    try:
        table = root(b"\x10\0\0\0TFL3" + data, b"TFL3")
        (
            table.integer(0),
            table.real(1),
            table.text(2),
            table.integers(3),
            table.reals(4),
            table.tables(5),
            table.table(6),
        )
    except ValueError:
        pass


@given(st.binary(max_size=200))
def test_labels_of_any_bytes_are_names_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert labels_from(data)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_in_a_model_file_stops_no_rule(shared_data: Path, data: st.DataObject) -> None:
    whole = (shared_data / TEXT).read_bytes()
    engine = open_engine(whole)
    report = ProbeReport(runtime=engine.runtime, inputs=engine.inputs, outputs=engine.outputs)
    engine.close()
    damaged = bytearray(whole)
    # The tables stand at both ends of the file, its weights between them.
    edges = st.integers(0, 4000) | st.integers(len(whole) - 120_000, len(whole) - 1)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(edges)] = data.draw(st.integers(0, 255))
    candidate = Candidate(path=shared_data / TEXT, kind="tflite", content=bytes(damaged), report=report)
    draft = Draft()
    read_tflite_metadata(candidate, draft)
    read_zip_metadata(candidate, draft)
    read_graph(candidate)
    find_twin(candidate)
    packed_files(candidate.content)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_in_an_onnx_file_stops_no_rule(shared_data: Path, data: st.DataObject) -> None:
    damaged = bytearray((shared_data / "models/digits/mnist-opset8.onnx").read_bytes())
    report = ProbeReport(runtime="none", inputs=(), outputs=())
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert kind_of(bytes(damaged)) == "onnx"
    except ModelError:
        return
    candidate = Candidate(path=shared_data / "m.onnx", kind="onnx", content=bytes(damaged), report=report)
    read_onnx_properties(candidate, Draft())
    read_graph(candidate)


@pytest.mark.parametrize(
    ("raw", "classes", "names"),
    [
        (b"cat\ndog\n", None, ("cat", "dog")),
        (b"\xef\xbb\xbfcat\r\ndog\r\n", 2, ("cat", "dog")),
        (b"0 cat\n1 dog\n", 2, ("cat", "dog")),
        (b"1: cat\n2: dog\n", None, ("", "cat", "dog")),
        (b"cat\n???\ndog\n", 3, ("cat", "", "dog")),
        (b"cat\n\ndog\n", 3, ("cat", "", "dog")),
        (b"cat\ndog\n\nand 255 is ignored\n", 2, ("cat", "dog")),
        (b"10 pin\n9 ball\n", 2, ("10 pin", "9 ball")),
        (b"n01440764 tench, Tinca tinca\n", 1, ("n01440764 tench, Tinca tinca",)),
        (b'["cat", "dog"]', None, ("cat", "dog")),
        (b'{"0": "cat", "2": "dog"}', None, ("cat", "", "dog")),
        (b'{"cat": 0, "dog": 1}', None, ("cat", "dog")),
        ("0 猫\n1 狗\n".encode(), None, ("猫", "狗")),
    ],
)
def test_label_files_in_every_dialect(raw: bytes, classes: int | None, names: tuple[str, ...]) -> None:
    assert labels_from(raw, classes=classes) == names
