"""Environments of other tools and older engines, made on demand beside ours.

Promises: an environment that is ready has exactly the pinned packages below, and starts; one whose making was cut short
never counts and does not stay; one process at a time makes it, the others wait; what pip says goes to a log.
Leaves out: finding interpreters (`interpreters`); what runs in one (`edge.engines.host`, `converters.bridge`).
Thread: any; `ensure` blocks, minutes where packages have to be downloaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

import converters
import edge
from converters.environments import interpreters
from converters.environments.interpreters import Version
from edge.durable import fsync_dir, write_atomic
from edge.errors import EnvironmentFailedError, InputError

__all__ = ["ENVIRONMENTS", "Environment", "Maker", "Pins", "PipMaker", "Ready"]

_MARKER = "ready.json"
_INSTALL_WITHIN_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What an environment is: Pythons, the best first, and every package in it; all of them have binary wheels there.

    `proof` is a module that must import before the environment counts. `without` ends the refusal of a machine where
    it cannot be made: what is lost.
    """

    pythons: tuple[Version, ...]
    requirements: tuple[str, ...]
    proof: str
    without: str


# Verified by making them and running models in them: `pip freeze`, less what the requirements do not need.
ENVIRONMENTS: dict[str, Pins] = {
    # x86-64 only: onnxoptimizer has no wheel for aarch64.
    "onnx2tf": Pins(
        pythons=((3, 12), (3, 13)),
        requirements=(
            "ai-edge-litert==2.1.2",
            "backports.strenum==1.2.8",
            "flatbuffers==25.12.19",
            "h5py==3.14.0",
            "iniconfig==2.3.1",
            "markdown-it-py==4.3.0",
            "mdurl==0.1.2",
            "ml_dtypes==0.5.4",
            "mpmath==1.3.0",
            "msgspec==0.22.0",
            "numpy==2.2.6",
            "onnx==1.20.1",
            "onnx-ir==1.1.0",
            "onnx2tf==2.6.9",
            "onnxoptimizer==0.4.2",
            "onnxruntime==1.26.0",
            "onnxscript==0.6.2",
            "onnxsim==0.6.5",
            "opencv-python==4.13.0.92",
            "packaging==26.3",
            "pluggy==1.7.0",
            "protobuf==7.35.1",
            "psutil==5.9.5",
            "Pygments==2.21.0",
            "pytest==9.0.2",
            "rich==15.0.0",
            "setuptools==81.0.0",
            "sne4onnx==2.0.1",
            "sng4onnx==2.0.1",
            "sympy==1.14.0",
            "tqdm==4.67.1",
            "typing_extensions==4.16.0",
        ),
        proof="onnx2tf",
        without="ONNX models are not converted to TFLite without it",
    ),
    # numpy 1: the runtime was built for it, imports with numpy 2 and dies at the first model. No wheel past 3.11.
    "tflite-runtime-2.14": Pins(
        pythons=((3, 11), (3, 10)),
        requirements=("msgspec==0.22.0", "numpy==1.26.4", "tflite-runtime==2.14.0"),
        proof="tflite_runtime.interpreter",
        without="the report says 'not executed' for that engine",
    ),
    # What boards run: firmware_configs/locks/device-*.txt.
    "litert-1.2": Pins(
        pythons=((3, 11), (3, 12), (3, 10)),
        requirements=("ai-edge-litert==1.2.0", "flatbuffers==25.12.19", "msgspec==0.22.0", "numpy==2.2.6"),
        proof="ai_edge_litert.interpreter",
        without="the report says 'not executed' for that engine",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """An environment to start a child in: `Child(module, python=ready.python, path=ready.path)`.

    `path` is a folder that holds our own packages and nothing else.
    """

    python: str
    path: str


class Maker(Protocol):
    """Fills a folder with an environment."""

    def make(self, python: str, folder: Path, pins: Pins, log: Path) -> None:
        """Make `folder`, with `bin/python` in it; `log` takes what the tools say.

        Raises:
            EnvironmentFailedError: it cannot be made; the folder may hold anything.
        """
        ...


class _Marker(Struct, frozen=True, kw_only=True):
    """Written last."""

    pins: str  # digest
    python: str  # that it was made with


class Environment:
    """One environment of the table, under the user's cache folder."""

    def __init__(
        self,
        name: str,
        *,
        root: Path | None = None,
        is_offline: bool = False,
        pins: Pins | None = None,
        maker: Maker | None = None,
    ) -> None:
        """Choose it; nothing is made yet.

        Args:
            name: a key of `ENVIRONMENTS`.
            root: where environments are; by default `$EDGE_ENVIRONMENTS`, else `edge/environments` in the cache folder.
            is_offline: only an environment that is there already will do.
            pins: what it is to be; by default what the table says.
            maker: makes it; by default `PipMaker`.

        Raises:
            InputError: no such environment.
        """
        if name not in ENVIRONMENTS:
            raise InputError(f"no environment is called {name!r}; there are: {', '.join(ENVIRONMENTS)}")
        self.name = name
        self._pins = pins or ENVIRONMENTS[name]
        self._root = root or _default_root()
        self._folder = self._root / name
        self._is_offline = is_offline
        self._maker = maker or PipMaker()

    @property
    def is_made(self) -> bool:
        """Whether `ensure` would return at once: it was made, to the end, from today's pins, and its Python starts."""
        try:
            marker = msgspec.json.decode((self._folder / _MARKER).read_bytes(), type=_Marker)
        except (OSError, msgspec.DecodeError):
            return False
        return marker.pins == _digest(self._pins) and interpreters.version_of(self._python) in self._pins.pythons

    def ensure(self) -> Ready:
        """The environment, made if need be.

        Raises:
            EnvironmentFailedError: it cannot be made here; what failed, and the command to type.
        """
        if not self.is_made:
            if self._is_offline:
                raise EnvironmentFailedError(
                    f"the environment {self.name!r} is not there, and making it downloads packages, which was not "
                    f"allowed: {self._pins.without}; run the same command once without --offline"
                )
            with self._locked():
                if not self.is_made:  # another process made it meanwhile
                    self._make()
        try:
            return Ready(python=self._python, path=str(self._our_packages()))
        except OSError as err:
            raise self._failed(f"{err.filename}: {err.strerror}") from err

    @property
    def _python(self) -> str:
        return str(self._folder / "bin" / "python")

    def _make(self) -> None:
        python = interpreters.find(self._pins.pythons)
        if python is None:
            raise EnvironmentFailedError(self._no_python())
        self._remove()
        try:
            self._maker.make(python, self._folder, self._pins, self._root / f"{self.name}.log")
            os.sync()  # what the marker vouches for must be on the disk before it
            marker = _Marker(pins=_digest(self._pins), python=python)
            write_atomic(self._folder / _MARKER, msgspec.json.encode(marker))
        except OSError as err:
            self._remove()
            raise self._failed(f"{err.filename or self._folder}: {err.strerror}") from err
        except BaseException:
            self._remove()
            raise

    def _no_python(self) -> str:
        names = " or ".join(f"python{major}.{minor}" for major, minor in sorted(self._pins.pythons))
        best = ".".join(map(str, self._pins.pythons[0]))
        return (
            f"the environment {self.name!r} needs {names}, and none runs here: {self._pins.without}; try: "
            f"uv python install {best}, or: pyenv install {best}, or: sudo apt-get install python{best}-venv"
        )

    def _failed(self, why: str) -> EnvironmentFailedError:
        return EnvironmentFailedError(
            f"the environment {self.name!r} could not be made: {why}; make room or name another folder: "
            "export EDGE_ENVIRONMENTS=FOLDER"
        )

    def _remove(self) -> None:
        """The marker first, so that what is left of a removal that was cut short does not count."""
        if self._folder.is_dir():
            (self._folder / _MARKER).unlink(missing_ok=True)
            fsync_dir(self._folder)
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait for whoever makes this environment now; the kernel lets go of it when its holders die.

        What the maker starts holds the lock too: a pip that outlived us must not meet the next one.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._root / f"{self.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as err:
            raise self._failed(f"{err.filename}: {err.strerror}") from err
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.set_inheritable(handle, True)
            yield
        finally:
            os.close(handle)

    def _our_packages(self) -> Path:
        """A folder with links to this very `edge` and `converters`; another checkout has another folder."""
        ours = {package.__name__: Path(package.__path__[0]).resolve() for package in (edge, converters)}
        key = hashlib.sha256(str(sorted(ours.items())).encode()).hexdigest()[:12]
        folder = self._folder / "ours" / key
        folder.mkdir(parents=True, exist_ok=True)
        for name, place in ours.items():
            with contextlib.suppress(FileExistsError):  # of another process: it leads to the same place
                (folder / name).symlink_to(place, target_is_directory=True)
        return folder


class PipMaker:
    """Makes an environment with the interpreter's own `venv` and pip, from binary wheels only."""

    def make(self, python: str, folder: Path, pins: Pins, log: Path) -> None:
        """See `Maker`."""
        inside = str(folder / "bin" / "python")
        wanted = folder / "requirements.txt"
        with log.open("wb") as file:
            steps = _Steps(file.fileno(), log)
            steps.run(
                [python, "-m", "venv", str(folder)],
                f"{python} -m venv failed",
                f"on Debian type: sudo apt-get install python{_dotted(interpreters.version_of(python))}-venv",
            )
            wanted.write_text("".join(f"{line}\n" for line in pins.requirements), encoding="utf-8")
            steps.run(
                [
                    inside,
                    "-m",
                    "pip",
                    "install",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                    "--no-input",
                    "-r",
                    str(wanted),
                ],
                "pip failed",
                f"see whether this works: {python} -m pip download --no-deps -d /tmp {_named(pins)}",
            )
            steps.run(
                [inside, "-c", f"import {pins.proof}"],
                f"what was installed does not import ({pins.proof})",
                "report it with the log",
            )


class _Steps:
    """Commands whose chatter goes to a log."""

    def __init__(self, output: int, log: Path) -> None:
        self._output = output
        self._log = log

    def run(self, command: list[str], what: str, advice: str) -> None:
        """Run one, or raise `EnvironmentFailedError`."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environ["PIP_USER"] = "0"
        began = self._log.stat().st_size
        try:
            status = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=environ,
                close_fds=False,  # it inherits the lock
                timeout=_INSTALL_WITHIN_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as err:
            raise self._failed(f"{what}: it did not end within {_INSTALL_WITHIN_S / 60:g} minutes", advice) from err
        if status != 0:
            raise self._failed(f"{what}{self._complaint(began)}", advice)

    def _failed(self, why: str, advice: str) -> EnvironmentFailedError:
        return EnvironmentFailedError(
            f"the environment {self._log.stem!r} could not be made: {why}; all of it is in {self._log}; {advice}"
        )

    def _complaint(self, began: int) -> str:
        """The last line of a step that names an error, or its last line."""
        lines = self._log.read_bytes()[began:].decode("utf-8", "replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        return f" ({errors[-1].strip()[:300]})" if errors else ""


def _named(pins: Pins) -> str:
    """The requirement that the environment is for."""
    module = pins.proof.split(".", maxsplit=1)[0].replace("_", "-")
    return next(line for line in pins.requirements if line.startswith(module))


def _dotted(version: Version | None) -> str:
    return "3" if version is None else ".".join(map(str, version))


def _digest(pins: Pins) -> str:
    return hashlib.sha256(repr((pins.pythons, pins.requirements)).encode()).hexdigest()


def _default_root() -> Path:
    if named := os.environ.get("EDGE_ENVIRONMENTS"):
        return Path(named).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "edge" / "environments"
