"""How long a page of the HTTP API takes: the device list, and results by everything they can be asked for.

The whole way is measured, from the request to the last byte, in one process and without a socket. The mark is 100 ms at
the 99th percentile, with 10,000 devices and 10,000,000 rows; the default is 500,000 rows, as making them takes a minute
and ten million take a quarter of an hour and 9 GB. The catalogue's cost stands beside that of taking the rows in.
Type: python -m tests.benchmarks.bench_api [ROWS [DATABASE]]; a DATABASE that holds results is asked as it is.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from starlette.testclient import TestClient

from edge.central.access.access import Access
from edge.central.access.passwords import Passwords
from edge.central.access.people import People
from edge.central.access.roles import Role
from edge.central.api.application import application
from edge.central.api.context import Backend
from edge.central.store.arrived import Delivery, Message, Sender, StateSeen
from edge.central.store.catalogue import Catalogue
from edge.central.store.editor import Editor
from edge.central.store.journal import Actor
from edge.central.store.read import Reader
from edge.central.store.rollouts import Rollouts
from edge.central.store.write import Store
from edge.clock import SystemClock
from edge.commands.database_option import database_url
from edge.contract.messages import (
    Batch,
    Box,
    Health,
    InputKind,
    Item,
    ModelRef,
    PipelineState,
    Result,
    Row,
    RowClass,
    SlotState,
    SourceState,
    State,
    Timing,
    UpdateState,
    encode_body,
    encode_state,
)

DEVICES = 10_000
ROWS = 500_000
MARK_MS = 100.0
ASKED = 200
BEGIN_MS = 1_700_000_000_000
COMMON = ("person", "car", "dog", "cat", "truck", "bike", "bird", "box")
RARE = tuple(f"rare{number}" for number in range(100))
PIPELINES = ("porch", "belt", "yard", "gate")
MODELS = tuple(
    ModelRef(name="yolo", version=version, digest="ab" * 32, engine="ai-edge-litert 2.3.0", precision="int8", threads=2)
    for version in ("1.0", "1.1")
)


def main() -> int:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        url = database_url(sys.argv[2] if len(sys.argv) > 2 else f"{folder}/central.db")
        if not is_filled(url):
            fill(url, rows)
        return 0 if ask(url) <= MARK_MS else 1


def is_filled(url: str) -> bool:
    Store.open(url).close()
    reader = Reader.open(url)
    try:
        return bool(reader.ask("SELECT 1 FROM usage LIMIT 1"))
    finally:
        reader.close()


def size_of(url: str) -> int:
    """Bytes of the file, 0 where a server has it."""
    return Path(url.removeprefix("sqlite:///")).stat().st_size if url.startswith("sqlite") else 0


def fill(url: str, rows: int) -> None:
    chance = random.Random(1)
    store = Store.open(url)
    store.commit([state(number) for number in range(DEVICES)], BEGIN_MS)
    seqs = [0] * DEVICES
    spent_s = 0.0
    for made in range(0, rows, 1000):
        messages = [batch(chance, chance.randrange(DEVICES), seqs, made) for _ in range(20)]
        began = time.perf_counter()
        store.commit(messages, BEGIN_MS + made)
        spent_s += time.perf_counter() - began
    store.close()
    held = size_of(url)
    reader, editor = Reader.open(url), Editor.open(url)
    catalogue = Catalogue(reader, editor)
    steps = []
    began = time.perf_counter()
    while True:
        started = time.perf_counter()
        if not catalogue.step():
            break
        steps.append(time.perf_counter() - started)
    catalogue_s = time.perf_counter() - began
    reader.close()
    editor.close()
    print(f"taking rows in: {rows / spent_s:,.0f} rows/s, {held / rows:.0f} bytes a row")
    print(
        f"catalogue: {rows / catalogue_s:,.0f} rows/s, {(size_of(url) - held) / rows:.0f} bytes a row, "
        f"{catalogue_s / spent_s:.1f} times the work of taking them in; longest step {1000 * max(steps):.0f} ms"
    )


def ask(url: str) -> float:
    """The slowest 99th percentile, ms."""
    chance = random.Random(2)
    client, stored = client_of(url)

    def device() -> str:
        return f"farm/pi-{chance.randrange(DEVICES):05d}"

    questions: dict[str, Callable[[], str]] = {
        "devices, the first page": lambda: "devices?limit=100",
        "devices, any page": lambda: f"devices?limit=100&cursor={cursor(chance)}",
        "devices by name and presence": lambda: f"devices?name=pi-0{chance.randrange(1000):03d}&online=false",
        "one device": lambda: f"devices/{device()}",
        "results, the newest": lambda: "results?limit=100",
        "results of a device": lambda: f"results?device={device()}",
        "results of a pipeline": lambda: "results?pipeline=belt",
        "results of a model": lambda: "results?model=yolo 1.1",
        "results with a label": lambda: "results?label=dog",
        "results with a rare label": lambda: f"results?label={chance.choice(RARE)}",
        "rare label of a device": lambda: f"results?label={chance.choice(RARE)}&device={device()}",
        "label with a high score": lambda: "results?label=dog&min_score=0.99",
        "any item with a high score": lambda: "results?min_score=0.9999",
        "pipeline, label and score": lambda: "results?pipeline=belt&label=dog&min_score=0.95",
        "pipeline that has no such model": lambda: "results?pipeline=porch&model=yolo 1.1&label=dog",
        "label before some time": lambda: f"results?label=cat&until_ms={BEGIN_MS + chance.randrange(stored)}",
    }
    worst_ms = 0.0
    print(f"{stored:,} rows of {DEVICES:,} devices; {ASKED} times each:")
    for what, question in questions.items():
        spent_ms = []
        for _ in range(ASKED):
            path_asked = f"/api/v1/{question()}"
            began = time.perf_counter()
            answer = client.get(path_asked)
            spent_ms.append(1000 * (time.perf_counter() - began))
            assert answer.status_code == 200, answer.text
        spent_ms.sort()
        p99_ms = spent_ms[int(0.99 * ASKED) - 1]
        worst_ms = max(worst_ms, p99_ms)
        print(
            f"  {what:32s} p50 {spent_ms[ASKED // 2]:6.1f} ms  p99 {p99_ms:6.1f} ms, {p99_ms / MARK_MS:.2f} of the mark"
        )
    return worst_ms


def client_of(url: str) -> tuple[TestClient, int]:
    clock = SystemClock()
    reader, editor = Reader.open(url), Editor.open(url)
    people = People(editor, clock)
    backend = Backend(
        reader=reader,
        editor=editor,
        rollouts=Rollouts.open(url),
        access=Access(reader, editor, Passwords(memory_kib=8, rounds=1), clock),
        people=people,
        clock=clock,
    )
    name = f"bench-{clock.wall_ms()}"
    people.add(Actor(who="bench"), name, Role.VIEWER)
    token = people.add_token(Actor(who="bench"), name, "bench", [], 1)
    stored = int(reader.ask("SELECT sum(results) FROM usage")[0][0])
    return TestClient(application(backend), headers={"Authorization": f"Bearer {token}"}), stored


def cursor(chance: random.Random) -> str:
    from edge.central.api.cursors import encode_cursor

    return encode_cursor(("farm", f"pi-{chance.randrange(DEVICES):05d}"))


def state(number: int) -> Message:
    said = State(
        online=number % 10 != 0,
        session=3,
        epoch=7,
        version="1.0",
        next_seq=1,
        pipelines={PIPELINES[number % 4]: PipelineState(source=SourceState.ONLINE, model=MODELS[0], fps=5.0)},
        slots={PIPELINES[number % 4]: SlotState(state=UpdateState.IDLE, active="models/yolo/1.json")},
        board={"model": "raspberry-pi-5", "memory_mb": "8192"},
        health=Health(temp_c=51.5, load_1m=0.4, disk_free_mb=9000.0, uptime_s=1e5),
    )
    return StateSeen(sender=sender(number), state=said, raw=encode_state(said), is_retained=False)


def batch(chance: random.Random, device: int, seqs: list[int], made: int) -> Message:
    rows = []
    for _ in range(50):
        seqs[device] += 1
        labels = chance.sample(COMMON, 2) if chance.random() > 0.01 else [chance.choice(RARE)]
        result = Result(
            pipeline=PIPELINES[device % 4],
            kind=InputKind.IMAGE,
            made_ms=BEGIN_MS + made + chance.randrange(1000),
            model=MODELS[device % 10 == 1],
            items=tuple(
                Item(label=label, score=chance.random(), box=Box(0.1, 0.2, 0.3, 0.4), box_px=(1, 2, 3, 4))
                for label in labels
            ),
            timing_ms=Timing(prepare=1.0, run=3.0, decode=0.3),
            input=str(seqs[device]),
            frame_age_ms=12.0,
        )
        rows.append(Row(seqs[device], RowClass.RESULT, encode_body(result)))
    return Delivery(sender=sender(device), batch=Batch(epoch=7, session=3, rows=tuple(rows)))


def sender(number: int) -> Sender:
    return Sender(fleet="farm", device=f"pi-{number:05d}")


if __name__ == "__main__":
    sys.exit(main())
