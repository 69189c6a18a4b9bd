"""Secrets that programs and browsers show.

Promises: 256 bits of chance each; only a sha256 of them is ever kept, from which nobody comes back to the secret.
Leaves out: passwords, which people choose and which need a slow hash (`passwords`).
Thread: any; pure, chance aside.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

__all__ = ["TOKEN_PREFIX", "csrf_of", "digest_of", "is_same", "new_secret", "new_token"]

TOKEN_PREFIX = "edge_"  # noqa: S105 - so that scanners of repositories find one that got lost


def new_secret() -> str:
    """For a log-in or a link; safe in a URL and a cookie."""
    return secrets.token_urlsafe(32)


def new_token() -> str:
    """For a program."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """What is kept of it. No slow hash: 256 bits cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def csrf_of(secret: str) -> str:
    """What a page must repeat to change something: made from the log-in, and no way back to it."""
    return hmac.new(secret.encode("utf-8", "surrogatepass"), b"edge csrf", hashlib.sha256).hexdigest()


def is_same(one: str, other: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))
