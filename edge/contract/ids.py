"""Names and numbers that identify things.

Promises: a name that passed `check_name` is safe in an MQTT topic, a file name and a URL.
Leaves out: who may use a name; the broker's access list decides that.
Thread: any; pure.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from edge.errors import InputError

__all__ = ["EPOCH_BITS", "MAX_NUMBER", "check_name", "is_number", "new_epoch", "new_session"]

# Numbers travel in JSON too, and JavaScript's are doubles. 2^53 lineages of one device never meet by chance.
EPOCH_BITS = 53
MAX_NUMBER = (1 << EPOCH_BITS) - 1  # of an epoch, a session or a seq

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def check_name(what: str, name: str) -> str:
    """Return `name` when it may stand in a topic.

    Raises:
        InputError: it is empty, too long, or holds a character that topics, files or URLs give a meaning to.
    """
    if _NAME.fullmatch(name) is None or name == "all":
        raise InputError(
            f"{what} {name!r} cannot be used: expected 1 to 63 letters, digits, '_', '-' or '.', "
            "starting with a letter or digit, and not the reserved word 'all'"
        )
    return name


def is_number(value: Any) -> bool:
    """Whether this can be an epoch, a session or a seq: a whole number, 1 to `MAX_NUMBER`."""
    return isinstance(value, int) and 0 < value <= MAX_NUMBER


def new_epoch() -> int:
    """Draw a random id for a new lineage of an outbox, 1 to 2^53 - 1."""
    return secrets.randbelow((1 << EPOCH_BITS) - 1) + 1


def new_session() -> int:
    """Draw a random id for one run of one process, 1 to 2^53 - 1."""
    return new_epoch()
