"""Integers on x86 without VNNI, where ONNX Runtime's usual kernels add them up in 16 bits and overflow (P6)."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge.engines.onnx import OnnxEngine, _saturates, _session
from edge.engines.tiny import tiny_onnx

OLD = "processor\t: 0\nflags\t\t: fpu sse2 fma avx2\n"
NEW = "processor\t: 0\nflags\t\t: fpu sse2 fma avx2 avx512_vnni\n"
CLIENT = "processor\t: 0\nflags\t\t: fpu sse2 fma avx2 avx_vnni\n"

x86_only = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the pitfall is one of x86")


@pytest.fixture
def cpuinfo(tmp_path: Path):
    def written(text: str) -> Path:
        path = tmp_path / f"cpuinfo{len(list(tmp_path.iterdir()))}"
        path.write_text(text)
        return path

    return written


@x86_only
@pytest.mark.parametrize(("text", "saturates"), [(OLD, True), (NEW, False), (CLIENT, False), ("", True)])
def test_a_processor_without_vnni_is_told_by_its_flags(cpuinfo, text, saturates) -> None:
    assert _saturates(cpuinfo(text)) is saturates


@x86_only
def test_flags_that_cannot_be_read_count_as_without(tmp_path) -> None:
    assert _saturates(tmp_path / "absent")


class Runtime:
    """As much of `onnxruntime` as opening a session takes; fails like it does on weights that two layers share."""

    GraphOptimizationLevel = SimpleNamespace(ORT_ENABLE_BASIC="basic")
    ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL="sequential")

    def __init__(self, *, shares_weights: bool = False, is_broken: bool = False) -> None:
        self.shares_weights = shares_weights
        self.is_broken = is_broken
        self.opened: list[tuple[str | None, str | None]] = []

    def SessionOptions(self):  # noqa: N802 - the runtime's own name
        entries: dict[str, str] = {}
        return SimpleNamespace(
            entries=entries, add_session_config_entry=entries.__setitem__, graph_optimization_level=None
        )

    def InferenceSession(self, content, *, sess_options, providers):  # noqa: N802 - the runtime's own name
        exact = sess_options.entries.get("session.x64quantprecision")
        self.opened.append((exact, sess_options.graph_optimization_level))
        assert sess_options.entries["session.intra_op.allow_spinning"] == "0"
        assert sess_options.intra_op_num_threads == 2
        if self.is_broken:
            raise RuntimeError("no such operation")
        if self.shares_weights and exact == "1" and sess_options.graph_optimization_level != "basic":
            raise RuntimeError("AddInitializedOrtValue Attempt to replace the existing tensor")
        return "session"


def test_exact_kernels_are_asked_for_where_the_usual_ones_saturate() -> None:
    runtime = Runtime()
    assert _session(runtime, b"", 2, is_exact=True) == "session"
    assert runtime.opened == [("1", None)]


def test_nothing_is_asked_for_where_they_do_not() -> None:
    runtime = Runtime()
    assert _session(runtime, b"", 2, is_exact=False) == "session"
    assert runtime.opened == [(None, None)]


def test_a_file_whose_layers_share_weights_opens_without_integer_kernels() -> None:
    runtime = Runtime(shares_weights=True)
    assert _session(runtime, b"", 2, is_exact=True) == "session"
    assert runtime.opened == [("1", None), (None, "basic")]


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_broken_file_fails_with_its_own_complaint(is_exact) -> None:
    with pytest.raises(RuntimeError, match="no such operation"):
        _session(Runtime(is_broken=True), b"", 2, is_exact=is_exact)


@x86_only
@pytest.mark.parametrize("text", [OLD, NEW])
def test_a_model_answers_the_same_with_and_without(cpuinfo, text) -> None:
    engine = OnnxEngine(tiny_onnx(), threads=1, cpuinfo=cpuinfo(text))
    assert engine.run([np.array([[-1, 2, -3, 4]], np.float32)])[0].tolist() == [[0, 2, 0, 4]]
    assert engine.runtime.split(" ")[0] == "onnxruntime"
    assert len(engine.runtime.split(" ")) == 2


@x86_only
def test_a_quantised_model_answers_the_same_with_and_without(cpuinfo, shared_data) -> None:
    content = (shared_data / "models/classification/mobilenet_v2_quant.onnx").read_bytes()
    given = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    exact, usual = (OnnxEngine(content, threads=1, cpuinfo=cpuinfo(text)).run([given])[0] for text in (OLD, NEW))
    assert exact.argmax() == usual.argmax()
    np.testing.assert_allclose(exact, usual, atol=0.5)


def test_this_machines_own_flags_are_looked_at_by_default() -> None:
    text = Path("/proc/cpuinfo").read_text()
    has_vnni = "avx512_vnni" in text or "avx_vnni" in text
    assert _saturates(Path("/proc/cpuinfo")) is (os.uname().machine == "x86_64" and not has_vnni)
    engine = OnnxEngine(tiny_onnx(), threads=1)
    engine.close()
