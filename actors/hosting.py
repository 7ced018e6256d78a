"""Hosts a kernel: takes its events, commits what it decides, then releases the effects.

The next batch is applied while the last one commits (group commit). A commit that failed
or whose outcome is unknown ends the incarnation: the process gives up its memory, and its
successor recovers from what is durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec

from raysume import ids, limits
from raysume.actors.answering import Answers
from raysume.actors.effects import Effects, Publish, StepsElsewhere
from raysume.actors.journaling import PoolJournal, finished_ids
from raysume.actors.kernel import driving
from raysume.actors.kernel.commits import Commit, Delivered, Event, Started, TimersDue
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery, StartAnswer, StartRequest
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.journal import Sealer
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import InstanceRecord, Place
from raysume.actors.kernel.standing import learning_turn
from raysume.actors.loading import method_of
from raysume.actors.process_logs import say
from raysume.actors.quarantine import Quarantine
from raysume.actors.remembering import recent_calls
from raysume.crash_points import crash_point
from raysume.errors import UsageError
from raysume.storage.call_ports import CallLog
from raysume.storage.moments import wall_clock_us as now_us
from raysume.storage.ports import ShardRef, Store, StoreCommit
from raysume.workflows import Workflow


class PoolHost:
    """One pool: the shards of a workflow version, on real storage and a real clock."""

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        version: str,
        *,
        store: Store,
        call_log: CallLog,
        sealer: Sealer,
        methods: frozenset[str],
        publish: Publish,
        give_up: Callable[[BaseException], None],
        checkpoint_interval_s: float = limits.CHECKPOINT_INTERVAL_S,
        mailbox_window: timedelta = limits.MAILBOX_WINDOW,
        history_retention: timedelta = limits.HISTORY_RETENTION,
        elsewhere: StepsElsewhere | None = None,
    ) -> None:
        """
        Args:
            methods: the URNs whose calls the pool wants.
            publish: how calls made by workflows are accepted.
            give_up: ends this incarnation; called once, when durable state cannot be written.
        """
        self.workflow, self.version = workflow, version
        self.store, self._call_log, self._sealer = store, call_log, sealer
        self.methods = methods
        self.kernel = Kernel(
            workflow,
            version,
            methods=method_of,
            runs_inline=workflow.definition.inline,
            window=mailbox_window,
            retention=history_retention,
        )
        self.effects = Effects(
            self.kernel,
            call_log,
            methods=lambda: self.methods,
            publish=publish,
            report=self.report,
            elsewhere=elsewhere,
        )
        self.journal: PoolJournal
        self.applied_calls = 0
        self.turns = 0
        self._give_up = give_up
        self._interval_s = checkpoint_interval_s
        self._events: deque[Event] = deque()
        self._backlog = 0
        self._uncommitted: list[Commit] = []
        self.answers = Answers(self.report)
        self._results: dict[str, list[asyncio.Future[None]]] = {}
        self._work = asyncio.Event()
        self._committable = asyncio.Event()
        self._progress = asyncio.Condition()
        self._committed = self._applied = 0
        self._timers_changed = asyncio.Event()
        self._commits = ThreadPoolExecutor(1, "raysume-commit")
        self._loops: list[asyncio.Task[None]] = []
        self._checkpoints_asked = self._checkpoints_made = 0
        self.released = asyncio.Event()  # cleared while nothing may be applied
        self.released.set()

    # --- starting and stopping -------------------------------------------------------

    async def start(self, *, owner: str) -> int:
        """The pool owns its shards, has recovered, and works off events.

        Returns:
            How many instances were recovered.
        """
        loop = asyncio.get_running_loop()
        recovered, calls, covers = await loop.run_in_executor(None, self._recover, owner)
        if not self.workflow.has_parameters:
            turn = learning_turn(self.workflow, self.version, now_us())
            await driving.run_as_task(turn, self.kernel.standing.learning(turn))
            self.kernel.standing.stand(self.kernel.index)
        self.kernel.remember(calls, covers_after=covers)
        self._applied_commit(self.kernel.resume(now_us()))
        for partition in await self.effects.read(lambda log: log.partitions()):
            self._notice(partition.id, partition.next_offset)
        self._loops = [
            loop.create_task(self._apply_loop(), name="apply"),
            loop.create_task(self._commit_loop(), name="commit"),
            loop.create_task(self._timer_loop(), name="timers"),
            loop.create_task(self._checkpoint_loop(), name="checkpoints"),
        ]
        for task in self._loops:
            task.add_done_callback(self._loop_ended)
        self._work.set()
        return recovered

    async def stop(self) -> None:
        """Everything applied is durable and checkpointed; nothing is under way any more."""
        await self.flushed()
        await self.checkpoint()
        for task in self._loops:
            task.remove_done_callback(self._loop_ended)
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.effects.stop()
        self._commits.shutdown(wait=True)

    def _recover(self, owner: str) -> tuple[int, list[DeliveredCall], Place]:
        refs = [
            ShardRef(workflow=self.workflow.name, version=self.version, number=number)
            for number in range(limits.SHARDS)
        ]
        crash_point("before_takeover")
        owned = self.store.acquire(refs, owner=owner)
        self.journal = PoolJournal(self.store, owned, self._sealer)
        recovered = self.journal.recover(self.kernel)
        self._quarantine = Quarantine(self.store, self.kernel, self.journal)
        calls, covers = recent_calls(self._call_log, self.kernel.watermarks, self.methods)
        return recovered, calls, covers

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            error = task.exception() or RuntimeError(f"the {task.get_name()} loop ended")
            give_up, self._give_up = self._give_up, _ignore
            give_up(error)

    # --- events ------------------------------------------------------------------------

    def report(self, event: Event) -> None:
        """The event will be applied, in the order of reports."""
        self._events.append(event)
        if isinstance(event, Delivered):
            self._backlog += len(event.delivery.calls)
        self._work.set()

    def deliver(self, data: bytes) -> int:
        """The delivery will be applied.

        Returns:
            The calls received and not yet worked off.
        """
        delivery = msgspec.msgpack.decode(data, type=Delivery)
        self.report(Delivered(delivery=delivery))
        crash_point("after_delivery_received")
        return self._backlog

    def _notice(self, partition: int, end: int) -> None:
        start = self.kernel.watermarks.get(partition, 0)
        if end > start:
            notice = Delivery(partition, start, end, 0, [])
            self.report(Delivered(delivery=notice))

    async def start_instance(self, request: StartRequest) -> StartAnswer:
        """The instance exists durably, new or as it was.

        Raises:
            UsageError: the workflow takes no new instances, or the arguments are not its own.
        """
        if not self.workflow.active:
            raise UsageError(f"workflow {self.workflow.name!r} takes no new instances (inactive).")
        arguments = self.workflow.decode_arguments(request.input)
        if not request.id:
            made = self.workflow.instance_id(arguments) or ids.uuid7()
            request = msgspec.structs.replace(request, id=made)
        if request.id not in self.kernel.instances:
            known = await self.in_store(
                lambda store: store.find_instance(request.id, workflow=self.workflow.name)
            )
            if known:
                return StartAnswer.found(known[0])
        answer: StartAnswer = await self.answers.ask(
            lambda token: Started(request=request, token=token)
        )
        return answer

    async def in_store(self, ask: Callable[[Store], Any]) -> Any:
        """What `ask` finds in the store, read in a thread."""
        return await asyncio.get_running_loop().run_in_executor(None, ask, self.store)

    # --- the loops -----------------------------------------------------------------------

    async def _apply_loop(self) -> None:
        while True:
            await self._work.wait()
            if len(self._uncommitted) >= limits.COMMITS_AHEAD_MAX:
                async with self._progress:
                    await self._progress.wait_for(
                        lambda: len(self._uncommitted) < limits.COMMITS_AHEAD_MAX
                    )
            while not self.released.is_set():  # last: a held pool stands where it said it does
                await self.released.wait()
            events = self._take_events()
            if events:
                self._applied_commit(self.kernel.apply(events, now_us()))
                self._timers_changed.set()
            await asyncio.sleep(0)

    def _take_events(self) -> list[Event]:
        taken: list[Event] = []
        calls = 0
        while self._events and calls < limits.COMMIT_EVENTS_MAX:
            event = self._events.popleft()
            taken.append(event)
            size = len(event.delivery.calls) if isinstance(event, Delivered) else 0
            self._backlog -= size
            calls += max(1, size)
        if not self._events:
            self._work.clear()
        return taken

    def _applied_commit(self, commit: Commit) -> None:
        self._applied += 1
        self.applied_calls += commit.applied_calls
        self.effects.read_now(commit)
        self._uncommitted.append(commit)
        self._committable.set()

    async def _commit_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._committable.wait()
            self._committable.clear()
            while self._uncommitted or self._checkpoints_made < self._checkpoints_asked:
                taken = len(self._uncommitted)
                together = Commit()
                for commit in self._uncommitted:
                    together.absorb(commit)
                asked = self._checkpoints_asked
                checkpoint = self._checkpoints_made < asked
                if together.turns or checkpoint:
                    await loop.run_in_executor(self._commits, self._write, together, checkpoint)
                    self.journal.committed(together)
                    self._quarantine.has_moved()
                if checkpoint:
                    self._checkpoints_made = asked
                    self.journal.let_go(self.kernel)
                del self._uncommitted[:taken]
                self._committed += taken
                self._release(together)
                async with self._progress:
                    self._progress.notify_all()

    def _write(self, commit: Commit, checkpoint: bool) -> None:
        prepared: StoreCommit = self.journal.prepare(
            commit,
            now_us=now_us(),
            checkpoint=checkpoint,
            older_than_us=self._older_than_us(),
        )
        if prepared.epochs:
            self.store.commit(prepared)

    def _older_than_us(self) -> int:
        return now_us() - self.kernel.retention_us

    def _release(self, commit: Commit) -> None:
        self.turns += sum(len(turns) for turns in commit.turns.values())
        self.effects.release(commit)
        self.answers.give((*commit.answers, *commit.replies))
        for instance_id in (*commit.finished, *finished_ids(commit)):
            for waiting in self._results.pop(instance_id, ()):
                if not waiting.done():
                    waiting.set_result(None)
        for line in commit.logs:
            say(line, self.workflow.name, self.version)

    async def _timer_loop(self) -> None:
        while True:
            self._timers_changed.clear()
            due_us = self.kernel.next_due_us
            pause_s = None if due_us is None else max(0.0, (due_us - now_us()) / 1_000_000)
            if pause_s is None or pause_s > 0:
                try:
                    async with asyncio.timeout(pause_s):
                        await self._timers_changed.wait()
                except TimeoutError:
                    pass
                continue
            asked_us = now_us()
            ends: dict[int, int] = await self.effects.read(lambda log: log.barrier())
            for partition, end in ends.items():
                self._notice(partition, end)
            async with self._progress:
                await self._progress.wait_for(partial(self._has_applied, ends))
            crash_point("after_timer_barrier")
            self.report(TimersDue(upto_us=asked_us))
            async with self._progress:
                await self._progress.wait_for(partial(self._has_committed, self._applied + 1))

    def _has_committed(self, batches: int) -> bool:
        return self._committed >= batches

    def _has_applied(self, ends: dict[int, int]) -> bool:
        return all(self.kernel.watermarks.get(one, 0) >= end for one, end in ends.items())

    async def _checkpoint_loop(self) -> None:
        while True:
            expired = self.journal.has_expired(self._older_than_us())
            await asyncio.sleep(limits.REMOVAL_PAUSE_S if expired else self._interval_s)
            if expired or self.journal.dirty:
                await self.checkpoint()

    # --- waiting for things ----------------------------------------------------------------

    async def checkpoint(self) -> None:
        """Every committed change is in the instance rows."""
        self._checkpoints_asked += 1
        asked = self._checkpoints_asked
        self._committable.set()
        async with self._progress:
            await self._progress.wait_for(lambda: self._checkpoints_made >= asked)

    async def flushed(self) -> None:
        """Everything that was applied when this was called is durable."""
        applied = self._applied
        async with self._progress:
            await self._progress.wait_for(lambda: self._committed >= applied)

    @property
    def has_uncommitted(self) -> bool:
        """Whether something was applied that is not durable yet."""
        return self._committed < self._applied

    async def durable(self, instance: Instance) -> InstanceRecord:
        """The instance as its last commit has it."""
        while any(
            turn.instance.id == instance.id
            for commit in self._uncommitted
            for turn in commit.turns.get(instance.shard, ())
        ):
            await self.flushed()
        return instance.record()

    async def caught_up(self, ends: dict[int, int]) -> None:
        """Every call below these offsets (partition -> offset) is applied, durably."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._has_applied(ends))
        await self.flushed()

    async def ended(self, instance_id: str, wait_s: float) -> None:
        """The instance ended or failed, or `wait_s` seconds have passed."""
        future = asyncio.get_running_loop().create_future()
        self._results.setdefault(instance_id, []).append(future)
        try:
            async with asyncio.timeout(wait_s):
                await future
        except TimeoutError:
            pass
        finally:
            waiting = self._results.get(instance_id)
            if waiting is not None and future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._results[instance_id]


def _ignore(_error: BaseException) -> None:
    """The incarnation is ending already."""
