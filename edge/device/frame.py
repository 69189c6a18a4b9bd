"""What sources hand to pipelines.

Promises: a frame's pixels belong to whoever received it; no source writes to them again.
Leaves out: where they came from.
Thread: made by a source's thread, read by a pipeline's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Frame", "Text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A picture: uint8, (height, width, 3), BGR. `captured_s` is monotonic seconds, `made_ms` wall milliseconds.

    `media_s` is the time inside a clip that plays as fast as it can, so that what counts in seconds (the gate's hold
    and heartbeat) means the clip's seconds; it never goes back, not even where the clip loops. None: time is time.
    """

    image: npt.NDArray[np.uint8] | npt.NDArray[Any]
    number: int
    captured_s: float
    made_ms: int
    media_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text. `id` is what its answer will name; `reply_to` an extra topic for the answer.

    `taken` is called, from any thread, once its answer is committed: until then whoever sent the text keeps it.
    """

    text: str
    id: str
    captured_s: float
    made_ms: int
    reply_to: str | None = None
    taken: Callable[[], None] | None = None
