"""`./run prove`: every proof has its short form among the tests, and what cannot run here says so."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.prove import PROOFS, CannotError, Proof, main

_ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_a_proof_has_a_short_form_and_commands_that_are_there(proof: Proof) -> None:
    assert (_ROOT / proof.short).is_file()
    try:
        commands = proof.commands(argparse.Namespace(suite=None))
    except CannotError:
        assert proof.name in {"tuf", "fsync"}, "the suite, or strace, is not there"
        return
    for command in commands:
        assert find_spec(command[2]) is not None
        assert all((_ROOT / word).is_file() for word in command[3:] if word.startswith("tests/"))


def test_what_there_is_is_listed_and_a_wrong_name_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "tuf", "flips"]) == 0
    assert capsys.readouterr().out.count("in short: ") == 2
    assert main(["flip"]) == 2
    assert "flips" in capsys.readouterr().err


@pytest.mark.parametrize("is_given", [False, True])
def test_without_the_suite_the_conformance_proof_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, is_given: bool
) -> None:
    assert main(["tuf", *(["--suite", str(tmp_path)] if is_given else [])]) == 0
    out = capsys.readouterr().out
    assert "not run: " in out
    assert "github.com/theupdateframework/tuf-conformance" in out
