"""A kernel on the bench: events by hand, commits to look at, and a restart from what was recorded."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from pydantic import BaseModel

from raysume import external_call
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel import driving
from raysume.actors.kernel.commits import Commit, Delivered, Event, TurnEnded, TurnTask
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import START_OF_LOG, InstanceRecord
from raysume.actors.kernel.standing import learning_turn
from raysume.actors.loading import method_of
from raysume.actors.shard_indexes import IndexSizes
from raysume.durable import turn_scope
from raysume.records import CallRecord
from raysume.storage.memory.state import MemoryStore
from raysume.storage.ports import ShardRef
from raysume.storage.sealing import Seal
from raysume.workflows import Workflow

START_US = 1_700_000_000_000_000
SEAL = Seal(b"bench-key" * 5)


class Thing(BaseModel):
    """What the calls of the tests carry."""

    key: str = ""
    n: int = 0


begun = external_call("bench.begun", input=Thing, output=str)
one = external_call("bench.one", input=Thing, output=str)
two = external_call("bench.two", input=Thing, output=str)


class Pause:
    """Something ordinary to await."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield self


def call(method: Any, offset: int, *, pos: int | None = None, **input: Any) -> DeliveredCall:
    """A call in the log at `offset`, in a segment of its own unless `pos` says otherwise."""
    record = CallRecord(
        f"call-{offset}",
        method.urn,
        "bench",
        START_US + offset,
        json.dumps(input).encode(),
        b'"out"',
    )
    return DeliveredCall(offset, offset if pos is None else pos, record)


def delivery(
    *calls: DeliveredCall,
    partition: int = 1,
    end: int | None = None,
    after: dict[int, dict[int, int]] | None = None,
) -> Delivered:
    """The delivery of consecutive calls.

    Args:
        after: offset -> the ends of other partitions that come before the calls from there on.
    """
    start = calls[0].offset
    behind = list((after or {}).items())
    made = Delivery(partition, start, end or calls[-1].offset + 1, 1, list(calls), behind)
    return Delivered(delivery=made)


class Bench:
    """One workflow's kernel with its journal on a store in memory."""

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        *,
        memory_budget: int | None = None,
        index_sizes: IndexSizes | None = None,
        **options: Any,
    ) -> None:
        self.workflow, self.options, self.index_sizes = workflow, options, index_sizes
        self.memory_budget = memory_budget
        self.store = MemoryStore()
        self.now_us = START_US
        self.offset = 0
        self.tasks: list[TurnTask] = []
        self.committed: list[Commit] = []
        self._boot()
        self._learn()

    def _boot(self) -> None:
        refs = [ShardRef(workflow=self.workflow.name, version="1", number=n) for n in range(16)]
        owned = self.store.acquire(refs, owner="bench")
        self.journal = PoolJournal(self.store, owned, SEAL, sizes=self.index_sizes)
        options = {"runs_inline": self.workflow.definition.inline, **self.options}
        self.kernel = Kernel(self.workflow, "1", methods=method_of, **options)
        if self.memory_budget is not None:
            self.kernel.instances.bytes_max = self.memory_budget
        self.journal.recover(self.kernel)
        self.tasks = []

    def _learn(self) -> None:
        if not self.workflow.has_parameters:
            turn = learning_turn(self.workflow, "1", self.now_us)
            assert driving.run_inline(turn, self.kernel.standing.learning(turn)) is driving.FINISHED
            self.kernel.standing.stand(self.kernel.index)

    def restart(self, *, remembered: tuple[DeliveredCall, ...] = ()) -> Commit:
        """A new kernel goes on from what was committed."""
        self._boot()
        self._learn()
        covers = START_OF_LOG if remembered else self.kernel.newest
        self.kernel.remember(remembered, covers_after=covers)
        return self.save(self.kernel.resume(self.now_us))

    def apply(self, *events: Event) -> Commit:
        """The events are applied and committed."""
        return self.save(self.kernel.apply(events, self.now_us))

    def save(self, commit: Commit, *, checkpoint: bool = False) -> Commit:
        """The commit is in the store."""
        self.store.commit(self.journal.prepare(commit, now_us=self.now_us, checkpoint=checkpoint))
        self.journal.committed(commit)
        self.tasks.extend(commit.tasks)
        self.committed.append(commit)
        return commit

    def checkpoint(self) -> None:
        """Everything committed is in instance rows."""
        self.save(Commit(), checkpoint=True)

    def push(self, method: Any, **input: Any) -> Commit:
        """The next call of the log is applied."""
        item = call(method, self.offset, **input)
        self.offset += 1
        return self.apply(delivery(item))

    def go_on(self) -> Commit:
        """The first turn under way has run to its next ordinary await, or to its end."""
        task = self.tasks[0]
        with turn_scope(task.turn):
            try:
                next(task.steps)
            except StopIteration:
                self.tasks.pop(0)
                return self.apply(TurnEnded(task=task))
        return Commit()

    def finish_turns(self) -> None:
        """No turn is under way."""
        while self.tasks:
            self.go_on()

    @property
    def instances(self) -> list[Instance]:
        """Oldest first, as far as starts by call tell."""
        return sorted(self.kernel.instances.values(), key=lambda one: one.started_us)

    @property
    def only(self) -> Instance:
        """The one instance there is."""
        [found] = self.kernel.instances.values()
        return found

    def result(self, instance: Instance | None = None) -> Any:
        """What the instance returned."""
        found = instance or self.only
        assert found.result is not None, (found.status, found.error)
        return json.loads(found.result)


def record_of(commit: Commit, instance_id: str) -> InstanceRecord:
    """The last record of the instance in the commit."""
    found = [
        turn.instance
        for turns in commit.turns.values()
        for turn in turns
        if turn.instance.id == instance_id
    ]
    return found[-1]
