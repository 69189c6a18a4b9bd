"""What the commands about signed models share: where registry and keys are, and how a passphrase is come by.

Promises: a passphrase comes from a file, from the environment or from the terminal, never from the command line, where
others could read it; what nobody can give is one sentence.
Leaves out: the registry (`central.registry`).
Thread: main.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.errors import InputError

if TYPE_CHECKING:
    from edge.central.registry.registry import Registry
    from edge.central.registry.ring import Ask, Question

__all__ = ["ONLINE_VARIABLE", "VARIABLE", "asking", "keys_options", "open_registry", "registry_option"]

VARIABLE = "EDGE_KEYS_PASSPHRASE"
ONLINE_VARIABLE = "EDGE_ONLINE_PASSPHRASE"

registry_option = click.option(
    "--registry",
    "where",
    envvar="EDGE_REGISTRY",
    default="registry",
    metavar="PLACE",
    help="A folder, or a URL that fsspec knows (s3://...); EDGE_REGISTRY sets it.  [default: ./registry]",
)
_keys_options = (
    click.option(
        "--keys",
        envvar="EDGE_KEYS",
        default="keys",
        type=click.Path(path_type=Path),
        help="Folder of the keys, never inside the registry; EDGE_KEYS sets it.  [default: ./keys]",
    ),
    click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        help=f"File with the passphrase of the keys.  [default: {VARIABLE}, else asked for]",
    ),
    click.option(
        "--online-passphrase-file",
        type=click.Path(path_type=Path),
        help=f"File with that of the online keys, where it is another.  [default: {ONLINE_VARIABLE}, else the same]",
    ),
)


def keys_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --registry, --keys and the passphrases; the function gets `where`, `keys` and `ask`."""

    @wraps(function)
    def inner(*, passphrase_file: Path | None, online_passphrase_file: Path | None, **rest: Any) -> Any:
        return function(ask=asking(passphrase_file, online_passphrase_file), **rest)

    for option in reversed((registry_option, *_keys_options)):
        inner = option(inner)
    return inner


def open_registry(where: str, keys: Path, ask: Ask) -> Registry:
    """The registry that the options name. Raises as `KeyRing.open` and `open_place`."""
    from edge.central.registry.place import open_place
    from edge.central.registry.registry import Registry
    from edge.central.registry.ring import KeyRing
    from edge.clock import SystemClock

    return Registry(open_place(where), KeyRing.open(keys, ask), SystemClock())


def asking(passphrase_file: Path | None, online_passphrase_file: Path | None) -> Ask:
    """Who is asked for passphrases and PINs: files, the environment, then whoever sits at the terminal."""

    def ask(question: Question) -> str:
        if question.kind != "PIN":
            found = _said(online_passphrase_file, ONLINE_VARIABLE) if question.is_online else None
            found = _said(passphrase_file, VARIABLE) if found is None else found
            if found is not None:
                return found
        return _prompt(question)

    return ask


def _said(file: Path | None, variable: str) -> str | None:
    if file is None:
        return os.environ.get(variable)
    return file.read_text(encoding="utf-8").removesuffix("\n")


def _prompt(question: Question) -> str:
    group = "the online keys, which the centre holds" if question.is_online else "the offline keys"
    is_new = question.kind == "new passphrase"
    text = f"New passphrase of {group}" if is_new else f"{question.kind.capitalize()} of {question.key}"
    if question.kind == "PIN":
        text = f"PIN of {question.key}"
    try:
        answer: str = click.prompt(text, hide_input=True, confirmation_prompt=is_new, err=True, default="")
    except click.Abort as err:
        raise InputError(
            f"no {question.kind} for {question.key}: name a file with --passphrase-file, or set {VARIABLE}"
        ) from err
    return answer
