"""Cameras that break when a test says so: an MJPEG server, and stand-ins for the modules `cv2` and `picamera2`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

RED = (0, 0, 255)  # B, G, R
INTERVAL_S = 0.01


def red_card(width: int = 64, height: int = 48) -> Any:
    return np.full((height, width, 3), RED, np.uint8)


def write_clip(path: Path, pictures: list[Any], fps: float = 25.0) -> Path:
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


class Faults:
    """What goes wrong with a camera. Threads that play the camera ask here before each picture."""

    def __init__(self) -> None:
        self._flowing = threading.Event()
        self._flowing.set()
        self._ended = threading.Event()
        self.is_cut = False

    def stall(self) -> None:
        """No picture comes, and nothing else happens."""
        self._flowing.clear()

    def cut(self) -> None:
        """The camera goes away."""
        self.is_cut = True
        self._flowing.set()

    def recover(self) -> None:
        self.is_cut = False
        self._flowing.set()

    def end(self) -> None:
        """The test is over: nobody waits any longer."""
        self._ended.set()
        self.cut()

    def next(self) -> bool:
        """Wait for the next picture's time; False when the camera is away."""
        self._ended.wait(INTERVAL_S)
        self._flowing.wait(30)
        return not self.is_cut


class MjpegServer:
    """An HTTP camera on a free port. While cut, it drops its clients and refuses new ones."""

    def __init__(self, faults: Faults) -> None:
        jpeg = cv2.imencode(".jpg", red_card())[1].tobytes()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if faults.is_cut:
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=edge")
                self.end_headers()
                try:
                    while faults.next():
                        head = f"--edge\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                except OSError:
                    pass  # the client left

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
                pass

        self._faults = faults
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/stream.mjpg"

    def __enter__(self) -> MjpegServer:  # noqa: PYI034 - typing.Self is Python 3.11's
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._faults.end()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class FakeCv2:
    """As much of `cv2` as the V4L2 source uses. `settings` are the properties set, in order."""

    CAP_V4L2 = 200
    CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT, CAP_PROP_FPS, CAP_PROP_FOURCC, CAP_PROP_BUFFERSIZE = 3, 4, 5, 6, 38

    class VideoWriter:
        @staticmethod
        def fourcc(*letters: str) -> int:
            return int.from_bytes("".join(letters).encode(), "little")

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.settings: list[tuple[int, float]] = []
        self.opened: list[tuple[Any, int]] = []
        self.retrieved = 0
        self.open_handles = 0

    def VideoCapture(self, device: Any, backend: int) -> _FakeCapture:  # noqa: N802 - OpenCV's name
        self.opened.append((device, backend))
        return _FakeCapture(self)


class _FakeCapture:
    def __init__(self, module: FakeCv2) -> None:
        self._module = module
        self._is_open = not module.faults.is_cut and module.open_handles == 0  # the kernel lends a camera once
        self._has_picture = False
        module.open_handles += self._is_open

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._is_open

    def set(self, prop: int, value: float) -> bool:
        self._module.settings.append((prop, value))
        return True

    def get(self, prop: int) -> float:
        return {FakeCv2.CAP_PROP_FRAME_WIDTH: 64.0, FakeCv2.CAP_PROP_FRAME_HEIGHT: 48.0}.get(prop, 0.0)

    def grab(self) -> bool:
        self._has_picture = self._module.faults.next()
        return self._has_picture

    def retrieve(self) -> tuple[bool, Any]:
        self._module.retrieved += 1
        return self._has_picture, red_card() if self._has_picture else None

    def release(self) -> None:
        self._module.open_handles -= self._is_open
        self._is_open = False


class FakePicamera2:
    """As much of `picamera2` as the source uses. Like the real one, "RGB888" is B, G, R in memory."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.configuration: dict[str, Any] = {}
        self.calls: list[str] = []

    def Picamera2(self, camera: int) -> _FakeRibbon:  # noqa: N802 - picamera2's name
        if self.faults.is_cut:
            raise IndexError("list index out of range")  # what the real one says without a camera
        return _FakeRibbon(self)


class _FakeRibbon:
    def __init__(self, module: FakePicamera2) -> None:
        self._module = module
        self.start = self._noting("start")
        self.stop = self._noting("stop")
        self.close = self._noting("close")

    def _noting(self, name: str) -> Callable[[], None]:
        return lambda: self._module.calls.append(name)

    def create_video_configuration(self, **options: Any) -> dict[str, Any]:
        return options

    def configure(self, options: dict[str, Any]) -> None:
        self._module.configuration = options

    def capture_array(self, stream: str) -> Any:
        if not self._module.faults.next():
            raise RuntimeError("Camera frontend has timed out!")
        width, height = self._module.configuration["main"]["size"]
        card = red_card(width, height)
        return card if self._module.configuration["main"]["format"] == "RGB888" else card[:, :, ::-1]
