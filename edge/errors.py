"""Every exception this project raises on purpose.

The type says what to do next; the supervisor and the command line hold that table.

    EdgeError
    |-- InputError          ask the person who gave it; never retried            exit 65
    |   |-- ModelError      a file that is no model, or one no engine here takes
    |   |-- ManifestError   a manifest that is wrong or asks for what we lack
    |   |-- MediaError      a picture, clip or text that cannot be read
    |   |-- RefusedError    it can be done, and the result would be wrong        exit 4
    |   |-- UnsupportedSourceError  no way leads from this file to a model       exit 5
    |   |-- NotFoundError   what was named is not there
    |   `-- ConfigError     everything wrong with a config file, at once         exit 78
    |-- MissingExtraError   a dependency is not installed; the message adds it   exit 69
    |-- EnvironmentFailedError  another tool's environment cannot be made here   exit 6
    |-- ChildError          a child process died or made no sense
    |   |-- OutOfMemoryError  it was not given the memory it asked for           exit 6
    |   `-- OutOfTimeError  it did not end in time                               exit 6
    |-- TrustError          not signed as it must be; nothing of it is used          exit 77
    |   `-- StaleError      signed as it must be, and old news: drop it
    |-- AccessError         nobody we know, or not allowed                           exit 77
    |   `-- TooManyTriesError  it was tried too often; wait
    |-- RepositoryError     models cannot be fetched now; try again with back-off
    |   |-- NotInRepositoryError  it is not there; asking again will not help
    |   `-- NotNowError     nobody answers, or asks for patience; waiting is no failed try
    |-- InferenceError      this input failed; the next one may work
    |-- SourceError         a camera or stream went away; reopen with back-off
    |-- WireError           the broker is away; reconnect with back-off
    |-- ProtocolError       a peer sent what we cannot read; drop and count it
    `-- StoreError          a database failed
        `-- DiskFullError   no room; make room or record a gap
"""

from __future__ import annotations

__all__ = [
    "AccessError",
    "ChildError",
    "ConfigError",
    "DiskFullError",
    "EdgeError",
    "EnvironmentFailedError",
    "InferenceError",
    "InputError",
    "ManifestError",
    "MediaError",
    "MissingExtraError",
    "ModelError",
    "NotFoundError",
    "NotInRepositoryError",
    "NotNowError",
    "OutOfMemoryError",
    "OutOfTimeError",
    "ProtocolError",
    "RefusedError",
    "RepositoryError",
    "SourceError",
    "StaleError",
    "StoreError",
    "TooManyTriesError",
    "TrustError",
    "UnsupportedSourceError",
    "WireError",
]


class EdgeError(Exception):
    """Anything this project raises on purpose. The message is for people: what, expected, found, what to try."""

    exit_code = 1


class InputError(EdgeError):
    """Someone handed over a thing that cannot work. Retrying will not help."""

    exit_code = 65  # EX_DATAERR


class ModelError(InputError):
    """The file is no model, or no engine here takes it."""


class ManifestError(InputError):
    """The manifest is malformed, contradicts its model, or requires what this version does not know."""


class MediaError(InputError):
    """A picture, clip or text that cannot be read."""


class RefusedError(InputError):
    """What was asked can be done, and the result would be wrong where it is to run. Nothing was written."""

    exit_code = 4


class UnsupportedSourceError(InputError):
    """No way leads from this file to a model that runs here. The message has a way round."""

    exit_code = 5


class NotFoundError(InputError):
    """What was named is not there. The message says where to look for the right name."""


class ConfigError(InputError):
    """A configuration that cannot be used. `problems` holds every fault found, one line each."""

    exit_code = 78  # EX_CONFIG: a supervisor must not restart on it

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class MissingExtraError(EdgeError):
    """An optional dependency is absent."""

    exit_code = 69  # EX_UNAVAILABLE

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed; try: pip install 'edge-inference-runtime[{extra}]'")
        self.extra = extra


class EnvironmentFailedError(EdgeError):
    """The environment of another tool or an older engine cannot be made. The message has the command to type."""

    exit_code = 6


class ChildError(EdgeError):
    """A child process died, or said something that nobody can read. The message has its last words."""


class OutOfMemoryError(ChildError):
    """A child process was not given the memory that it asked for."""

    exit_code = 6


class OutOfTimeError(ChildError):
    """A call to a child process did not end within its time; the child is gone."""

    exit_code = 6


class TrustError(EdgeError):
    """Signatures, versions, digests or dates are not what they must be. Nothing of it was used."""

    exit_code = 77  # EX_NOPERM


class StaleError(TrustError):
    """An order that was carried out already, or that a newer one replaced. It comes again at each reconnect."""


class AccessError(EdgeError):
    """Whoever asks is nobody we know, or may not do this. Nothing was done."""

    exit_code = 77  # EX_NOPERM


class TooManyTriesError(AccessError):
    """It was tried too often. Trying again helps in `retry_after_s` seconds (0: it does not say), not sooner."""

    def __init__(self, why: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class RepositoryError(EdgeError):
    """Where models come from cannot be reached, or answers nonsense."""


class NotInRepositoryError(RepositoryError):
    """The repository answered, and has no such file."""


class NotNowError(RepositoryError):
    """Nobody answers now, or asks to come again in `retry_after_s` seconds (0: it did not say)."""

    def __init__(self, why: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class InferenceError(EdgeError):
    """This one input failed."""


class SourceError(EdgeError):
    """A source of frames or texts went away. Reopen it."""


class WireError(EdgeError):
    """The broker cannot be reached, or refused us."""


class ProtocolError(EdgeError):
    """A peer sent bytes that this version cannot read."""


class StoreError(EdgeError):
    """A database failed."""


class DiskFullError(StoreError):
    """There was no room to commit."""
