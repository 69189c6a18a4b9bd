"""Microsoft Olive, by its command line, in an environment of its own that is made the first time (1.4 GB).

`olive quantize` turns an ONNX file into integers dynamically: static quantisation there wants a data set of Hugging Face.
`olive run` takes raw samples, and its pass `OnnxStaticQuantization` is left at its defaults.

PyTorch comes without a hash, as in `./run`: from PyPI it is a build for CUDA, which does not import alone; then Olive is
left out, and the reason is printed. CI=true: Olive reports to its maker otherwise, and waits for the network to do so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from converters.environments import interpreters
from converters.environments.making import Pins, PipMaker, _default_root
from edge.errors import EnvironmentFailedError
from tests.benchmarks.converters.peers_tflite import PeerError, read_samples

__all__ = ["Olive"]

_TIMEOUT_S = 900.0
_PINS = Pins(
    pythons=((3, 11),),
    requirements=(
        "alembic==1.20.1",
        "annotated-doc==0.0.7",
        "annotated-types==0.8.0",
        "anyio==4.16.0",
        "certifi==2026.10.19.post1",
        "charset-normalizer==3.5.3",
        "click==8.5.1",
        "colorlog==6.12.0",
        "filelock==4.3.1",
        "flatbuffers==25.12.19",
        "fsspec==2026.9.0",
        "h11==0.16.0",
        "hf-xet==1.8.0",
        "httpcore2==2.16.2",
        "httpx2==2.16.2",
        "huggingface_hub==2.4.0",
        "idna==3.20",
        "Jinja2==3.1.6",
        "lightning-utilities==0.15.3",
        "Mako==1.4.3",
        "markdown-it-py==4.3.0",
        "MarkupSafe==3.0.4",
        "mdurl==0.1.2",
        "ml_dtypes==0.6.0",
        "mpmath==1.3.0",
        "networkx==3.6.1",
        "numpy==2.4.6",
        "olive-ai==0.13.0",
        "onnx==1.23.2",
        "onnx-ir==1.1.0",
        "onnxruntime==1.28.0",  # from 1.29 on it reports to its maker
        "onnxscript==0.7.2",
        "opentelemetry-api==1.45.2",
        "opentelemetry-sdk==1.45.2",
        "opentelemetry-semantic-conventions==0.66b2",
        "optuna==5.0.0",
        "packaging==26.4",
        "pandas==3.1.1",
        "prompt_toolkit==3.0.53",
        "protobuf==7.36.2",
        "pydantic==2.14.4",
        "pydantic_core==2.50.5",
        "Pygments==2.21.0",
        "python-dateutil==4.0.0",
        "PyYAML==6.0.4",
        "questionary==2.1.1",
        "regex==2026.11.19",
        "requests==2.34.2",  # Olive 0.13.0 imports it and does not ask for it
        "rich==15.0.0",
        "safetensors==0.8.0",
        "shellingham==1.5.4",
        "SQLAlchemy==2.1.9",
        "sympy==1.14.0",
        "tokenizers==0.23.3",
        "torch==2.13.0",
        "torchmetrics==1.9.0",
        "tqdm==4.70.1",
        "transformers==5.24.0",
        "truststore==0.10.5",
        "typer==0.29.2",
        "typing-inspection==0.4.5",
        "typing_extensions==4.16.0",
        "tzdata==2026.6",
        "urllib3==2.8.0",
        "wcwidth==0.9.4",
    ),
    proof="olive",
    without="Olive is left out",
)


class Olive:
    """The command line of one environment."""

    def __init__(self) -> None:
        """Make the environment where it is not there yet.

        Raises:
            PeerError: it cannot be made here.
        """
        self._folder = _default_root() / "olive"
        ready = self._folder / "ready"
        if ready.is_file() and ready.read_text() == repr(_PINS):
            return
        python = interpreters.find(_PINS.pythons)
        if python is None:
            raise PeerError("needs python3.11, and none runs here")
        print("making the environment of Olive, once (1.4 GB)", flush=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            PipMaker().make(python, self._folder, _PINS, self._folder.parent / "olive.log")
        except EnvironmentFailedError as err:
            raise PeerError(str(err)) from err
        ready.write_text(repr(_PINS))

    def dynamic(self, model: Path, target: Path) -> float:
        """`olive quantize`. Returns the seconds of the whole command: it loads PyTorch each time.

        Raises:
            PeerError: it failed.
        """
        asked = ["quantize", "-m", str(model), "--implementation", "ort", "--precision", "int8"]
        return self._run([*asked, "-o", "made"], target)

    def static(self, model: Path, samples: Path, target: Path) -> float:
        """`olive run` with `OnnxStaticQuantization`. Returns the seconds of the whole command.

        Raises:
            PeerError: it failed.
        """
        import onnx

        place = _place(target)
        inputs = onnx.load(model, load_external_data=False).graph.input
        names = [each.name for each in inputs]
        folders = [f"input_{number}" for number in range(len(names))]
        kinds = []
        for number, stack in enumerate(zip(*read_samples(samples), strict=True)):
            (place / folders[number]).mkdir()
            kinds.append(str(stack[0].dtype))
            for row, each in enumerate(stack):
                each.tofile(place / folders[number] / f"{row:05d}.bin")
        config = {
            "input_model": {"type": "ONNXModel", "model_path": str(model)},
            "systems": {"here": {"type": "LocalSystem", "accelerators": [_CPU]}},
            "data_configs": [
                {
                    "name": "calibration",
                    "type": "RawDataContainer",
                    "load_dataset_config": {
                        "data_dir": str(place),
                        "input_names": names,
                        "input_shapes": [[d.dim_value for d in each.type.tensor_type.shape.dim] for each in inputs],
                        "input_types": kinds,
                        "input_dirs": folders,
                    },
                }
            ],
            "passes": {"quantization": {"type": "OnnxStaticQuantization", "data_config": "calibration"}},
            "output_dir": "made",
            "host": "here",
            "target": "here",
            "no_artifacts": True,
        }
        (place / "config.json").write_text(json.dumps(config))
        return self._run(["run", "--config", "config.json"], target, place)

    def _run(self, arguments: list[str], target: Path, place: Path | None = None) -> float:
        place = place or _place(target)
        environ = {**os.environ, "CI": "true", "ORT_DISABLE_TELEMETRY": "1", "OLIVE_DISABLE_TELEMETRY": "1"}
        environ["PATH"] = f"{self._folder / 'bin'}:{environ.get('PATH', '')}"
        began_s = time.monotonic()
        try:
            done = subprocess.run(
                [str(self._folder / "bin/olive"), *arguments],
                cwd=place,
                env=environ,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise PeerError(f"not done after {_TIMEOUT_S:.0f} s") from err
        seconds = time.monotonic() - began_s
        made = place / "made" / "model.onnx"
        if done.returncode or not made.is_file():
            lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
            raise PeerError((lines or ["it said nothing"])[-1].strip()[:160])
        shutil.copyfile(made, target)
        if (beside := made.with_suffix(".onnx.data")).is_file():
            raise PeerError(f"the file keeps its weights in {beside.name}")
        shutil.rmtree(place)
        return seconds


_CPU = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}


def _place(target: Path) -> Path:
    place = target.with_suffix(".olive")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place
