"""What the converters' tests may ask for. A test that needs an extra or another environment is skipped without it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest

from converters.environments.making import Environment, Ready
from edge.errors import EnvironmentFailedError


@pytest.fixture(scope="session")
def environment() -> Callable[[str], Ready]:
    """Environments of other tools, by name; made the first time. The test is skipped where one cannot be made."""

    def made(name: str) -> Ready:
        try:
            return Environment(name).ensure()
        except EnvironmentFailedError as err:
            pytest.skip(str(err))

    return made


def _needs(*modules: str) -> None:
    absent = [module for module in modules if importlib.util.find_spec(module) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)} is not installed")


@pytest.fixture(scope="session")
def quantising() -> None:
    """The extra "convert"."""
    _needs("onnx", "onnxruntime", "ai_edge_litert", "litert_quantizer")


@pytest.fixture(scope="session")
def scikit_learn() -> None:
    """The extra "sklearn"."""
    _needs("sklearn", "skops", "skl2onnx", "onnx", "onnxruntime")


@pytest.fixture(scope="session")
def tensorflow() -> None:
    """The extra "tensorflow"; looked for, not imported."""
    _needs("tensorflow", "tf2onnx")


@pytest.fixture(scope="session")
def onnx_tools() -> None:
    """What cleans and quantises ONNX files, of the extra "convert"."""
    _needs("onnx", "onnxruntime", "onnxslim")


@pytest.fixture(scope="session")
def torch_tools() -> None:
    """What makes TFLite files of PyTorch and Keras modules, and the quantizer; looked for, not imported."""
    _needs("torch", "litert_torch", "keras", "sklearn", "ai_edge_litert", "litert_quantizer")


@pytest.fixture(scope="session")
def pytorch() -> None:
    """The extra "torch", without Keras; looked for, not imported."""
    _needs("torch", "litert_torch", "onnxscript", "onnx", "onnxruntime")


@pytest.fixture(scope="session")
def keras_on_torch(pytorch: None) -> None:
    """The extra "torch"; looked for, not imported."""
    _needs("keras", "h5py")
