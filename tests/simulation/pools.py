"""One pool in the simulation: the real kernel and journal, driven one small action at a time.

It does what `PoolHost` does, without threads and with every border between two actions
open to a crash: apply, commit with or without a checkpoint, release, report.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from raysume import limits
from raysume.actors.checkpointing import Part
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel import driving
from raysume.actors.kernel.commits import (
    CallsSent,
    Commit,
    Delivered,
    Event,
    LookBackOrder,
    LookedBack,
    RangeOrder,
    Started,
    StepEnded,
    StepOrder,
    TimersDue,
    TurnEnded,
    TurnTask,
)
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery, StartAnswer, StartRequest
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.records import InstanceRecord, Outgoing, StepDone
from raysume.actors.kernel.standing import learning_turn
from raysume.actors.loading import method_of
from raysume.actors.remembering import recent_calls
from raysume.compiler import dumps
from raysume.durable import turn_scope
from raysume.records import OutgoingCall, Segment
from raysume.steps import Step
from raysume.storage.call_ports import Batch, NewCall, Publisher
from raysume.storage.memory.state import MemoryStore
from raysume.storage.ports import ShardRef
from raysume.storage.sealing import Seal
from raysume.workflows import Workflow

if TYPE_CHECKING:
    from tests.simulation.world import World

SEAL = Seal(b"simulation-key-of-32-bytes-length")

Action = tuple[str, Callable[[], None]]


def result_of(step: Step[Any]) -> Any:
    """What the step's function returns; it never awaits anything that takes time."""
    try:
        step.function(*step.args).send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("the step awaits something")


class Crash(Exception):
    """The process of the pool ends here."""


@dataclass(slots=True)
class Promises:
    """What the pool's store holds, and what may therefore have happened outside it."""

    records: dict[str, InstanceRecord] = field(default_factory=dict[str, InstanceRecord])
    outgoing: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    recorded_steps: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    turns: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    watermarks: dict[int, int] = field(default_factory=dict[int, int])
    """Up to where calls are dealt with: written together with the turns that they led to."""

    def keep(self, commit: Commit) -> None:
        """The commit is durable."""
        for shard, turns in commit.turns.items():
            for turn in turns:
                before = self.records.get(turn.instance.id)
                asked: set[str] = set() if before is None else {step.id for step in before.steps}
                ended = asked.intersection(leaf.id for leaf in turn.ended)
                self.recorded_steps.update((turn.instance.id, step) for step in ended)
                self.outgoing.update((shard, one.sequence) for one in turn.outgoing)
                self.records[turn.instance.id] = turn.instance


class SimPool:
    """One workflow's pool: what is durable outlives `boot`, everything else does not."""

    def __init__(self, world: World, workflow: Workflow[Any, Any]) -> None:
        self.world, self.workflow = world, workflow
        self.version = "1"
        self.store = MemoryStore()
        self.promises = Promises()
        self.methods = frozenset(world.methods)
        self.releases_early = False
        """A planted bug: effects go out before their commit is written."""
        self.boot()

    def boot(self) -> None:
        """A new incarnation has recovered from the store."""
        refs = [
            ShardRef(workflow=self.workflow.name, version=self.version, number=number)
            for number in range(limits.SHARDS)
        ]
        owned = self.store.acquire(refs, owner="simulation")
        self.journal = PoolJournal(self.store, owned, SEAL, sizes=self.world.index_sizes)
        self.kernel = Kernel(
            self.workflow,
            self.version,
            methods=method_of,
            runs_inline=self.workflow.definition.inline,
            keep_live=self.world.keep_live,
            recent_calls=self.world.recent_calls,
            loaded_instances=self.world.loaded_instances,
        )
        self.kernel.instances.bytes_max = self.world.memory_budget
        self.journal.recover(self.kernel)
        logs = [self.journal.log_of(ref.number) for ref in refs]
        assert not any(log is not None and log.index.is_behind for log in logs), "an index was lost"
        for partition, mark in self.promises.watermarks.items():
            recovered = self.kernel.watermarks.get(partition, 0)
            assert recovered >= mark, "calls that were dealt with would be applied again"
        self.events: list[Event] = []
        self.uncommitted: list[Commit] = []
        self.marks: list[dict[int, int]] = []
        """The watermarks after each of the uncommitted."""
        self.effects: list[Action] = []
        self.sending: dict[int, list[Outgoing]] = {}
        self.barrier: tuple[int, dict[int, int]] | None = None
        if not self.workflow.has_parameters:
            turn = learning_turn(self.workflow, self.version, self.world.now_us)
            assert driving.run_inline(turn, self.kernel.standing.learning(turn)) is driving.FINISHED
            self.kernel.standing.stand(self.kernel.index)
        calls, covers = recent_calls(self.world.log, self.kernel.watermarks, self.methods)
        self.kernel.remember(calls, covers_after=covers)
        self._applied(self.kernel.resume(self.world.now_us))
        self.notice()

    def notice(self) -> None:
        """The pool knows how far the log goes, and reads what it lacks."""
        for partition in self.world.partitions:
            end = self.world.ends[partition]
            mark = self.kernel.watermarks.get(partition, 0)
            if end > mark:
                self.events.append(Delivered(delivery=Delivery(partition, mark, end, 0, [])))

    # --- what can happen next --------------------------------------------------------

    def actions(self) -> list[Action]:
        """Everything that the pool can do now, by name."""
        name = self.workflow.name
        found: list[Action] = list(self.effects)
        if self.events or self.kernel.arbitration.is_cut:
            found.append((f"{name}: apply", self.apply))
        if self.uncommitted:
            found.append((f"{name}: commit", self.commit))
        elif self.journal.dirty and self.world.rng.random() < self.world.checkpoint_rate:
            found.append((f"{name}: checkpoint", self.commit))
        for shard in list(self.sending):
            found.append((f"{name}: send {shard}", partial(self.send, shard)))
        due_us = self.kernel.next_due_us
        if self.barrier is None and due_us is not None and due_us <= self.world.now_us:
            found.append((f"{name}: barrier", self.ask_barrier))
        elif self.barrier is not None and self._passed(self.barrier[1]):
            found.append((f"{name}: ring", self.ring))
        return found

    def apply(self) -> None:
        """Some events are applied; what they ask of the log is asked at once."""
        size = self.world.rng.randint(1, len(self.events)) if self.events else 0
        taken, self.events = self.events[:size], self.events[size:]
        self._applied(self.kernel.apply(taken, self.world.now_us))

    def _applied(self, commit: Commit) -> None:
        self.uncommitted.append(commit)
        self.marks.append(dict(self.kernel.watermarks))
        for order in commit.ranges:
            number = self.world.partitions.index(order.partition)
            self._effect(f"range {number}", partial(self.read_range, order))
        for look in commit.look_backs:
            self._effect(f"look back {look.wait}", partial(self.look_back, look))
        if self.releases_early:
            self.release(commit)

    def commit(self) -> None:
        """What was applied is durable and its effects are released, unless the pool crashes."""
        rng, fault = self.world.rng, self.world.fault
        taken = rng.randint(1, len(self.uncommitted)) if self.uncommitted else 0
        together = Commit.of(self.uncommitted[:taken])
        part: Part | None = None
        if not taken or rng.random() < self.world.checkpoint_rate:
            part = Part(tuple(self.journal.logs), self.world.rows_of_part())
        prepared = self.journal.prepare(together, checkpoint=part)
        if fault("before the write"):
            raise Crash
        if prepared.journal or prepared.checkpoints:
            self.store.commit(prepared)
        self.promises.keep(together)
        for one, marks in zip(self.uncommitted[:taken], self.marks, strict=False):
            self.promises.watermarks = marks if one.turns else self.promises.watermarks
        if fault("after the write, outcome unknown"):
            raise Crash
        self.journal.committed(together)
        self.journal.let_go(self.kernel, self.uncommitted)
        del self.uncommitted[:taken], self.marks[:taken]
        if not self.releases_early:
            self.release(together)
        if fault("after the release"):
            raise Crash

    def release(self, commit: Commit) -> None:
        """Steps, turns, calls and answers of the commit are under way."""
        for step in commit.steps:
            self._effect(f"step {step.step}", partial(self.run_step, step))
        for task in commit.tasks:
            self._effect(f"turn of {task.instance}", partial(self.run_turn, task))
        for shard, outgoing in commit.outgoing:
            self.sending.setdefault(shard, []).append(outgoing)
        for token, answer in commit.answers:
            assert isinstance(answer, StartAnswer)
            assert answer.id in self.promises.records, "a start was answered before its commit"
            self.world.answered(token, answer)

    # --- effects ---------------------------------------------------------------------

    def _effect(self, what: str, run: Callable[[], None]) -> None:
        def once() -> None:
            self.effects.remove(action)
            run()

        action: Action = (f"{self.workflow.name}: {what}", once)
        self.effects.append(action)

    def run_step(self, order: StepOrder) -> None:
        """An attempt has run; its end is reported, now and then twice."""
        record = self.promises.records.get(order.instance)
        assert record is not None, "a step ran before its instance was durable"
        key = (order.instance, order.step)
        assert key not in self.promises.recorded_steps, f"recorded step {order.step} ran again"
        assert any(
            step.id == order.step and step.attempt >= order.attempt for step in record.steps
        ), f"step {order.step} ran before it was durable"
        step = self.kernel.step_of(order.instance, order.step)
        if step is None:
            return
        if order.attempt <= step.args[0]:
            error = RuntimeError(f"attempt {order.attempt} fails")
            done = StepDone(order.step, order.attempt, False, dumps(error))
        else:
            done = StepDone(order.step, order.attempt, True, dumps(result_of(step)))
        for _ in range(2 if self.world.rng.random() < 0.1 else 1):
            self.events.append(StepEnded(instance=order.instance, done=done))

    def run_turn(self, task: TurnTask) -> None:
        """The turn has gone on to its next ordinary await, or to its end."""
        record = self.promises.records.get(task.instance)
        assert record is not None
        assert record.inbox, "a turn ran before its stimulus was durable"
        with turn_scope(task.turn):
            try:
                next(task.steps)
            except StopIteration:
                self.events.append(TurnEnded(task=task))
                return
        self._effect(f"turn of {task.instance}", lambda: self.run_turn(task))

    def send(self, shard: int) -> None:
        """Outgoing calls of the shard are in the log; the sender may never hear of it."""
        waiting = self.sending[shard]
        batch = waiting[: self.world.rng.randint(1, len(waiting))]
        for one in batch:
            assert (shard, one.sequence) in self.promises.outgoing, "a call went out uncommitted"
        publisher = Publisher(id=f"{self.workflow.name}/{shard}", first=batch[0].sequence)
        decoded = [msgspec.msgpack.decode(one.call, type=OutgoingCall) for one in batch]
        calls = [
            NewCall(id=c.id, method=c.method, service=c.service, input=c.input, output=c.output)
            for c in decoded
        ]
        self.world.append(Batch(calls=calls, publisher=publisher))
        if self.world.fault("after sending"):
            raise Crash
        if self.world.rng.random() < 0.2 * self.world.trouble:
            return  # the answer was lost: sent again
        del waiting[: len(batch)]
        if not waiting:
            del self.sending[shard]
        self.events.append(CallsSent(shard=shard, upto=batch[-1].sequence + 1))

    def read_range(self, order: RangeOrder) -> None:
        """The range is delivered from the log, in one or two deliveries."""
        partition = order.partition
        start = max(order.start, self.kernel.watermarks.get(partition, 0))
        while start < order.end:
            upto = self.world.rng.randint(start + 1, order.end)
            found = self.world.log.read(partition, start=start, end=upto)
            self.deliver(
                Delivery.of(found, self.methods, partition=partition, start=start, end=upto)
            )
            start = upto

    def look_back(self, order: LookBackOrder) -> None:
        """The log was read for a wait."""
        found: list[Segment] = list(
            self.world.log.search(
                method=order.method,
                after_pos=order.after[0] - 1,
                since=moment(order.since_us),
            )
        )
        calls = [
            DeliveredCall(segment.first + index, segment.pos, call)
            for segment in found
            for index, call in enumerate(segment.calls)
            if call.method == order.method
            and order.after < (segment.pos, segment.first + index) <= order.upto
            and segment.first + index < self.kernel.watermarks.get(segment.partition, 0)
        ]
        self.events.append(LookedBack(instance=order.instance, wait=order.wait, calls=calls))

    def deliver(self, delivery: Delivery) -> None:
        """The delivery will be applied."""
        self.events.append(Delivered(delivery=delivery))

    def start(self, request: StartRequest, token: int) -> None:
        """The start will be applied."""
        self.events.append(Started(request=request, token=token))

    # --- timers ----------------------------------------------------------------------

    def ask_barrier(self) -> None:
        """Timers wait until every call accepted before now is applied."""
        asked_us = self.world.now_us
        self.world.log.barrier()
        self.barrier = (asked_us, dict(self.world.ends))
        self.notice()

    def _passed(self, ends: dict[int, int]) -> bool:
        marks = self.kernel.watermarks
        return all(marks.get(partition, 0) >= end for partition, end in ends.items())

    def ring(self) -> None:
        """The timers due when the barrier was asked may ring."""
        assert self.barrier is not None
        self.events.append(TimersDue(upto_us=self.barrier[0]))
        self.barrier = None

    def final_records(self) -> list[InstanceRecord]:
        """Every instance as a new incarnation finds it in the store."""
        self.boot()
        found = [instance.record() for instance in self.kernel.instances.values()]
        ref = self.journal.ref
        rows = self.store.named_instances(
            self.kernel.ended, workflow=ref.workflow, version=ref.version
        )
        ended = [Instance.of(self.journal.read_row(row), shard=0) for row in rows]
        return found + [instance.record() for instance in ended]


def chooser(seed: int) -> random.Random:
    """The source of all chance of one simulation."""
    return random.Random(seed)
