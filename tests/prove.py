"""Run the project's heavy proofs in their long form: all of them, or those whose names are given.

    ./run prove                                    an hour for all
    ./run prove kill-table powercut-updates        some
    ./run prove tuf --suite ../tuf-conformance     TUF's own conformance suite, from your checkout of it

The short form of each is among the tests. Exit code 1 when one fails; one that cannot run here says why, and how it
could.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

_ROOT = Path(__file__).resolve().parents[1]
_CLIENT = "tests/conformance/tuf_client"
_SUITE = "https://github.com/theupdateframework/tuf-conformance"

Commands: TypeAlias = Sequence[Sequence[str]]


class CannotError(Exception):
    """Why a proof cannot run here, for people."""


@dataclass(frozen=True)
class Proof:
    """`short`: the test that proves less of the same in seconds."""

    name: str
    claim: str
    short: str
    commands: Callable[[argparse.Namespace], Commands]


def _module(name: str, *arguments: str) -> Callable[[argparse.Namespace], Commands]:
    return lambda _: [[sys.executable, "-m", name, *arguments]]


def _tests(*arguments: str, seeds: int = 0) -> Callable[[argparse.Namespace], Commands]:
    """`seeds`: how often, each time with other examples."""
    command = [sys.executable, "-m", "pytest", *arguments]
    return lambda _: [[*command, f"--hypothesis-seed={seed}"] for seed in range(seeds)] or [command]


def _suite(options: argparse.Namespace) -> Commands:
    if options.suite is None:
        raise CannotError(f"needs TUF's suite: git clone {_SUITE}, then ./run prove tuf --suite DIR")
    suite = options.suite.resolve()
    if not (suite / "tuf_conformance").is_dir():
        raise CannotError(f"{suite} is no checkout of {_SUITE}")
    if shutil.which("faketime") is None:
        raise CannotError("the suite needs faketime; on Debian type: sudo apt-get install faketime")
    words = (sys.executable, str(_ROOT / _CLIENT))
    if any(" " in word for word in words):
        raise CannotError(f"the suite takes the command apart at spaces, and {' or '.join(words)} has one")
    # Its settings, not ours; a plugin that a converter brings speaks an older pytest.
    own = ("-c", str(suite / "pyproject.toml"), "--rootdir", str(suite), "-p", "no:anyio", "-p", "no:cacheprovider")
    return [
        [sys.executable, "-m", "pytest", "-q", *own, str(suite / "tuf_conformance"), "--entrypoint", " ".join(words)]
    ]


def _kernel(_: argparse.Namespace) -> Commands:
    if shutil.which("strace") is None:
        raise CannotError("needs strace; on Debian type: sudo apt-get install strace")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        raise CannotError("strace may not trace here, as in some containers")
    return [[sys.executable, "-m", "pytest", "tests/device/updates/test_slots.py", "-k", "kernel"]]


PROOFS = (
    Proof(
        "kill-table",
        "a device killed in any state of an update, at any statement or step of the disk, keeps a model that loads",
        "tests/faults/test_kill_table.py",
        _module("tests.faults.kill_table"),
    ),
    Proof(
        "powercut-updates",
        "the power may go at any write of an update: what is committed names releases that load",
        "tests/faults/test_powercut_updates.py",
        _module("tests.faults.powercut_updates"),
    ),
    Proof(
        "powercut-outbox",
        "the power may go at any write of the outbox: no accepted row is lost",
        "tests/faults/test_powercut.py",
        _tests("tests/faults/test_powercut.py", "tests/faults/test_damaged_outbox.py", "-s"),
    ),
    Proof(
        "fsync",
        "the kernel sees write, fsync, rename and fsync of the folder for every slot, in this order",
        "tests/device/updates/test_slots.py",
        _kernel,
    ),
    Proof(
        "attacks",
        "TUF's attacks, and those of who holds the broker, or the centre's online keys, on a whole device",
        "tests/device/updates/test_attacks_device.py",
        _tests(*(f"tests/device/updates/test_attacks{part}.py" for part in ("", "_device", "_broker", "_centre"))),
    ),
    Proof(
        "flips",
        "no flipped bit in anything that is read makes a device run anything but what was published",
        "tests/faults/test_flips.py",
        _module("tests.faults.flips"),
    ),
    Proof(
        "deltas",
        "a delta makes the file that was asked for, or none, in bounded memory, whatever bytes it has",
        "tests/conformance/test_delta.py",
        _tests("tests/conformance/test_delta.py", seeds=10),
    ),
    Proof(
        "rollouts",
        "no wave starts while a halt condition holds, finite reports end, and their order does not matter",
        "tests/central/rollout/test_engine_properties.py",
        _tests("tests/central/rollout/test_engine_properties.py", seeds=10),
    ),
    Proof(
        "tuf",
        "the client that a device runs passes TUF's conformance suite over MQTT, with no expected failure",
        "tests/conformance/test_tuf_client.py",
        _suite,
    ),
    Proof(
        "chaos",
        "broker, daemon and central service killed at random lose nothing; two wrong ways to settle lose rows",
        "tests/faults/test_chaos.py",
        _module("tests.faults.chaos"),
    ),
)


def prove(proof: Proof, options: argparse.Namespace) -> str:
    """Run it; how it ended, in a line."""
    print(f"\n== {proof.name}: {proof.claim}", flush=True)
    try:
        commands = proof.commands(options)
    except CannotError as err:
        return f"not run: {err}"
    began = time.monotonic()
    for command in commands:
        print(f"$ {shlex.join(['python', *command[1:]])}", flush=True)
        if code := subprocess.run(command, check=False, cwd=_ROOT).returncode:
            return f"FAILED with {code} after {time.monotonic() - began:.0f} s"
    return f"holds, {time.monotonic() - began:.0f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run prove", description="Run the heavy proofs in their long form.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(proof.name for proof in PROOFS))
    parser.add_argument("--suite", type=Path, metavar="DIR", help=f"your checkout of {_SUITE}")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    options = parser.parse_args(arguments)
    known = {proof.name: proof for proof in PROOFS}
    if unknown := [name for name in options.names if name not in known]:
        print(f"prove: no proof {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in options.names] or PROOFS
    if options.list:
        for proof in chosen:
            print(f"{proof.name:17} {proof.claim}; in short: {proof.short}")
        return 0
    ends = {proof.name: prove(proof, options) for proof in chosen}
    print()
    for name, end in ends.items():
        print(f"{name:17} {end}")
    return any(end.startswith("FAILED") for end in ends.values())


if __name__ == "__main__":
    sys.exit(main())
