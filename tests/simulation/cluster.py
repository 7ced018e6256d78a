"""A simulated cluster: real pool hosts, acceptors and dispatchers in processes that crash.

What happens is decided by a seed: who goes on next, how long a message or a commit takes,
what is lost or comes twice, where a process dies, which one is taken for dead while it goes
on. Then the faults stop, and everything that was accepted has to come to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from tests.simulation import workflows, workloads
from tests.simulation.checking import failures, require
from tests.simulation.clients import Client
from tests.simulation.clockwork import Died, Process, SimLoop
from tests.simulation.disks import Witness
from tests.simulation.faults import Faults
from tests.simulation.members import SimMember
from tests.simulation.replicas import SimReplica
from tests.simulation.resizing import Resizing, SimCrew
from tests.simulation.workflows import WORKFLOWS
from tests.simulation.world import START_US

from raysume import crash_points, ids, limits
from raysume.errors import StoreUnavailable, Unavailable
from raysume.serve_apps.ingress import adoption, ranges
from raysume.steps import step_key
from raysume.storage.memory.calls import MemoryCallLog
from raysume.storage.memory.state import MemoryStore
from raysume.storage.ports import Office

STEPS_MAX = 400_000
"""A simulation that is not over by then goes round in circles."""

TROUBLE_S = 60.0
"""Faults stop then at the latest, whether clients are done or not."""

TOLD_WITHIN_S = 120.0
"""Once faults have stopped, every pool has applied everything that was accepted by then."""

RESIZED_WITHIN_S = 600.0
"""The same for pools that are being resized: a member that is held is let go after a minute, and
whoever is away is asked again after up to half a minute."""

OVER_WITHIN_S = 15 * 86_400.0
"""Once faults have stopped, every instance has ended by then: the longest wait is ten days."""

LOOKED_EVERY = 8
"""Steps between two looks at whether a phase is over: looking costs more than stepping."""

SETTLE_S = 30.0
"""After the last end: whatever would be doubled has shown itself by then."""


class Cluster:
    """One run. Equal seeds make equal runs."""

    def __init__(self, seed: int, *, has_faults: bool = True, faults: Faults | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(f"cluster {seed} {has_faults}")
        drawn = Faults.of(seed, self.rng) if has_faults else Faults()
        self.faults = drawn if faults is None else faults
        is_resized = self.faults.resize_s > 0
        self.workload = workloads.make(random.Random(seed), has_rivals=is_resized)
        self.trouble = 1.0 if has_faults else 0.0
        self.loop = SimLoop(self.rng)
        self.loop.delay_s = self._thread_delay_s
        self.trace: list[str] = []
        self.crashes: Counter[str] = Counter()
        self.passed: set[str] = set()
        self.store = MemoryStore()
        self.log = MemoryCallLog(now_us=lambda: self.now_us)
        self.witness = Witness()
        self.owners: dict[int, str] = {}
        """Shard key -> the process for which it was taken over last."""
        self.offices: dict[str, Office] = {}
        """As they were taken last."""
        self.born: Counter[str] = Counter()
        """Actor -> its processes so far."""
        self.adopted: set[int] = set()
        """Partitions that were closed for good: their end is told to the pools."""
        self.ends: dict[int, int] = {}
        self.zombies: list[Process] = []
        self.is_over = False
        self._next_id = 0
        self._runs: Counter[str] = Counter()
        self.resizing = Resizing(self) if is_resized else None
        """None: each pool has one member for good."""
        self.members: list[SimMember] | list[SimCrew]
        if self.resizing is None:
            self.members = [SimMember(self, workflow) for workflow in WORKFLOWS]
        else:
            self.members = self.resizing.crews
        self.replicas = [SimReplica(self, number) for number in range(self.faults.replicas)]
        self.client = Client(self, self.workload.batches)

    # --- chance --------------------------------------------------------------------------

    @property
    def now_us(self) -> int:
        """The wall clock."""
        return START_US + int(self.loop.time() * 1_000_000)

    def note(self, what: str) -> None:
        """What happened, for whoever looks for the reason of a failure."""
        self.trace.append(f"{self.loop.time():12.3f} {what}")
        self.loop.digest.update(what.encode())

    def happens(self, rate: float) -> bool:
        """Whether something that goes wrong at this rate goes wrong now."""
        return self.trouble > 0 and self.rng.random() < rate

    def _thread_delay_s(self) -> float:
        slow = self.happens(self.faults.slow)
        return self.rng.uniform(0.5, 8.0) if slow else self.rng.uniform(0.0, 0.01)

    def overtake(self) -> None:
        """Now and then another process is heard first."""
        if self.happens(self.faults.overtaking):
            self.loop.overtake()

    def may_fail(self, what: str) -> None:
        """Now and then the store is away, and nothing was done."""
        if self.happens(self.faults.store_away):
            raise StoreUnavailable(f"simulated: could not {what}")

    def outcome_unknown(self, what: str) -> None:
        """Now and then the store did what was asked, and nobody hears of it."""
        if self.happens(self.faults.outcome_lost):
            raise StoreUnavailable(f"simulated: did {what}, and says it did not")

    def _passes(self, name: str) -> None:
        """A crash point: the process may end here."""
        self.passed.add(name)
        process = self.loop.current
        if process is self.loop.world or name == "after_suspect_noted":
            return  # whoever dies there again and again has died of the turn
        if process.is_dead:
            raise Died
        rate = self.faults.favourite if name == self.faults.point else self.faults.crash
        if self.happens(rate):
            self.crashes[name] += 1
            self.note(f"{process} dies at {name}")
            self.loop.kill(process)
            raise Died

    def may_kill(self, process: Process) -> None:
        """The process may be killed later, wherever it is then."""

        def kill() -> None:
            if self.trouble and not process.is_dead:
                self.note(f"{process} is killed")
                self.loop.kill(process)

        if self.faults.kill_s and self.trouble:
            self.loop.at(self.loop.world, self.rng.expovariate(1 / self.faults.kill_s), kill)

    # --- the network -----------------------------------------------------------------------

    async def ask(
        self,
        target: Process | None,
        make: Callable[[], Awaitable[Any]],
        *,
        may_double: bool = True,
    ) -> Any:
        """What the target answers.

        Args:
            may_double: whether the target may be asked twice.

        Raises:
            Unavailable: it is not known whether it was asked; it may yet do what was asked.
        """
        loop, source = self.loop, self.loop.current
        if target is None or target.is_dead:
            await self.loop.passing(self.rng.uniform(0.01, 0.2))
            raise Unavailable("simulated: nobody is there")
        future = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if not future.done():
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)

        def lost() -> None:
            loop.at(
                source, self.rng.uniform(0.1, 1.0), settle, None, Unavailable("simulated: lost")
            )

        async def work() -> None:
            result, error = None, None
            try:
                result = await make()
            except Exception as raised:
                error = raised
            if self.happens(self.faults.lost):
                lost()
            else:
                loop.at(source, self._travel_s(), settle, result, error)

        def arrive() -> None:
            loop.create_task(work())

        target.at_death.append(lost)
        if self.happens(self.faults.lost):
            lost()
        else:
            loop.at(target, self._travel_s(), arrive)
            if may_double and self.happens(self.faults.doubled):
                loop.at(target, self._travel_s(), arrive)
        return await future

    def _travel_s(self) -> float:
        late = self.happens(self.faults.late)
        return self.rng.uniform(0.5, 20.0) if late else self.rng.uniform(0.0005, 0.005)

    def fail_asks(self, process: Process) -> None:
        """Whoever waits for an answer of the process, which counts as dead, waits no longer."""
        told, process.at_death = process.at_death, []
        with self.loop.within(self.loop.world):
            for one in told:
                one()

    # --- what the code under test is given ---------------------------------------------------

    async def step_runs(self, failing: int) -> None:
        """A step runs, for a while: it was asked for durably, and its first attempts fail."""
        key = step_key()
        process = self.loop.current
        require(key in self.witness.asked, f"step {key} ran before it was durable")
        is_owner = process not in self.zombies
        require(
            key not in self.witness.recorded or not is_owner,
            f"step {key} ran again after its result was recorded",
        )
        self._runs[key] += 1
        await self.loop.passing(self.rng.choice((0.0, self.rng.uniform(0.0, 5.0))))
        if failing >= 3 or self._runs[key] <= failing:
            raise RuntimeError(f"attempt {self._runs[key]} fails")

    def new_id(self) -> str:
        """The next id of a call: sorted by time, and the same in every run of the seed."""
        self._next_id += 1
        return f"00000000-0000-7000-8000-{self._next_id:012x}"

    def _has_ended(self, owner: str) -> bool:
        return all(replica.owner != owner for replica in self.replicas)

    @contextlib.contextmanager
    def _surroundings(self) -> Generator[None, None, None]:
        """Clock, ids and chance come from the simulation."""
        given: list[tuple[Any, str, Any]] = [
            (time, "time_ns", lambda: self.now_us * 1_000),
            (time, "monotonic", self.loop.time),
            (secrets, "randbits", self.rng.getrandbits),
            (ids, "uuid7", self.new_id),
            (adoption, "has_ended_here", self._has_ended),
            (limits, "DELETION_INTERVAL_S", 86_400.0),  # some workflows wait for days
            # Processes are killed so often here that a step would be taken for what ends them.
            (limits, "QUARANTINE_TURN_DEATHS", STEPS_MAX),
            (limits, "COMMIT_EVENTS_MAX", self.faults.batch),
            (limits, "LOADED_INSTANCES_MAX", max(0, self.seed % 4 - 1)),
            (limits, "MEMORY_BUDGET", self.seed // 4 % 2 * 500),
            (limits, "CHECKPOINT_PART_ROWS_MAX", 1 + self.seed % 2),
            (limits, "HURRIED_PART_ROWS_MAX", 1 + self.seed % 3),
            (limits, "DELIVERY_CALLS_MAX", self.faults.delivery),
            (ranges, "DELIVERY_CALLS_MAX", self.faults.delivery),
            (workflows, "opening", self.step_runs),
            *(() if self.resizing is None else self.resizing.surroundings()),
        ]
        saved = [(owner, name, getattr(owner, name)) for owner, name, _ in given]
        random.seed(self.seed)
        for owner, name, value in given:
            setattr(owner, name, value)
        former = asyncio._get_running_loop()
        asyncio._set_running_loop(self.loop)
        try:
            with crash_points.watch(self._passes):
                yield
        finally:
            asyncio._set_running_loop(former)
            for owner, name, value in saved:
                setattr(owner, name, value)
            self.loop.dispose()

    # --- running -----------------------------------------------------------------------------

    def run(self) -> None:
        """Faults have come and gone, and everything accepted came to its end."""
        failures.clear()
        with self._surroundings():
            with self.loop.within(self.loop.world):
                for replica in self.replicas:
                    replica.begin()
                for member in self.members:
                    member.begin()
                if self.resizing is not None:
                    self.resizing.begin()
                self.client.begin()
            enough = asyncio.Event()
            self.loop.at(self.loop.world, TROUBLE_S, enough.set)
            self._go_on(
                lambda: self.client.is_done or enough.is_set(),
                within_s=TROUBLE_S + 60.0,
                what="time stands still",
            )
            self._let_pass(self.rng.uniform(0.0, 10.0) * self.trouble)
            self._stop_faults()
            self._go_on(lambda: self.client.is_done, within_s=300.0, what="clients are stuck")
            self._go_on(
                self._is_told, within_s=self._told_within_s, what="accepted calls are not applied"
            )
            if self.resizing is not None:
                self.resizing.be_quiet()
            self._go_on(self._is_over, within_s=OVER_WITHIN_S, what="instances are stuck")
            self._let_pass(SETTLE_S)
            # A process that was replaced while it began may have taken the shards over after all:
            # its successor finds out when it writes the next time, and is replaced, too.
            self._go_on(self._is_told, within_s=TOLD_WITHIN_S, what="a pool stays away")
            self.note("over")
            self.is_over = True
        require(not self.loop.errors, f"errors that nobody caught: {self.loop.errors}")

    def _go_on(self, done: Callable[[], bool], *, within_s: float, what: str) -> None:
        deadline_s = self.loop.time() + within_s
        while not done():
            for _ in range(LOOKED_EVERY):
                moved = self.loop.step()
                if failures:
                    raise failures[0]
                if self.loop.errors:
                    raise self.loop.errors[0]
                if not moved:
                    require(done(), f"{what}, and nothing happens any more")
                    break
            # What was over in time may only have been looked at too late.
            if self.loop.time() > deadline_s or self.loop.actions >= STEPS_MAX:
                require(done(), f"{what} after {within_s:.0f} s, {self.loop.actions} actions")

    def _let_pass(self, seconds: float) -> None:
        """So much time has passed."""
        passed = asyncio.Event()
        self.loop.at(self.loop.world, seconds, passed.set)
        self._go_on(passed.is_set, within_s=seconds + 60.0, what="time stands still")

    def _stop_faults(self) -> None:
        self.note("faults stop")
        self.trouble = 0.0
        for process in list(self.loop.processes):
            process.paused_until = 0.0

    @property
    def _told_within_s(self) -> float:
        return TOLD_WITHIN_S if self.resizing is None else RESIZED_WITHIN_S

    def _is_told(self) -> bool:
        return all(bool(member.hosts) and member.has_applied(self.ends) for member in self.members)

    def _is_over(self) -> bool:
        return self.witness.completed >= len(self.workload.results) and self._is_told()


def simulate(seed: int, *, has_faults: bool = True) -> Cluster:
    """The run of a seed is over."""
    cluster = Cluster(seed, has_faults=has_faults)
    cluster.run()
    return cluster
