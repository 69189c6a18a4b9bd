"""The daemon: the only file that knows every part.

Promises: an absent broker, camera or model delays nothing but itself; a config that cannot be read on reload is refused
and said, and the last good one stays; after SIGTERM what was inferred is committed before the process ends.
Leaves out: parsing arguments (`commands.run`).
Thread: main. It starts the pipelines, watches their progress and feeds the watchdog; the rest happens on theirs.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
from concurrent.futures import Future
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TypeAlias, final

from edge import __version__
from edge.clock import Clock, SystemClock
from edge.contract.ids import new_session
from edge.contract.messages import Event, PipelineState, Result, RowClass, State, TrustState
from edge.contract.topics import DeviceTopics
from edge.device.assembly import Assembled, Shared, assemble
from edge.device.board import board_facts
from edge.device.config import DeviceConfig, PipelineConfig, load_config
from edge.device.health import HealthReader
from edge.device.notify import Notifier
from edge.device.outbox.store import DATABASE_NAME, Outbox
from edge.device.roster import Roster
from edge.device.session import Session, last_will
from edge.device.supervisor import Supervisor
from edge.device.updates.schema import TABLES
from edge.device.updating import Updating, open_updating
from edge.errors import ConfigError, EdgeError, InputError, MissingExtraError, StoreError, WireError
from edge.wire.mqtt import MqttWire

__all__ = ["run"]

_log = logging.getLogger(__name__)

# How soon the main thread sees a stuck or an ended pipeline. Signals wake it at once; lower only costs wake-ups.
_TURN_S = 0.5
# A card that tidies itself up stalls for seconds; one that hangs takes no result any more, and no other thread tells.
_STORE_BUDGET_S = 120.0
# What the supervisor's table knows them as; a new process is the only help for all three.
_DIED: dict[str, type[EdgeError]] = {"mqtt": WireError, "session": WireError, "store": StoreError}
# For the inferences in hand and what waits behind them. The unit kills at 30 s; commits and good-byes need the rest.
_STOP_S = 20.0


class Wake(Enum):
    """What a signal asks of the main thread."""

    STOP = "stop"
    RELOAD = "reload"


# A queue and no Event: its `put` may interrupt its own `get`, which is where a signal handler runs.
_Wakes: TypeAlias = "queue.SimpleQueue[Wake]"


def run(path: Path, *, is_until_done: bool = False, drain_s: float = 0.0) -> int:
    """Run the daemon until it is told to stop; the exit code.

    `is_until_done`: also end when every source has ended and its results are committed, after waiting up to `drain_s`
    seconds for the centre to have them all.

    Raises:
        ConfigError: the config cannot be used.
        StoreError: the outbox cannot be opened: another daemon has it, or its folder cannot be written.
    """
    clock = SystemClock()
    config = load_config(path, is_checking_files=False)
    wakes = _listen()
    notifier = Notifier(os.environ)
    with Daemon(path, config, clock) as daemon:
        notifier.ready()
        _log.info("%s: %d pipelines, data in %s", config.device.name, len(config.pipelines), config.device.data_dir)
        if _watch(daemon, notifier, wakes, clock, is_until_done=is_until_done):
            daemon.drain(drain_s, wakes)
        notifier.stopping()
    return 0


def _listen() -> _Wakes:
    wakes: _Wakes = queue.SimpleQueue()
    asked = {signal.SIGTERM: Wake.STOP, signal.SIGINT: Wake.STOP, signal.SIGHUP: Wake.RELOAD}

    def handle(number: int, _frame: object) -> None:
        wakes.put(asked[signal.Signals(number)])

    for number in asked:
        signal.signal(number, handle)
    return wakes


def _watch(daemon: Daemon, notifier: Notifier, wakes: _Wakes, clock: Clock, *, is_until_done: bool) -> bool:
    """Be the watchdog's hand until told to stop (False) or all is done (True)."""
    turn_s = _TURN_S if notifier.watchdog_s is None else min(_TURN_S, notifier.watchdog_s / 2)
    stuck_before: tuple[str, ...] = ()
    while True:
        match _next(wakes, turn_s):
            case Wake.STOP:
                return False
            case Wake.RELOAD:
                notifier.reloading(clock.monotonic_s())
                daemon.reload()
                notifier.ready()
            case None:
                pass
        daemon.check()
        stuck = daemon.stuck()
        if not stuck:
            notifier.watchdog()
        elif stuck != stuck_before:
            _log.error("%s: no progress within its budget; the watchdog is not fed", ", ".join(stuck))
        stuck_before = stuck
        notifier.status(daemon.summary())
        if is_until_done and daemon.is_ended:
            return True


def _next(wakes: _Wakes, timeout_s: float) -> Wake | None:
    try:
        return wakes.get(timeout=timeout_s)
    except queue.Empty:
        return None


@final
class Daemon:
    """Everything that runs. A context manager: leaving it stops sources, finishes, commits, says good-bye."""

    def __init__(self, path: Path, config: DeviceConfig, clock: Clock) -> None:
        self._path = path
        self._config = config
        self._clock = clock
        self._supervisor = Supervisor(clock)
        self._roster = Roster(self._start, clock)
        self._health = HealthReader(config.device.data_dir)
        self._board = board_facts()
        self._updating: Updating | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Daemon:
        device = self._config.device
        topics = DeviceTopics(fleet=device.fleet, device=device.name)
        try:
            device.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StoreError(f"{device.data_dir}: cannot be made ({err.strerror}); set device.data_dir") from err
        with ExitStack() as stack:
            self._outbox = stack.enter_context(
                Outbox(device.data_dir / DATABASE_NAME, self._config.outbox, self._clock, tables=TABLES)
            )
            session_id = new_session()
            self._wire = MqttWire(
                self._config.broker,
                client_id=f"edge-{device.fleet}-{device.name}",
                will=last_will(topics, session_id=session_id, epoch=self._outbox.status().epoch),
                clock=self._clock,
            )
            self._updating = self._open_updating()
            self._session = Session(
                self._wire,
                self._outbox,
                topics,
                session_id,
                self._clock,
                make_state=self._state,
                on_text=self._roster.push,
                on_want=None if self._updating is None else self._updating.want,
                state_every_s=device.state_every_s,
            )
            # Pipelines before the connection: the birth then tells of them, and none of them waits for a broker.
            self._roster.apply(self._config.pipelines, _STOP_S)
            stack.callback(self._roster.stop, _STOP_S)
            if self._updating is not None:
                self._updating.watch(self._session.tell_state)
                stack.callback(self._updating.stop)
                self._updating.start()
            stack.enter_context(self._session)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The session is left first and would say good-bye before the last results are there.
        with self._stack:
            if self._updating is not None:
                self._updating.stop()
            self._roster.stop(_STOP_S)
            self._outbox.flush()

    @property
    def is_ended(self) -> bool:
        """Whether every source has ended and everything it gave has been inferred."""
        return self._roster.is_ended

    def check(self) -> None:
        """Raise what ended a thread that nothing here can start again; the service manager can."""
        if self._updating is not None:
            self._updating.nudge()
        for thread, part in (("mqtt", self._wire), ("session", self._session), ("store", self._outbox)):
            if part.failure is not None:
                raise _DIED[thread](f"the thread {thread} has died: {part.failure}") from part.failure

    def stuck(self) -> tuple[str, ...]:
        """Names of the threads that overran their budget."""
        stuck = self._supervisor.stuck()
        return (*stuck, "store") if self._outbox.busy_s() > _STORE_BUDGET_S else stuck

    def summary(self) -> str:
        """One line for `systemctl status`."""
        backlog = self._outbox.status().rows
        parts = [f"{name} {_summary(state)}" for name, state in self._roster.states().items()]
        link = "connected" if self._wire.is_connected else "no broker"
        return f"{'; '.join(parts)}; {link}, {backlog} rows wait"

    def drain(self, within_s: float, wakes: _Wakes) -> None:
        """Commit, and wait up to `within_s` seconds, or for a signal, until the centre has confirmed every row."""
        self._outbox.flush()
        deadline_s = self._clock.monotonic_s() + within_s
        while self._outbox.status().rows and self._clock.monotonic_s() < deadline_s:
            if _next(wakes, 0.05) is Wake.STOP:
                return

    def reload(self) -> None:
        """Read the config again. What changed is restarted; a config that is wrong changes nothing and is reported."""
        try:
            config = load_config(self._path, is_checking_files=False)
        except ConfigError as err:
            _log.warning("%s: refused, the last good config stays: %s", self._path, err)
            self._tell("refused", str(err))
            return
        changed = self._roster.apply(config.pipelines, _STOP_S)
        if self._updating is not None:
            self._updating.keep_only({pipeline.name for pipeline in config.pipelines})
        fixed = [
            key
            for key in ("device", "broker", "outbox", "updates")
            if getattr(config, key) != getattr(self._config, key)
        ]
        detail = f"pipelines changed: {', '.join(changed) or 'none'}"
        if fixed:
            detail += f"; restart the daemon for [{'], ['.join(fixed)}]"
        _log.info("%s: reloaded; %s", self._path, detail)
        self._tell("reloaded", detail)

    def _open_updating(self) -> Updating | None:
        """None where the config has no updates, or none that can be: the pipelines run all the same."""
        updates = self._config.updates
        if updates is None:
            return None
        try:
            return open_updating(self._config, updates, self._outbox, self._wire, self._supervisor, self._clock)
        except (InputError, MissingExtraError) as err:
            _log.error("updates: %s; the factory's models run, and nothing is updated", err)
            self._tell("refused", f"[updates]: {err}")
            return None

    def _tell(self, state: str, detail: str) -> None:
        self._outbox.put(
            RowClass.ALARM, Event(name="config", state=state, made_ms=self._clock.wall_ms(), detail=detail)
        )

    def _start(self, config: PipelineConfig) -> Assembled:
        outlet = _Outlet(config, self._outbox, self._session)
        shared = Shared(
            supervisor=self._supervisor,
            clock=self._clock,
            data_dir=self._config.device.data_dir,
            make_seat=None if self._updating is None else self._updating.make_seat,
        )
        return assemble(config, outlet, shared)

    def _state(self) -> State:
        """What the session cannot know. On the thread `session`."""
        return State(
            online=True,
            session=0,
            epoch=0,
            version=__version__,
            pipelines=self._roster.states(),
            health=self._health.read(),
            slots={} if self._updating is None else self._updating.slot_states(),
            trust=TrustState() if self._updating is None else self._updating.trust_state(),
            board=self._board,
        )


class _Outlet:
    """Where the results of one pipeline go."""

    def __init__(self, config: PipelineConfig, outbox: Outbox, session: Session) -> None:
        self._config = config
        self._outbox = outbox
        self._session = session

    def keep(self, row_class: RowClass, body: Result | Event) -> Future[int]:
        """See `pipeline.Outlet`. What the outbox cannot take it counts itself, as a gap."""
        return self._outbox.put(row_class, body)

    def show(self, result: Result, reply_to: str | None) -> None:
        """See `pipeline.Outlet`."""
        if self._config.live:
            self._session.publish_live(self._config.name, result)
        if reply_to is not None:
            self._session.publish_reply(reply_to, result)


def _summary(state: PipelineState) -> str:
    """One pipeline in a few words."""
    trouble = f" ({state.error})" if state.error else ""
    return f"{state.source.value} {state.fps:g} fps, {state.results} results{trouble}"
