"""Passwords as Mosquitto keeps them, so that its own program for that need not be there.

Promises: what `hashed` returns can stand behind a name in a Mosquitto password file, from version 2.0 on.
Leaves out: passwords that people choose. Ours are 192 random bits, which nobody guesses however fast the hash is.
Thread: any; pure but for the random numbers.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

__all__ = ["hashed", "new_password"]

# Mosquitto's own. It hashes in its only thread for each client that comes in: a hundred times as many would make ten
# thousand devices wait minutes after a restart, and make nothing harder to guess.
_ROUNDS = 101
_SALT_BYTES = 12


def new_password() -> str:
    """32 letters, digits, '-' and '_'."""
    return secrets.token_urlsafe(24)


def hashed(password: str, salt: bytes | None = None) -> str:
    """`$7$rounds$salt$hash`: PBKDF2 with SHA-512, as `mosquitto_passwd` writes it (src/mosquitto_passwd, format 7)."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
