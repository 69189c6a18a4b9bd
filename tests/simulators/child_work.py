"""What a child process is asked to do in tests: answer, refuse, die, hang, starve, chatter."""

from __future__ import annotations

import os
import signal
import sys
import threading

from msgspec import Struct

from edge import errors
from edge.child import Child
from edge.errors import ConfigError, MissingExtraError


class Given(Struct, frozen=True, kw_only=True):
    """A number and a word."""

    number: int = 0
    word: str = ""


class Made(Struct, frozen=True, kw_only=True):
    """The same."""

    number: int = 0
    word: str = ""


_sum = 0


def add(given: Given) -> Made:
    """The sum of all that was given so far."""
    global _sum  # noqa: PLW0603 - what a child keeps between calls
    _sum += given.number
    return Made(number=_sum)


def say_who(_: Given) -> Made:
    return Made(number=os.getpid(), word=sys.executable)


def raise_signal(given: Given) -> Made:
    os.kill(os.getpid(), given.number)
    return Made()


def leave(given: Given) -> Made:
    print("I have had enough", file=sys.stderr, flush=True)
    os._exit(given.number)


def hang(_: Given) -> Made:
    threading.Event().wait()
    return Made()


def take_memory(given: Given) -> Made:
    held = bytearray(given.number << 20)
    return Made(number=len(held))


def refuse(given: Given) -> Made:
    """With the error of that name."""
    kind = getattr(errors, given.word)
    if kind is MissingExtraError:
        raise MissingExtraError("a thing", "some-extra")
    if kind is ConfigError:
        raise ConfigError(("no such key", "no such value"))
    raise kind("expected this, found that; try the other")


def fail(_: Given) -> Made:
    raise KeyError("nobody expected this")


def chatter(_: Given) -> Made:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"to descriptor 1\n")
    os.write(2, b"to descriptor 2\n")
    return Made(word=sys.stdin.read())


def babble(_: Given) -> Made:
    """Write what is no reply where replies go."""
    os.write(int(sys.argv[2]), b"this is no reply\n")
    return Made()


def dribble(_: Given) -> Made:
    """Never end, and never be silent for long either."""
    while True:
        os.write(int(sys.argv[2]), b" ")
        threading.Event().wait(0.05)


def have_a_child(_: Given) -> Made:
    """Start a grandchild that hangs; its process number."""
    child = Child("tests.simulators.child_work", what="the grandchild")
    made = child.call("say_who", Given(), Made, timeout_s=20)
    threading.Thread(target=lambda: child.call("hang", Given(), Made, timeout_s=600), daemon=True).start()
    return made


def ignore_signals(_: Given) -> Made:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return Made()
