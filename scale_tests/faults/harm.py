"""The faults: which kinds there are, when each comes, and how it is done."""

from __future__ import annotations

import heapq
import itertools
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import psutil
import structlog

from scale_tests.faults.cluster import Nodes
from scale_tests.processes import Part

PAUSE_S: Final = (0.5, 8.0)
"""How long a stopped process stands still, from and to."""
DATABASE_PAUSE_S: Final = (0.5, 25.0)
"""The same for a whole database server: also for longer than its clients wait for an answer."""
FIND_S: Final = 20.0
"""How long a process is waited for that is just being started again."""
ATTEMPTS: Final = 3
"""How often a fault is tried: nobody may pass an armed point just then, or be there to be paused."""
LOOK_S: Final = 0.2

CRASH_POINTS: Final = (
    "before_append",
    "after_append",
    "before_answer",
    "before_delivery",
    "after_delivery",
    "after_delivery_received",
    "after_apply",
    "before_commit",
    "after_commit",
    "after_checkpoint",
    "before_release",
    "after_release",
    "before_step",
    "after_step",
    "before_send",
    "after_send",
    "after_timer_barrier",
    "after_outcome_recorded",
)
"""Those that a running engine passes all the time."""

_log = structlog.get_logger("faults")


class Database(Protocol):
    """A database server that can be stopped at once, or made to stand still."""

    @property
    def pid(self) -> int:
        """The id of its first process."""
        ...

    def processes(self) -> list[psutil.Process]:
        """All its processes, first the one that starts the others."""
        ...

    def pause(self) -> None:
        """All its processes stand still, and none is started any more."""
        ...

    def stop_immediately(self) -> None:
        """All its processes have ended as after a crash."""
        ...

    def start(self) -> None:
        """It serves again."""
        ...


class Harm:
    """Does faults of all kinds, and undoes what would not heal by itself."""

    def __init__(
        self, nodes: Nodes, *, crash_points: Path, seed: int, database: Database | None = None
    ) -> None:
        """
        Args:
            crash_points: the folder into which the engine's processes look for armed points.
            database: None: there is no server, so it cannot be stopped or paused.
        """
        self._nodes, self._folder, self._database = nodes, crash_points, database
        self._random = random.Random(f"{seed}/harm")
        self._paused: list[tuple[float, int, psutil.Process]] = []
        self.done: Counter[str] = Counter()
        """Kind -> how often it happened."""
        self._kinds: dict[str, Callable[[], int | None]] = {
            "kill_pool": lambda: self._kill("pool"),
            "pause_pool": lambda: self._pause("pool"),
            "kill_ingress": lambda: self._kill("ingress"),
            "pause_ingress": lambda: self._pause("ingress"),
            "kill_directory": lambda: self._kill("directory"),
            "pause_directory": lambda: self._pause("directory"),
            "kill_runner": lambda: self._kill("runner"),
            "kill_worker": self._kill_worker,
            "pause_worker": lambda: self._pause_node(self._nodes.raylets),
            "kill_head": self._kill_head,
            "pause_head": lambda: self._pause_node(self._nodes.head_processes),
            "crash_point": self._crash,
        }
        if database is not None:
            self._kinds["stop_database"] = self._stop_database
            self._kinds["pause_database"] = self._pause_database

    @property
    def kinds(self) -> list[str]:
        """All kinds that can be done here."""
        return list(self._kinds)

    def run(self, kinds: Sequence[str], *, rounds: int, every_s: float, until: float) -> None:
        """Each kind has come so often, at random moments, as far as there was time.

        Args:
            every_s: seconds between two faults, in the mean.
            until: when it is over, whatever has come.
        """
        began = time.time()
        due = began + every_s * self._random.random()
        left: deque[str] = deque()
        for nth in itertools.count(1):
            if not left and rounds > 0:
                left.extend(self._random.sample(list(kinds), len(kinds)))
                rounds -= 1
            if not left:
                break
            kind = left.popleft()
            while time.time() < min(due, until):
                self._wait(min(due, until))
            if time.time() >= until:
                break
            if not self._do(kind):
                left.append(kind)  # once more in this round: every kind comes as often as others
            # What took long does not take the time of those that follow: they come closer.
            due = max(time.time() + 1.0, began + every_s * (nth + self._random.random()))
        while time.time() < until:
            self._wait(until)
        self.heal()

    def heal(self) -> None:
        """No process is stopped any more, and no point is armed."""
        for _, _, process in self._paused:
            _signal(process, signal.SIGCONT)
        self._paused.clear()
        for path in self._folder.glob("armed.*"):
            path.unlink(missing_ok=True)

    def _do(self, kind: str) -> bool:
        """Whether the fault happened."""
        began, pid = time.monotonic(), None
        for _ in range(ATTEMPTS):
            pid = self._kinds[kind]()
            if pid is not None:
                self.done[kind] += 1
                break
        took_s = round(time.monotonic() - began, 1)
        _log.info("fault", kind=kind, pid=pid, took_s=took_s, count=self.done[kind])
        return pid is not None

    def _wait(self, until: float) -> None:
        """Time passes; what was stopped long enough goes on."""
        while self._paused and self._paused[0][0] <= time.time():
            _signal(heapq.heappop(self._paused)[2], signal.SIGCONT)
        time.sleep(max(0.0, min(LOOK_S, until - time.time())))

    def _target(self, part: Part) -> psutil.Process | None:
        deadline = time.time() + FIND_S
        while True:
            paused = {process.pid for _, _, process in self._paused}
            found = [one for one in self._nodes.processes(part) if one.pid not in paused]
            if found:
                return self._random.choice(found)
            if time.time() > deadline:
                return None
            self._wait(deadline)

    def _kill(self, part: Part) -> int | None:
        process = self._target(part)
        return None if process is None else _signal(process, signal.SIGKILL)

    def _pause(self, part: Part) -> int | None:
        process = self._target(part)
        if process is None:
            return None
        return self._stand_still([process], self._random.uniform(*PAUSE_S))

    def _pause_node(self, find: Callable[[], list[psutil.Process]]) -> int | None:
        """What runs a node stands still; the processes that it started go on."""
        found = find()
        return self._stand_still(
            [self._random.choice(found)] if found else [], self._random.uniform(*PAUSE_S)
        )

    def _pause_database(self) -> int | None:
        assert self._database is not None
        self._database.pause()  # those, too, that it was about to start
        return self._stand_still(
            self._database.processes(), self._random.uniform(*DATABASE_PAUSE_S)
        )

    def _stand_still(self, processes: Sequence[psutil.Process], pause_s: float) -> int | None:
        """The processes are stopped for so long; the id of the first, None when none was there."""
        until = time.time() + pause_s
        pids = [_signal(process, signal.SIGSTOP) for process in processes]
        for pid, process in zip(pids, processes, strict=True):
            if pid is not None:
                heapq.heappush(self._paused, (until, pid, process))
        return next((pid for pid in pids if pid is not None), None)

    def _kill_worker(self) -> int | None:
        self.heal()  # a stopped process would outlive its node
        pid = self._nodes.kill_worker(self._random.randrange(16))
        self._nodes.add_worker()
        return pid

    def _kill_head(self) -> int | None:
        self.heal()
        pid = self._nodes.kill_head()
        self._nodes.start_head()
        return pid

    def _stop_database(self) -> int | None:
        assert self._database is not None
        pid = self._database.pid
        self._database.stop_immediately()
        time.sleep(self._random.uniform(0.5, 4.0))
        self._database.start()
        return pid

    def _crash(self) -> int | None:
        """The first process that passes the point ends there."""
        name = self._random.choice(CRASH_POINTS)
        path = self._folder / f"armed.any.{name}"
        written = self._folder / f".{path.name}"
        written.write_text(str(self._random.randint(1, 4)), encoding="ascii")
        before = set(self._folder.glob("reached.*"))
        written.replace(path)
        deadline = time.time() + FIND_S / 4
        while path.exists() and time.time() < deadline:
            self._wait(deadline)
        path.unlink(missing_ok=True)
        for reached in set(self._folder.glob("reached.*")) - before:
            _log.info("crashed", at=reached.name)
            return int(reached.name.split(".")[1])
        return None


def _signal(process: psutil.Process, number: signal.Signals) -> int | None:
    """The process got the signal; None: it is gone. (psutil would refuse one whose id is reused.)"""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return None
    return process.pid
