"""The simulated world: a log, an ingress that delivers badly, clients, pools that crash, a clock."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from functools import partial
from typing import Any

from tests.simulation import workloads
from tests.simulation.pools import Action, Crash, SimPool
from tests.simulation.workflows import WORKFLOWS
from tests.simulation.workloads import Push, Start, Workload

from raysume import ids, registry
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery, StartAnswer, StartRequest
from raysume.actors.shard_indexes import IndexSizes
from raysume.records import Segment
from raysume.storage.call_ports import Batch, NewCall
from raysume.storage.memory.calls import MemoryCallLog

ACTIONS_MAX = 60_000
"""A simulation that is not over by then goes round in circles."""

Letter = tuple[int, SimPool, Delivery]
"""When it may arrive at the earliest, for whom, and what."""

TOLD_AFTER_US = 60_000_000
"""A pool that missed mail hears of it after that time at the latest."""

START_US = 1_700_000_000_000_000

TINY_INDEX = IndexSizes(page=2, runs=2, spread_bytes=300, merge_bytes=1_000, whole_rows=0)
"""Starts go by the index however few instances there are, and its runs are merged often."""


class World:
    """One run. Equal seeds make equal runs."""

    def __init__(self, seed: int, *, has_faults: bool) -> None:
        self.workload: Workload = workloads.make(random.Random(seed))
        self.rng = random.Random(f"{seed} {has_faults}")
        random.seed(seed)
        self.has_faults = has_faults
        self.trouble = 1.0 if has_faults else 0.0
        """1 while things go wrong; 0 once faults have stopped."""
        self.crash_rate = self.rng.choice((0.0, 0.01, 0.05)) if has_faults else 0.0
        self.checkpoint_rate = self.rng.choice((0.05, 0.3, 1.0))
        self.keep_live = self.rng.random() < 0.3
        self.recent_calls = self.rng.choice((3, 10, 1_000))
        self.loaded_instances = max(0, seed % 4 - 1)
        self.memory_budget = seed // 4 % 2 * 500
        self.index_sizes = TINY_INDEX if seed // 8 % 2 else IndexSizes()
        self._parts = random.Random(f"parts {seed}") if seed // 16 % 2 else None
        self.now_us = START_US
        self.trace: list[str] = []
        self.crashes: Counter[str] = Counter()
        self.methods = sorted(
            method.urn for method in registry.registered() if method.urn.startswith("simulation.")
        )
        self.log = MemoryCallLog(now_us=lambda: self.now_us)
        self.partitions: list[int] = []
        self.live: list[int] = []
        """The partitions of the ingress replicas that live; a client may reach any of them."""
        self.ends: dict[int, int] = {}
        for _ in range(self.rng.choice((1, 2, 2, 3))):
            self._open_partition()
        self._next_id = 0
        self._mail: list[Letter] = []
        self._cut_off: dict[SimPool, int] = {}
        """Pools that no new mail reaches, and until when."""
        self._batches = list(self.workload.batches)
        self._starting: dict[int, StartRequest] = {}
        self._token = 0
        self._created: Counter[str] = Counter()
        self.pools = [SimPool(self, workflow) for workflow in WORKFLOWS]

    # --- chance ----------------------------------------------------------------------

    def new_id(self) -> str:
        """The next id of a call: sorted by time, and the same in every run of the seed."""
        self._next_id += 1
        return f"00000000-0000-7000-8000-{self._next_id:012x}"

    def rows_of_part(self) -> int | None:
        """How much of each shard a checkpoint writes; drawn apart, so that nothing else changes."""
        return self._parts.choice((None, 1, 1)) if self._parts else None

    def fault(self, where: str) -> bool:
        """Whether the process crashes here."""
        crashes = self.rng.random() < self.crash_rate * self.trouble
        if crashes:
            self.crashes[where] += 1
            self.trace.append(f"crash {where}")
        return crashes

    # --- running ---------------------------------------------------------------------

    def run(self) -> None:
        """Clients, faults and pools have acted until nothing more can happen."""
        for _ in range(ACTIONS_MAX):
            actions = self._actions()
            if self.has_faults and not self._batches and self.rng.random() < 0.02:
                self.trouble = 0.0
            if not actions and not self._goes_on():
                return
            if actions:
                self._act(*self.rng.choice(actions))
            self._let_time_pass()
        raise AssertionError(f"not over after {ACTIONS_MAX} actions")

    def _actions(self) -> list[Action]:
        found: list[Action] = []
        for pool in self.pools:
            for name, run in pool.actions():
                found.append((name, partial(self._in_process, pool, run)))
        if self._batches and not self._starting:
            found.append(("client", self._push_next))
        if self._starting:
            found.append(("client asks again", self._ask_start))
        for letter in [one for one in self._mail if one[0] <= self.now_us][:8]:
            found.append(("mail", partial(self._bring, letter)))
        return found

    def _act(self, name: str, run: Any) -> None:
        self.trace.append(name)
        run()

    def _in_process(self, pool: SimPool, run: Any) -> None:
        try:
            run()
            if self.fault("between two actions"):
                raise Crash
        except Crash:
            pool.boot()

    def _let_time_pass(self) -> None:
        self.now_us += self.rng.randint(0, 100_000)
        if self.rng.random() < 0.02 * self.trouble:
            self.now_us += 10_000_000

    def _goes_on(self) -> bool:
        """Nothing happens by itself any more: the clock goes on, and late pools are told."""
        self.trouble = 0.0
        due = [pool.kernel.next_due_us for pool in self.pools]
        times = [due_us for due_us in due if due_us is not None]
        times += [at_us for at_us, _, _ in self._mail]
        nearest_us = min(times, default=None)
        if self._is_anybody_behind() and (
            nearest_us is None or nearest_us > self.now_us + TOLD_AFTER_US
        ):
            for pool in self.pools:
                pool.notice()
            return True
        if nearest_us is not None:
            self.now_us = max(self.now_us, nearest_us)
        return nearest_us is not None

    # --- clients and the ingress -----------------------------------------------------

    def _push_next(self) -> None:
        calls: list[NewCall] = []
        for item in self._batches.pop(0):
            match item:
                case Push():
                    calls.append(
                        NewCall(
                            id=self.new_id(),
                            method=item.method.urn,
                            service="simulation",
                            input=json.dumps(item.input).encode(),
                            output=json.dumps(item.output).encode(),
                        )
                    )
                case Start():
                    self._token += 1
                    self._starting[self._token] = StartRequest(
                        workflow="simulation.fulfil",
                        id=item.key,
                        input=json.dumps(item.arguments).encode(),
                        at_us=self.now_us,
                    )
        size = 1 if self.rng.random() < 0.5 * self.trouble else len(calls)
        while calls:
            self.append(Batch(calls=calls[:size]))
            del calls[:size]
            if self.rng.random() < 0.2 * self.trouble:
                for pool in self.rng.sample(self.pools, 3):
                    self._cut_off[pool] = self.now_us + 30_000_000

    def _ask_start(self) -> None:
        pool = next(pool for pool in self.pools if pool.workflow.name == "simulation.fulfil")
        for token, request in self._starting.items():
            pool.start(request, token)

    def answered(self, token: int, answer: StartAnswer) -> None:
        """A client has the answer to its start."""
        self._created[answer.id] += answer.created
        self._starting.pop(token, None)
        assert self._created[answer.id] <= 1, f"{answer.id} was created twice"

    def _open_partition(self) -> None:
        partition = self.log.open_partition(owner="simulation").id
        self.partitions.append(partition)
        self.live.append(partition)
        self.ends[partition] = 0

    def append(self, batch: Batch) -> None:
        """The batch is accepted; every pool gets its part, sooner or later."""
        if self.rng.random() < 0.05 * self.trouble:
            self._change_partition()
        segment = self.log.append(self.rng.choice(self.live), [batch]).segment
        if segment is None:
            return
        self.ends[segment.partition] = segment.end
        for pool in self.pools:
            self._post(pool, segment)

    def _change_partition(self) -> None:
        """Another ingress goes on; the first that it tells every pool is what the last one left."""
        left = self.rng.choice(self.live)
        self.live.remove(left)
        self.log.close_partition(left)
        for pool in self.pools:
            pool.deliver(Delivery(left, 0, self.ends[left], 0, []))
        self._open_partition()

    def _is_anybody_behind(self) -> bool:
        return any(
            pool.kernel.watermarks.get(partition, 0) < end
            for pool in self.pools
            for partition, end in self.ends.items()
        )

    def _post(self, pool: SimPool, segment: Segment) -> None:
        start, end = segment.first, segment.end
        if self.rng.random() < 0.2 * self.trouble:
            start = max(0, start - self.rng.randint(0, 3))  # what was sent before comes again
        if self.rng.random() < 0.1 * self.trouble:
            return  # lost: the pool hears of the range with a later one, or from a timer
        cuts = [start, end]
        if end - start > 1 and self.rng.random() < 0.3 * self.trouble:
            cuts.insert(1, self.rng.randint(start + 1, end - 1))
        for low, high in itertools.pairwise(cuts):
            parts = list(self.log.read(segment.partition, start=low, end=high))
            calls = [
                DeliveredCall(part.first + index, part.pos, call)
                for part in parts
                for index, call in enumerate(part.calls)
            ]
            at_us = max(self.now_us, self._cut_off.get(pool, 0))
            if self.rng.random() < 0.15 * self.trouble:
                at_us += self.rng.randint(0, 100_000_000)
            after = [(part.first, part.after) for part in parts]
            letter = (at_us, pool, Delivery(segment.partition, low, high, 1, calls, after))
            self._mail.append(letter)

    def _bring(self, letter: Letter) -> None:
        _, pool, delivery = letter
        if self.rng.random() > 0.1 * self.trouble:
            self._mail.remove(letter)
        pool.deliver(delivery)


def run(world: World) -> None:
    """The world's run is over."""
    original, ids.uuid7 = ids.uuid7, world.new_id
    try:
        world.run()
    finally:
        ids.uuid7 = original


def simulate(seed: int, *, has_faults: bool = True) -> World:
    """The run of a seed is over."""
    world = World(seed, has_faults=has_faults)
    run(world)
    return world
