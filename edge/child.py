"""Work that can kill, hang or starve a process, done in a child that is there for it.

Promises: a child serves one call after another and keeps what it has loaded in between; whatever happens in it (a
signal, an endless loop, no memory left) ends here as one `ChildError`, and what it refuses in our own words as that
very error; its chatter goes to a log and never to the user's terminal; it dies with whoever started it.
Leaves out: what is done (`engines.host`, `converters`); sharing a child between threads.
Thread: one thread starts, calls and closes a child; a call blocks until the answer or the end of its time.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from edge import errors
from edge.clock import SystemClock
from edge.errors import ChildError, ConfigError, EdgeError, MissingExtraError, OutOfMemoryError, OutOfTimeError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Child", "import_path", "main"]

_Answer = TypeVar("_Answer", bound=Struct)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LAST_WORDS_BYTES = 4096
_READ_BYTES = 1 << 16
_STOP_AFTER_S = 5.0
_OUT_OF_MEMORY_WORDS = ("MemoryError", "bad_alloc", "Cannot allocate memory", "out of memory", "Unable to allocate")


class _Call(Struct, frozen=True, kw_only=True):
    """One line to the child. `request` is the JSON of the function's own request type."""

    function: str
    request: msgspec.Raw


class _Reply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line back. With `error`, the name of its class and what it says."""

    answer: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    message: str = ""
    extra: str = ""


class Child:
    """A process that runs the functions of one module; a context manager."""

    def __init__(
        self,
        module: str,
        *,
        what: str,
        python: str = sys.executable,
        path: str | None = None,
        memory_mb: int | None = None,
        environ: Mapping[str, str] | None = None,
        files: Sequence[int] = (),
        log: Path | None = None,
    ) -> None:
        """Start the process; the module is imported in it at the first call.

        Args:
            module: its functions take one `Struct` and return one.
            what: names the work in messages: "the conversion", "LiteRT".
            python: the interpreter, which may be another environment's.
            path: its `PYTHONPATH`; by default this process's own import path.
            memory_mb: private memory it may take, in units of 2^20 bytes, libraries and thread stacks included.
            environ: variables on top of ours.
            files: descriptors that it inherits, under the same numbers.
            log: file that its output is appended to; by default one that is gone afterwards.

        Raises:
            ChildError: no process could be started.
        """
        self._what = what
        self._memory_mb = memory_mb
        self._log: IO[bytes] = tempfile.TemporaryFile() if log is None else log.open("ab+")  # noqa: SIM115 - see close
        self._told_bytes = self._log_bytes()  # of the log, where what is said of the next death begins
        reader, writer = os.pipe()
        self._answers = reader
        self._pending = b""
        try:
            self._process = subprocess.Popen(
                [python, "-m", "edge.child", module, str(writer), str(memory_mb or 0)],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(writer, *files),
                env={**os.environ, "PYTHONPATH": path or import_path(), "PYTHONSAFEPATH": "1", **(environ or {})},
            )
        except OSError as err:
            os.close(reader)
            self._log.close()
            raise ChildError(f"no process could be started for {what}: {err.strerror or err}") from err
        finally:
            os.close(writer)

    def call(self, function: str, request: Struct, answer: type[_Answer], *, timeout_s: float) -> _Answer:
        """Run `function(request)` in the child.

        Raises:
            EdgeError: what the function itself refused, as it raised it.
            OutOfTimeError, OutOfMemoryError, ChildError: it did not come back; the child is gone.
        """
        line = msgspec.json.encode(_Call(function=function, request=msgspec.Raw(msgspec.json.encode(request)))) + b"\n"
        stdin = self._process.stdin
        if stdin is None or self._process.poll() is not None:
            raise self._died()
        try:
            stdin.write(line)
            stdin.flush()
        except BrokenPipeError as err:
            raise self._died() from err
        raw = self._read_line(timeout_s)
        try:
            reply = msgspec.json.decode(raw, type=_Reply)
        except msgspec.DecodeError as err:
            words = self._last_words()
            self.close()
            raise ChildError(f"{self._what} answered with something that is no reply{words}") from err
        self._told_bytes = self._log_bytes()
        if reply.error:
            raise self._told(reply)
        return msgspec.json.decode(reply.answer, type=answer)

    @property
    def is_alive(self) -> bool:
        """Whether another call may be made."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process. Idempotent."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_STOP_AFTER_S if self._answers >= 0 else 0.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._answers >= 0:
            os.close(self._answers)
            self._answers = -1
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.is_alive:
            self._process.kill()
        self.close()

    def _read_line(self, timeout_s: float) -> bytes:
        clock = SystemClock()
        end_s = clock.monotonic_s() + timeout_s
        while b"\n" not in self._pending:
            # poll, not select: a process with many open files has numbers above 1023
            ready = select.poll()
            ready.register(self._answers, select.POLLIN | select.POLLHUP)
            if not ready.poll(max(0.0, end_s - clock.monotonic_s()) * 1000):
                self._process.kill()
                self.close()
                raise OutOfTimeError(f"{self._what} did not end within {timeout_s:g} s")
            piece = os.read(self._answers, _READ_BYTES)
            if not piece:
                raise self._died()
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _died(self) -> ChildError:
        status = self._process.wait()
        words = self._last_words()
        self.close()
        if any(word in words for word in _OUT_OF_MEMORY_WORDS) and self._memory_mb is not None:
            return self._starved()
        if status < 0:
            return ChildError(f"{self._what} kills its process ({_signal_name(-status)}{words})")
        return ChildError(f"{self._what} ended with status {status}{words}")

    def _starved(self) -> OutOfMemoryError:
        allowed = "" if self._memory_mb is None else f" than the {self._memory_mb} MB it may have"
        return OutOfMemoryError(f"{self._what} needs more memory{allowed}")

    def _told(self, reply: _Reply) -> EdgeError:
        if reply.error == "MemoryError":
            return self._starved()
        kind = getattr(errors, reply.error, None)
        if kind is MissingExtraError:
            return MissingExtraError(reply.message, reply.extra)
        if kind is ConfigError:
            return ConfigError(tuple(reply.message.splitlines()))
        if isinstance(kind, type) and issubclass(kind, EdgeError):
            return kind(reply.message)
        self.close()  # it ends by itself, and must not seem alive until it has
        return ChildError(f"{self._what} failed: {reply.message or reply.error}")

    def _last_words(self) -> str:
        if self._log.closed:
            return ""
        self._log.seek(max(self._told_bytes, self._log_bytes() - _LAST_WORDS_BYTES))
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1].strip()[:300]}" if lines else ""

    def _log_bytes(self) -> int:
        return os.fstat(self._log.fileno()).st_size


def import_path() -> str:
    """This process's import path, for a child: ours, and nothing of the working directory's by accident."""
    return os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main() -> None:
    """`python -m edge.child MODULE ANSWER_FD MEMORY_MB`: serve the calls on standard input until it closes."""
    module, answer_fd, memory_mb = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _limit(memory_mb)
    functions: Any = None
    calls = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a library that asks a question gets no answer, and no call of ours
    with os.fdopen(answer_fd, "wb") as answers:
        for line in calls:
            call = msgspec.json.decode(line, type=_Call)
            try:
                functions = functions or importlib.import_module(module)
                reply = _Reply(answer=_run(getattr(functions, call.function), call.request))
            except EdgeError as err:
                reply = _refusal(err)
            except MemoryError:
                reply = _Reply(error="MemoryError")
            except Exception as err:
                answers.write(_line(_Reply(error=type(err).__name__, message=_first_line(err))))
                answers.flush()
                raise  # the traceback goes to the log, and this process with what it may have broken
            answers.write(_line(reply))
            answers.flush()


def _run(function: Any, request: msgspec.Raw) -> msgspec.Raw:
    (wanted,) = (hint for name, hint in _hints(function).items() if name != "return")
    return msgspec.Raw(msgspec.json.encode(function(msgspec.json.decode(request, type=wanted))))


def _hints(function: Any) -> dict[str, Any]:
    import typing

    return typing.get_type_hints(function)


def _refusal(err: EdgeError) -> _Reply:
    if isinstance(err, MissingExtraError):
        return _Reply(
            error="MissingExtraError", message=str(err).split(" is not installed", maxsplit=1)[0], extra=err.extra
        )
    return _Reply(error=type(err).__name__, message=str(err))


def _first_line(err: BaseException) -> str:
    lines = str(err).strip().splitlines()
    return f"{type(err).__name__}: {lines[0][:300]}" if lines else type(err).__name__


def _line(reply: _Reply) -> bytes:
    return msgspec.json.encode(reply) + b"\n"


def _limit(memory_mb: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # another libc: standard input closes all the same
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mb:
        # Private memory and not address space: runtimes and frameworks map far more than they touch.
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 20, memory_mb << 20))
    with contextlib.suppress(OSError):  # a locked-down container: the limit above still stands
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
