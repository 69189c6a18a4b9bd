"""Environments on demand: what is found, what is made, and what never counts."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.environments import interpreters
from converters.environments.interpreters import Version
from converters.environments.making import ENVIRONMENTS, Environment, Pins, PipMaker, Ready
from edge.child import import_path
from edge.engines.host import EngineHost
from edge.engines.tiny import tiny_tflite
from edge.errors import EnvironmentFailedError, InputError, ModelError

HERE: Version = (sys.version_info[0], sys.version_info[1])
PINS = Pins(pythons=(HERE,), requirements=("nothing==1.0",), proof="json", without="nothing is lost")


class _Fake:
    """A maker that counts, and stops where it is told to."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.made = 0
        self.failure = failure

    def make(self, python: str, folder: Path, pins: Pins, log: Path) -> None:
        self.made += 1
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(python)
        log.write_text("made")
        if self.failure is not None:
            raise self.failure


def _environment(root: Path, maker: _Fake, *, pins: Pins = PINS, is_offline: bool = False) -> Environment:
    return Environment("litert-1.2", root=root, maker=maker, pins=pins, is_offline=is_offline)


def _script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# -- finding -----------------------------------------------------------------------------------------------------------


def test_the_running_interpreter_is_taken_where_its_version_fits() -> None:
    assert interpreters.find([(3, 9), HERE], lambda _: iter(())) == sys.executable


def test_a_shim_that_only_says_command_not_found_is_passed_over(tmp_path: Path) -> None:
    shim = _script(tmp_path / "shims" / "python3.4", "echo 'pyenv: python3.4: command not found' >&2; exit 127")
    real = _script(tmp_path / "real" / "python3.4", "echo cpython 3 4")
    assert interpreters.find([(3, 4)], lambda _: iter([shim, real])) == real


@pytest.mark.parametrize(
    "says", ["echo pypy 3 4", "echo cpython 3 5", "kill -9 $$", "echo cpython 3 4; exit 1"], ids=str
)
def test_what_is_not_the_wanted_python_is_passed_over(tmp_path: Path, says: str) -> None:
    other = _script(tmp_path / "python3.4", says)
    assert interpreters.find([(3, 4)], lambda _: iter([other, str(tmp_path / "absent")])) is None


def test_interpreters_are_looked_for_on_path_and_below_pyenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = _script(tmp_path / "shims" / "python3.4", "exit 127")
    real = _script(tmp_path / "pyenv" / "versions" / "3.4.7" / "bin" / "python3.4", "echo cpython 3 4")
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert list(interpreters.candidates((3, 4)))[:2] == [shim, real]


def test_uv_is_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _script(tmp_path / "uv", 'test "$*" = "python find 3.4" && echo /opt/uv/python3.4')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert list(interpreters.candidates((3, 4))) == ["/opt/uv/python3.4"]


# -- making ------------------------------------------------------------------------------------------------------------


def test_an_environment_is_made_once(tmp_path: Path) -> None:
    maker = _Fake()
    first, second = (_environment(tmp_path, maker).ensure() for _ in range(2))
    assert first == second == Ready(python=str(tmp_path / "litert-1.2" / "bin" / "python"), path=first.path)
    assert maker.made == 1


def test_an_environment_is_made_anew_when_its_pins_changed(tmp_path: Path) -> None:
    maker = _Fake()
    _environment(tmp_path, maker).ensure()
    (tmp_path / "litert-1.2" / "old").touch()
    _environment(tmp_path, maker, pins=dataclasses.replace(PINS, requirements=("nothing==1.1",))).ensure()
    assert maker.made == 2
    assert not (tmp_path / "litert-1.2" / "old").exists()


def test_an_environment_whose_interpreter_is_gone_is_made_anew(tmp_path: Path) -> None:
    maker = _Fake()
    ready = _environment(tmp_path, maker).ensure()
    Path(ready.python).unlink()
    Path(ready.python).symlink_to(tmp_path / "uninstalled")
    _environment(tmp_path, maker).ensure()
    assert maker.made == 2


@pytest.mark.parametrize(
    "failure",
    [EnvironmentFailedError("no network"), KeyboardInterrupt(), OSError(28, "No space left on device")],
    ids=repr,
)
def test_an_environment_whose_making_failed_neither_stays_nor_counts(tmp_path: Path, failure: BaseException) -> None:
    with pytest.raises((EnvironmentFailedError, KeyboardInterrupt)):
        _environment(tmp_path, _Fake(failure)).ensure()
    assert not (tmp_path / "litert-1.2").exists()
    assert not _environment(tmp_path, _Fake()).is_made


def test_an_environment_that_lost_power_while_it_was_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "litert-1.2" / "bin").mkdir(parents=True)
    (tmp_path / "litert-1.2" / "bin" / "python").symlink_to(sys.executable)
    maker = _Fake()
    assert not _environment(tmp_path, maker).is_made
    _environment(tmp_path, maker).ensure()
    assert maker.made == 1


def test_an_unreadable_marker_does_not_count(tmp_path: Path) -> None:
    maker = _Fake()
    _environment(tmp_path, maker).ensure()
    (tmp_path / "litert-1.2" / "ready.json").write_bytes(b"\0" * 20)
    assert not _environment(tmp_path, maker).is_made


def test_whoever_waited_for_another_to_make_it_does_not_make_it_again(tmp_path: Path) -> None:
    maker = _Fake()
    others = [threading.Thread(target=_environment(tmp_path, maker).ensure, name=f"maker {n}") for n in range(4)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert maker.made == 1


def test_a_full_disk_is_told_with_the_way_to_another_folder(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailedError, match=r"No space left.*export EDGE_ENVIRONMENTS=FOLDER") as caught:
        _environment(tmp_path, _Fake(OSError(28, "No space left on device"))).ensure()
    assert caught.value.exit_code == 6


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailedError, match=r"File exists.*EDGE_ENVIRONMENTS"):
        _environment(tmp_path / "file", _Fake()).ensure()


def test_offline_takes_what_is_there_and_makes_nothing(tmp_path: Path) -> None:
    maker = _Fake()
    with pytest.raises(EnvironmentFailedError, match="was not allowed: nothing is lost; run the same command once"):
        _environment(tmp_path, maker, is_offline=True).ensure()
    assert maker.made == 0
    _environment(tmp_path, maker).ensure()
    assert _environment(tmp_path, maker, is_offline=True).ensure().python


def test_no_fitting_python_is_refused_with_the_commands_that_add_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    pins = dataclasses.replace(ENVIRONMENTS["onnx2tf"], pythons=((3, 4),))
    with pytest.raises(EnvironmentFailedError, match=r"needs python3.4, and none runs here.*uv python install 3.4"):
        Environment("onnx2tf", root=tmp_path, pins=pins, maker=_Fake()).ensure()


def test_an_unknown_environment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"there are: onnx2tf, tflite-runtime-2\.14, litert-1\.2"):
        Environment("tflite")


def test_environments_lie_where_the_variable_says_or_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_ENVIRONMENTS", str(tmp_path / "named"))
    assert Environment("litert-1.2")._folder == tmp_path / "named" / "litert-1.2"
    monkeypatch.delenv("EDGE_ENVIRONMENTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Environment("litert-1.2")._folder == tmp_path / "edge" / "environments" / "litert-1.2"


def test_the_path_holds_our_own_packages_and_nothing_else(tmp_path: Path) -> None:
    ready = _environment(tmp_path, _Fake()).ensure()
    assert sorted(each.name for each in Path(ready.path).iterdir()) == ["converters", "edge"]
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import edge, converters; print(edge.__path__[0])"],
        cwd=tmp_path,  # Python 3.10 knows no PYTHONSAFEPATH, and would look here first
        env={"PYTHONPATH": ready.path, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(Path(ready.path) / "edge")


def test_what_pip_says_is_in_a_log_and_its_last_error_in_the_message(tmp_path: Path) -> None:
    python = _script(
        tmp_path / "python",
        f"mkdir -p {tmp_path}/made/bin; printf '#!/bin/sh\\necho chatter; echo \"ERROR: no match\"; exit 1' "
        f"> {tmp_path}/made/bin/python; chmod +x {tmp_path}/made/bin/python",
    )
    (tmp_path / "made").mkdir()
    with pytest.raises(EnvironmentFailedError, match=r"pip failed \(ERROR: no match\); all of it is in .*x\.log; see"):
        PipMaker().make(python, tmp_path / "made", ENVIRONMENTS["litert-1.2"], tmp_path / "x.log")
    assert "chatter" in (tmp_path / "x.log").read_text()


def test_a_python_without_venv_is_told_with_the_package_that_has_it(tmp_path: Path) -> None:
    python = _script(tmp_path / "python", 'test "$1" = -I && echo cpython 3 4 || { echo no ensurepip; exit 1; }')
    with pytest.raises(EnvironmentFailedError, match=r"venv failed \(no ensurepip\).*apt-get install python3.4-venv"):
        PipMaker().make(python, tmp_path / "made", ENVIRONMENTS["litert-1.2"], tmp_path / "x.log")


# -- the table ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pins", ENVIRONMENTS.values(), ids=list(ENVIRONMENTS))
def test_every_package_is_pinned_and_the_child_finds_what_it_imports(pins: Pins) -> None:
    assert all("==" in line for line in pins.requirements)
    assert {"msgspec", "numpy"} <= {line.split("==")[0] for line in pins.requirements}


def test_the_old_runtime_comes_with_numpy_1() -> None:
    """P11: it imports with numpy 2, whatever its metadata allow, and dies at the first model."""
    pins = ENVIRONMENTS["tflite-runtime-2.14"]
    assert "tflite-runtime==2.14.0" in pins.requirements
    assert any(line.startswith("numpy==1.") for line in pins.requirements)
    assert max(pins.pythons) < (3, 12)


@pytest.mark.makes_environments
@pytest.mark.timeout(900)
def test_the_old_runtime_beside_numpy_2_is_told_with_what_to_install(
    environment: Callable[[str], Ready], tmp_path: Path
) -> None:
    """P11 itself: the package of that environment, in this one."""
    found = sorted(
        Path(environment("tflite-runtime-2.14").python).parents[1].glob("lib/*/site-packages/tflite_runtime")
    )
    if found[0].parts[-3] != f"python{HERE[0]}.{HERE[1]}" or np.__version__.startswith("1."):
        pytest.skip("this Python or NumPy is not the one that they clash in")
    (tmp_path / "tflite_runtime").symlink_to(found[0])
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert/__init__.py").write_text("raise ModuleNotFoundError('absent', name=__name__)")
    with (
        EngineHost(path=f"{tmp_path}{os.pathsep}{import_path()}") as host,
        pytest.raises(ModelError, match=r"tflite-runtime needs numpy 1, and numpy 2\S+ is installed; try: pip install"),
    ):
        host.look(tiny_tflite(), timeout_s=60)


@pytest.mark.makes_environments
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "runtime"), [("tflite-runtime-2.14", "tflite-runtime 2.14.0"), ("litert-1.2", "ai-edge-litert 1.2.0")]
)
def test_a_model_runs_in_the_environment_of_an_older_engine(
    environment: Callable[[str], Ready], name: str, runtime: str
) -> None:
    ready = environment(name)
    samples = np.array([[[-1, 2, -3, 4]], [[5, -6, 7, -8]]], np.float32)
    with EngineHost(python=ready.python, path=ready.path) as host:
        replay = host.replay(tiny_tflite(), [samples], timeout_s=60)
    assert replay.report.runtime == runtime
    np.testing.assert_array_equal(replay.outputs[0], np.maximum(samples, 0))


@pytest.mark.makes_environments
@pytest.mark.timeout(900)
def test_nothing_of_our_own_packages_leaks_into_an_environment(environment: Callable[[str], Ready]) -> None:
    ready = environment("tflite-runtime-2.14")
    code = "import numpy, importlib.util as u; print(numpy.__version__, u.find_spec('click'), u.find_spec('pytest'))"
    done = subprocess.run(
        [ready.python, "-c", code],
        env={**os.environ, "PYTHONPATH": ready.path, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1.26.4", "None", "None"]
