"""A peer that is made of programs: servers, one worker with its instances, and one sender.

The sender is apart from the worker, so that its CPU is not the peer's.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Mapping
from pathlib import Path

from scale_tests.peers import processes
from scale_tests.peers.environments import Environment, environment, pinned
from scale_tests.peers.peer import Load, PeerFailed, Unavailable
from scale_tests.peers.program import Program
from scale_tests.peers.progress import LONG, PROBES, WAITS, Stage


class ProgramPeer(abc.ABC):
    """What those peers have in common; each says what its servers and programs are."""

    name: str
    set_up: str
    packages: str
    """The table of `pins.toml`."""

    def __init__(self) -> None:
        self._environment: Environment | None = None
        self._load: Load | None = None
        self._folder: Path | None = None
        self._worker: Program | None = None
        self._sender: Program | None = None

    # --- what each peer says ------------------------------------------------------

    @abc.abstractmethod
    def start_servers(self) -> None:
        """The servers, if it has any, take connections; programs are not running yet.

        Raises:
            Unavailable: they did not start.
        """

    @abc.abstractmethod
    def stop_servers(self) -> None:
        """They do not run."""

    @abc.abstractmethod
    def server_pids(self) -> list[int]:
        """Their processes; descendants are found."""

    @abc.abstractmethod
    def arguments(self) -> list[str]:
        """For the command lines of worker and sender."""

    @abc.abstractmethod
    def disk_bytes(self) -> int:
        """Of all that it keeps on disk."""

    @abc.abstractmethod
    def start_instances(self, group: str, count: int) -> None:
        """Instances with the numbers from 0 were started, durably."""

    def introduce_worker(self) -> None:
        """The servers know the worker, which listens."""
        return

    def learn_names(self, group: str, count: int) -> None:
        """The sender knows what it needs to send to these instances."""
        _ = group, count

    # --- what the driver asks -----------------------------------------------------

    @property
    def versions(self) -> Mapping[str, str]:
        """Of its packages."""
        return pinned(self.packages).versions()

    def prepare(self, cache: Path) -> None:
        """Its environment is installed."""
        self._environment = environment(self.packages, cache)

    def begin(self, folder: Path, load: Load) -> None:
        """Servers, worker and sender run."""
        self._folder, self._load = folder, load
        try:
            self.start_servers()
            self._worker = self._program("worker")
            self.introduce_worker()
            self._sender = self._program("sender")
        except PeerFailed as error:
            raise Unavailable(str(error)) from error

    def start_probes(self) -> None:
        """The probes wait for their event."""
        self._start(PROBES, self.load.probes)

    def start_waits(self) -> None:
        """All other instances wait for theirs."""
        self._start(WAITS, self.load.instances)

    def probe(self) -> list[float]:
        """For each probe the milliseconds from sending its event to its next line."""
        count = self.load.probes
        rate = self.load.probes_per_s
        sent: list[int] = self.sender.ask("probe", group=PROBES, count=count, per_s=rate)
        self._wait_for("reached", PROBES, count)
        return [
            (reached - at) / 1e6
            for at, reached in zip(sent, self._reached(PROBES, 0, count), strict=True)
        ]

    def send_all(self) -> None:
        """Each waiting instance was sent its event."""
        self.sender.ask("send", group=WAITS, count=self.load.instances)

    def wait_until_completed(self) -> None:
        """All of them have ended, durably."""
        self._wait_for("reached", WAITS, self.load.instances)
        left = self.sender.ask("completed", group=WAITS, patience_s=self.load.patience_s)
        if left:
            raise PeerFailed(f"{left} instances did not end")

    def start_long(self) -> None:
        """One more instance waits for many events."""
        self.sender.ask("start_long", events=self.load.long_events)

    def feed_long(self, first: int, count: int) -> None:
        """It has gone past these events."""
        self.sender.ask("stream", first=first, count=count)
        self._wait_for("reached", LONG, first + count)

    def wake_long(self, number: int) -> float:
        """Milliseconds from sending it this one event to its next line."""
        began = time.monotonic_ns()
        self.feed_long(number, 1)
        [reached] = self._reached(LONG, number, 1)
        return (reached - began) / 1e6

    def kill_and_recover(self, number: int) -> float:
        """Seconds until a new event led to the long instance's next line again."""
        began = time.monotonic_ns()
        self.worker.kill()
        self._worker = self._program("worker")
        self.feed_long(number, 1)
        [reached] = self._reached(LONG, number, 1)
        return (reached - began) / 1e9

    def memory_bytes(self) -> int:
        """Of servers and worker."""
        return processes.memory_bytes(processes.family(self._pids()))

    def cpu_s(self) -> float:
        """Of servers and worker."""
        return processes.cpu_s(processes.family(self._pids()))

    def stop(self) -> None:
        """Nothing that it started runs."""
        if self._sender is not None:
            self._sender.stop()
        if self._worker is not None:
            # In order would be to wait for its instances, of which some wait for ever.
            self._worker.kill()
        self._sender = self._worker = None
        self.stop_servers()

    # --- what is inside ------------------------------------------------------------

    @property
    def installed(self) -> Environment:
        """Where its programs are."""
        assert self._environment is not None
        return self._environment

    @property
    def load(self) -> Load:
        """What this round asks."""
        assert self._load is not None
        return self._load

    @property
    def folder(self) -> Path:
        """Its data and logs."""
        assert self._folder is not None
        return self._folder

    @property
    def worker(self) -> Program:
        """The process that runs the instances' code."""
        assert self._worker is not None
        return self._worker

    @property
    def sender(self) -> Program:
        """The peer's client."""
        assert self._sender is not None
        return self._sender

    def _program(self, kind: str) -> Program:
        log = self.folder / f"{kind}.log"
        module = f"{self.packages}_{kind}"
        program = Program(self.installed.python, module, self.arguments(), log)
        try:
            program.wait_until_ready()
        except PeerFailed:
            program.stop()
            raise
        return program

    def _start(self, group: str, count: int) -> None:
        self.start_instances(group, count)
        self._wait_for("begun", group, count)
        self.learn_names(group, count)

    def _pids(self) -> list[int]:
        return [*self.server_pids(), self.worker.pid]

    def _wait_for(self, stage: Stage, group: str, count: int) -> None:
        patience_s = self.load.patience_s
        found: int = self.worker.ask(
            "until", stage=stage, group=group, count=count, patience_s=patience_s
        )
        if found < count:
            # Raises what is known about it, if anything is.
            self.sender.ask("explain", group=group)
            raise PeerFailed(f"{found} of {count} {group} {stage}, then none for {patience_s} s")

    def _reached(self, group: str, first: int, count: int) -> list[int]:
        found: list[int] = self.worker.ask(
            "moments", stage="reached", group=group, first=first, count=count
        )
        return found
