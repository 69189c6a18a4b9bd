"""docs/tutorial-update.md, typed as it stands: every command in order, in one shell, from an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulators.mosquitto import Mosquitto

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = _ROOT / "docs/tutorial-update.md"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HALTED = 3  # the exit code of `edge rollout status --follow`

pytestmark = [pytest.mark.needs_mosquitto, pytest.mark.slow, pytest.mark.timeout(240)]


def _script(broker: Mosquitto) -> str:
    lines = [
        "set -eu",
        f'edge() {{ {shlex.quote(sys.executable)} -c "from edge.cli import main; main()" "$@"; }}',
    ]
    for block in _BLOCK.findall(_PAGE.read_text(encoding="utf-8")):
        command = block.strip()
        if command.startswith(("edge central run", "edge run")):  # another terminal
            lines.append(f"{command} 2>{command.split()[1]}.log &")
            continue
        lines += [_typed(line) for line in command.splitlines()]
        if "cat > central.toml" in command or "cat > edge.toml" in command:
            # Everything else is as on a machine of one's own; a test's broker has a port of its own.
            name = "edge.toml" if "edge.toml" in command else "central.toml"
            ending = next(number for number, line in enumerate(lines) if line.startswith(f"cat > {name}"))
            lines.insert(ending + 1, f'[broker]\nhost = "{broker.host}"\nport = {broker.port}')
            if name == "central.toml":
                lines.insert(ending + 1, '[http]\nlisten = "127.0.0.1:0"')
    return "\n".join([*lines, "echo THE END"])


def _typed(line: str) -> str:
    if line == ". .venv/bin/activate":
        return "true"
    if line == "edge fleet list":  # a reader has typed for longer than the device needs to come up
        return "until edge fleet list | grep porch; do sleep 0.5; done"
    if line == "edge rollout status oops --follow":
        return f"{line} || test $? = {_HALTED}"
    return line


def test_every_command_of_the_page_does_what_it_says(tmp_path: Path, mosquitto: str) -> None:
    (tmp_path / "edge").symlink_to(_ROOT / "edge")
    with Mosquitto(mosquitto) as broker:
        shell = subprocess.Popen(
            ["bash", "-c", _script(broker)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            assert shell.stdout is not None
            told = ""
            for line in shell.stdout:
                told += line
                if line == "THE END\n":
                    break
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
            shell.wait()
            assert shell.stdout is not None
            shell.stdout.close()
    assert told.endswith("THE END\n"), told
    assert "topics release 1 is signed" in told
    assert "topics release 2 is signed" in told
    assert "takes image input, the pipeline's source gives text" in told
    assert '"target":"models/topics/1.json"' in told
    assert "reads marathons as politics" in told
