"""A Raspberry Pi camera through picamera2, where the system has it.

Promises: pictures are BGR in memory. picamera2 names formats as the kernel does, lowest byte last, so the format it
calls "RGB888" is B, G, R in a numpy array (picamera2 issues 191 and 848).
Leaves out: controls such as exposure; the camera's own automatics stay on.
Thread: `grab:<name>`.

picamera2 comes with the operating system (apt), never from an index of wheels: it must match the system's libcamera.
"""

from __future__ import annotations

from typing import Any

from edge.clock import Clock
from edge.device.sources.camera import Camera, Device
from edge.device.sources.config import Picamera2Config
from edge.device.sources.opencv import Image
from edge.errors import SourceError

__all__ = ["picamera2_camera"]


class _Running:
    """A `Device` over a started `Picamera2`."""

    def __init__(self, name: str, camera: Any) -> None:
        self._name = name
        self._camera = camera
        self._image: Image | None = None

    def grab(self) -> None:
        try:
            self._image = self._camera.capture_array("main")  # a copy: the buffer goes back to the camera
        except (RuntimeError, OSError) as err:
            raise SourceError(f"{self._name}: {err}") from err

    def retrieve(self) -> Image:
        if self._image is None:
            raise SourceError(f"{self._name}: no picture was taken yet")
        return self._image

    def release(self) -> None:
        self._camera.stop()
        self._camera.close()


def picamera2_camera(config: Picamera2Config, clock: Clock, picamera2: Any = None) -> Camera:
    """A camera on the ribbon cable; `picamera2` stands in for the module."""
    name = f"picamera2 camera {config.camera}"

    def connect() -> Device:
        module = picamera2 or _load()
        try:
            camera = module.Picamera2(config.camera)
        except (RuntimeError, IndexError, OSError) as err:
            advice = "rpicam-hello --list-cameras lists what is there"
            raise SourceError(f"{name}: cannot be opened: {err}; {advice}") from err
        try:
            camera.configure(
                camera.create_video_configuration(
                    main={"size": (config.width_px, config.height_px), "format": "RGB888"},
                    controls={"FrameRate": config.fps},
                    buffer_count=config.buffers,
                )
            )
            camera.start()
        except (RuntimeError, ValueError, OSError) as err:
            camera.close()
            raise SourceError(f"{name}: cannot be started: {err}") from err
        return _Running(name, camera)

    return Camera(name, connect, clock, stall_after_s=config.stall_after_s, max_fps=config.max_fps)


def _load() -> Any:
    try:
        import picamera2
    except ImportError as err:
        raise SourceError(
            "picamera2 is not installed; try: sudo apt install python3-picamera2, in a virtual environment made with "
            "--system-site-packages, or the source type 'pipe' with preset 'rpicam-vid', which needs neither"
        ) from err
    return picamera2
