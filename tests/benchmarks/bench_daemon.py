"""What the daemon itself costs: memory, time to the first result, processor time a frame, idling behind the gate.

Each figure stands beside its bound; the first three come from the real `edge run` in a process of its own, with no
broker, the fourth from the pipeline's own threads around a source and a model that cost nothing.

    python -m tests.benchmarks.bench_daemon
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SHARED = Path(os.environ.get("EDGE_SHARED_DATA", _ROOT.parent / "shared" / "data"))
_CLIP = _SHARED / "video" / "one-by-one-person-detection.mp4"
_DETECTOR = _SHARED / "models" / "detection" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
_DIGITS = _ROOT / "edge" / "demo" / "models" / "digits"
_MAIN = "from edge.cli import main; main()"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")

# A still 720p camera with its sensor's noise at 5 frames a second, raw: there is nothing to decode.
_STILL = """
import sys, time
import numpy as np
noise = np.random.default_rng(0)
scene = np.kron(noise.integers(40, 200, (45, 80, 3)), np.ones((16, 16, 1))).astype(np.int16)
frames = [np.clip(scene + noise.normal(0, 2, scene.shape), 0, 255).astype(np.uint8).tobytes() for _ in range(5)]
began_s, count = time.monotonic(), 0
while True:
    sys.stdout.buffer.write(frames[count % 5])
    sys.stdout.buffer.flush()
    count += 1
    time.sleep(max(0.0, began_s + count / 5 - time.monotonic()))
"""


class Run:
    """One `edge run`, with the environment that the unit gives it."""

    def __init__(self, folder: Path, pipeline: str) -> None:
        config = folder / "edge.toml"
        config.write_text(f'[device]\nname = "bench"\ndata_dir = "data"\n[broker]\nport = 9\n{pipeline}')
        env_file = _ROOT / "firmware_configs" / "common" / "env" / "edge.env"
        pairs = [line.split("=", 1) for line in env_file.read_text().splitlines() if line and line[0] != "#"]
        self.began_s = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, "run", "--config", str(config)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict(pairs)},
        )

    def first_result_s(self) -> float:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "first result" in line:
                return time.monotonic() - self.began_s
        raise SystemExit("daemon: it ended before its first result")

    def memory_mb(self) -> dict[str, float]:
        """In units of 10^6 bytes."""
        found = dict(re.findall(r"(\w+):\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text()))
        return {key: int(found[key]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM", "RssAnon")}

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S  # utime and stime of all its threads, children apart

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate()


def told(what: str, value: float, bound: float, unit: str, more: str = "") -> bool:
    is_met = value <= bound
    print(f"{what:<44}{value:>8.2f} {unit:<12} bound {bound:g} {'ok' if is_met else 'SHORT'}  {more}")
    return is_met


def vision() -> list[bool]:
    """Start, and memory after ten seconds of a real clip with one TFLite detector."""
    pipeline = f"""
[[pipeline]]
name = "porch"
model = "{_DETECTOR}"
[pipeline.gate]
preset = "always"
[pipeline.source]
type = "file"
path = "{_CLIP}"
is_realtime = false
loop = true
"""
    starts, memory = [], {}
    for attempt in range(3):
        with tempfile.TemporaryDirectory() as folder:
            run = Run(Path(folder), pipeline)
            starts.append(run.first_result_s())
            if attempt == 0:
                time.sleep(10)
                memory = run.memory_mb()
            run.end()
    more = f"anonymous {memory['RssAnon']:.0f}, peak {memory['VmHWM']:.0f}"
    return [
        told("first result after start (best of 3)", min(starts), 2.0, "s"),
        told("RSS with one TFLite vision model", memory["VmRSS"], 120.0, "MB", more),
    ]


def idle() -> list[bool]:
    """A still camera behind the gate."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "still.py"
        script.write_text(_STILL)
        pipeline = f"""
[[pipeline]]
name = "porch"
model = "{_DIGITS}"
[pipeline.source]
type = "pipe"
command = ["{sys.executable}", "{script}"]
pixel_format = "bgr24"
width_px = 1280
height_px = 720
fps = 5
"""
        run = Run(Path(folder), pipeline)
        run.first_result_s()
        time.sleep(5)  # the gate's first frames
        began_s, used_s = time.monotonic(), run.cpu_s()
        time.sleep(20)
        share = (run.cpu_s() - used_s) / (time.monotonic() - began_s) * 100
        run.end()
    return [told("idle: gated still 720p camera, 5 frames/s", share, 3.0, "% of a core")]


def around() -> list[bool]:
    """Processor time a frame of all the daemon's threads, where source and model cost nothing."""
    import cv2
    import numpy as np

    from edge.clock import SystemClock
    from edge.compute.gate import Gate, GateConfig
    from edge.compute.watch import QualityWatch
    from edge.contract.messages import Box, Event, InputKind, Item, ModelRef, Result, RowClass, Timing
    from edge.device.capture import FrameReader
    from edge.device.frame import Frame
    from edge.device.mailbox import Bounded
    from edge.device.outbox.store import Outbox
    from edge.device.running import Running
    from edge.device.seat import Seat
    from edge.device.supervisor import Supervisor
    from edge.device.work import FrameWork

    cv2.setNumThreads(1)  # as the daemon does
    count = 2000
    noise = np.random.default_rng(0)
    scene = np.kron(noise.integers(40, 200, (27, 48, 3)), np.ones((16, 16, 1)))
    images = [np.clip(scene + noise.normal(0, 2, scene.shape), 0, 255).astype(np.uint8) for _ in range(4)]
    clock = SystemClock()

    class Source:
        is_live = False

        def __init__(self) -> None:
            self.number = 0

        def open(self) -> None: ...

        def read(self) -> Frame | None:
            self.number += 1
            if self.number > count:
                return None
            now_s = clock.monotonic_s()
            return Frame(image=images[self.number % 4], number=self.number, captured_s=now_s, made_ms=0)

        def close(self) -> None: ...

    class Said:
        items = tuple(
            Item(label="person", score=0.7, index=0, box=Box(0.1, 0.2, 0.3, 0.4), box_px=(1, 2, 3, 4)) for _ in range(3)
        )
        timing_ms = Timing(prepare=1.0, run=2.0, decode=3.0)

    class Model:
        ref = ModelRef(name="none", version="0", digest="ab" * 32, engine="none")
        kind = InputKind.IMAGE

        def infer_image(self, image_bgr: object, /) -> Said:
            return Said()

        def infer_text(self, text: str, /) -> Said:
            return Said()

        def close(self) -> None: ...

    class Outlet:
        def __init__(self, outbox: Outbox) -> None:
            self.outbox = outbox

        def keep(self, row_class: RowClass, body: Result | Event) -> Future[int]:
            return self.outbox.put(row_class, body)

        def show(self, result: Result, reply_to: str | None) -> None: ...

    figures = {}
    for preset in ("normal", "always"):
        with tempfile.TemporaryDirectory() as folder, Outbox(Path(folder) / "outbox.db") as outbox:
            gate = Gate(GateConfig(preset=preset))
            work = FrameWork(
                "bench", open_gate=lambda gate=gate: gate, watch=QualityWatch(), changed=lambda _: None, clock=clock
            )
            began_s = time.process_time()
            running = Running(
                "bench",
                reader=FrameReader(Source()),
                box=Bounded[Frame](2),
                work=work,
                seat=Seat(InputKind.IMAGE, "", Model),
                outlet=Outlet(outbox),
                supervisor=Supervisor(clock),
                clock=clock,
            )
            while not running.is_ended:
                time.sleep(0.05)
            outbox.flush()
            figures[preset] = (time.process_time() - began_s) / count * 1000
            running.begin_stop()
            running.finish_stop(clock.monotonic_s() + 5)
    return [
        told(
            "own cost around decode and invoke, 768x432", figures["normal"], 0.4, "ms/frame", "gate normal, mostly shut"
        ),
        told("the same, gate always", figures["always"], 0.4, "ms/frame"),
    ]


def main() -> int:
    met = around() + idle()
    if _CLIP.is_file():
        met += vision()
    else:
        print("daemon: memory and start need the shared test data, which is not on this machine")
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
