"""Hosts a kernel: takes its events, commits what it decides, then releases the effects.

The next batch is applied while the last one commits (group commit). A commit that failed
or whose outcome is unknown ends the incarnation: the process gives up its memory, and its
successor recovers from what is durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import islice
from typing import Any

import msgspec

from raysume import ids, limits
from raysume.actors.answering import Answers
from raysume.actors.bidding import AskVerdict, Bidding
from raysume.actors.checkpointing import Checkpoints, Part
from raysume.actors.effects import Effects, Publish, StepsElsewhere
from raysume.actors.endings import Endings, finished_ids
from raysume.actors.forgetting import forget_partitions
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel import driving
from raysume.actors.kernel.bids import Verdict
from raysume.actors.kernel.commits import Commit, Delivered, Event
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery, StartAnswer, StartRequest
from raysume.actors.kernel.journal import Sealer
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import START_OF_LOG, Place
from raysume.actors.kernel.standing import learning_turn
from raysume.actors.loading import method_of
from raysume.actors.metrics import PoolMeters
from raysume.actors.process_logs import say
from raysume.actors.quarantine import Quarantine
from raysume.actors.recurring import Alarm, make_checkpoints, ring_timers
from raysume.actors.remembering import recent_calls
from raysume.actors.starting import start_instance
from raysume.actors.waking import wake_for
from raysume.crash_points import crash_point
from raysume.storage.call_ports import CallLog
from raysume.storage.moments import wall_clock_us as now_us
from raysume.storage.ports import OwnedShard, Store, StoreCommit
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
        memory_budget: int = limits.MEMORY_BUDGET,
        elsewhere: StepsElsewhere | None = None,
        participant: str = "",
        ask_verdict: AskVerdict | None = None,
    ) -> None:
        """
        Args:
            methods: the URNs whose calls the pool gets.
            publish: how calls made by workflows are accepted.
            memory_budget: see `Settings.memory_budget`.
            participant, ask_verdict: see `Bidding`.
            give_up: ends this incarnation; called once, when durable state cannot be written.
        """
        self.workflow, self.version, self.methods = workflow, version, methods
        self.store, self._call_log, self._sealer = store, call_log, sealer
        self.kernel = Kernel(
            workflow,
            version,
            methods=method_of,
            runs_inline=workflow.definition.inline,
            window=mailbox_window,
            retention=history_retention,
            subscribed=methods,
        )
        self.kernel.instances.bytes_max = memory_budget
        self.bidding = Bidding(
            self.kernel, store, participant=participant, ask=ask_verdict, report=self.report
        )
        self.effects = Effects(
            self.kernel,
            call_log,
            methods=lambda: self.methods,
            publish=publish,
            report=self.report,
            elsewhere=elsewhere,
            verdicts=self.bidding.verdicts,
        )
        self.journal: PoolJournal
        self.meters, self.turns = PoolMeters(), 0
        self._give_up, self._interval_s = give_up, checkpoint_interval_s
        self._events: deque[Event] = deque()
        self._backlog = 0
        self._uncommitted: list[Commit] = []
        self.answers, self.endings = Answers(self.report), Endings()
        self._work, self._committable, self.alarm = asyncio.Event(), asyncio.Event(), Alarm()
        self._checkpoints = Checkpoints(self._committable.set)
        self.progress = asyncio.Condition()
        self._committed = self.applied = 0
        self._commits = ThreadPoolExecutor(1, "raysume-commit")
        self._loops: list[asyncio.Task[None]] = []
        self.released = asyncio.Event()  # cleared while nothing may be applied
        self.released.set()
        self.held_until: asyncio.TimerHandle | None = None
        self.passing = asyncio.Lock()  # held while shards come or go

    # --- starting and stopping -------------------------------------------------------

    async def start(self, owned: Sequence[OwnedShard]) -> int:
        """The host has recovered its shards, and works off events.

        Args:
            owned: the shards, under the epochs of this incarnation; none yet: it stands nowhere.

        Returns:
            How many instances were recovered.
        """
        loop = asyncio.get_running_loop()
        recovered, calls, covers, verdicts = await loop.run_in_executor(None, self._recover, owned)
        if not self.workflow.has_parameters:
            turn = learning_turn(self.workflow, self.version, now_us())
            await driving.run_as_task(turn, self.kernel.standing.learning(turn))
            self.kernel.standing.stand(self.kernel.index)
        self.kernel.remember(calls, covers, verdicts)
        self._applied_commit(self.kernel.resume(now_us()))
        if owned:
            await self.notice_log()
        else:
            self.kernel.intake.bound = {}  # it stands where it will be told to, with its first shard
        self._loops = [
            loop.create_task(self._apply_loop(), name="apply"),
            loop.create_task(self._commit_loop(), name="commit"),
            loop.create_task(ring_timers(self), name="timers"),
            loop.create_task(make_checkpoints(self, self._interval_s), name="checkpoints"),
            loop.create_task(forget_partitions(self), name="partitions"),
        ]
        for task in self._loops:
            task.add_done_callback(self._loop_ended)
        self.effects.try_suspects(self.flushed)
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
        await self.effects.trials.stop(self.kernel)
        await asyncio.gather(self.bidding.stop(), self.effects.stop())
        self._commits.shutdown(wait=True)

    def _recover(
        self, owned: Sequence[OwnedShard]
    ) -> tuple[int, list[DeliveredCall], Place, list[Verdict]]:
        self.bidding.recall()
        self.journal = PoolJournal(self.store, owned, self._sealer)
        recovered = self.journal.recover(self.kernel)
        self._quarantine = Quarantine.of(self.store, self.kernel, self.journal)
        if self._quarantine is not None:
            in_turn = self._quarantine.died_in_turn
            pool = self.journal.name
            self.effects.trials.recall(self.store, self.kernel, pool=pool, in_turn=in_turn)
        calls, covers = self.recent_calls() if owned else ([], START_OF_LOG)
        return recovered, calls, covers, self.bidding.verdicts(after=covers)

    def recent_calls(self) -> tuple[list[DeliveredCall], Place]:
        """See `remembering.recent_calls`; it reads the log."""
        return recent_calls(self._call_log, self.kernel.watermarks, self.methods)

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.end(task.exception() or RuntimeError(f"the {task.get_name()} loop ended"))

    def end(self, error: BaseException) -> None:
        """The incarnation ends: what it has in memory is not what is durable."""
        give_up, self._give_up = self._give_up, _given_up
        give_up(error)

    # --- events ------------------------------------------------------------------------

    def report(self, event: Event) -> None:
        """The event will be applied, in the order of reports."""
        self._events.append(event)
        if isinstance(event, Delivered):
            self._backlog += len(event.delivery.calls)
        self._work.set()

    def keep_events(self, wanted: Callable[[Event], bool]) -> None:
        """Reported events that are not wanted are never applied."""
        self._events = deque(event for event in self._events if wanted(event))

    def resume(self, shards: Collection[int]) -> None:
        """Everything unfinished of shards that have come is under way."""
        self._applied_commit(self.kernel.resume(now_us(), shards))
        self.alarm.changed.set()

    def deliver(self, data: bytes) -> int:
        """The delivery will be applied.

        Returns:
            The calls received and not yet worked off.
        """
        delivery = msgspec.msgpack.decode(data, type=Delivery)
        self.report(Delivered(delivery=delivery))
        crash_point("after_delivery_received")
        return self.backlog

    @property
    def backlog(self) -> int:
        """The calls received and not yet worked off."""
        return self._backlog + self.kernel.intake.waiting

    def notice(self, ends: Mapping[int, int]) -> None:
        """Calls below these offsets (partition -> offset) that have not come are read from the log."""
        for partition, end in ends.items():
            start = self.kernel.watermarks.get(partition, 0)
            if end > start:
                self.report(Delivered(delivery=Delivery(partition, start, end, 0, [])))

    async def notice_log(self) -> None:
        """Everything that is in the log by now and has not come is read from there."""
        partitions = await self.effects.read_surely(lambda log: log.partitions())
        self.notice({one.id: one.next_offset for one in partitions})

    async def start_instance(self, request: StartRequest) -> StartAnswer:
        """See `starting.start_instance`."""
        return await start_instance(self, request)

    async def in_store(self, ask: Callable[[Store], Any]) -> Any:
        """What `ask` finds in the store, read in a thread."""
        return await asyncio.get_running_loop().run_in_executor(None, ask, self.store)

    async def in_commits(self, do: Callable[[], None]) -> None:
        """`do` has run where commits are made, between two of them."""
        await asyncio.get_running_loop().run_in_executor(self._commits, do)

    # --- the loops -----------------------------------------------------------------------

    async def _apply_loop(self) -> None:
        while True:
            await self._work.wait()
            if len(self._uncommitted) >= limits.COMMITS_AHEAD_MAX:
                async with self.progress:
                    await self.progress.wait_for(
                        lambda: len(self._uncommitted) < limits.COMMITS_AHEAD_MAX
                    )
            await wake_for(self, islice(self._events, limits.COMMIT_EVENTS_MAX))
            while not self.released.is_set():  # last: a held pool stands where it said it does
                await self.released.wait()
            events = self._take_events()
            if events or self.kernel.arbitration.is_cut:
                at_us = now_us()
                self._applied_commit(self.meters.apply.timed(self.kernel.apply, events, at_us))
                self.alarm.applied(self.kernel.next_due_us, at_us)
                if self.kernel.arbitration.is_cut:
                    self._work.set()
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
        self.applied += 1
        self.meters.has_applied(commit)
        self.effects.read_now(commit)
        self._uncommitted.append(commit)
        self._committable.set()

    async def _commit_loop(self) -> None:
        loop, checkpoints = asyncio.get_running_loop(), self._checkpoints
        while True:
            await self._committable.wait()
            self._committable.clear()
            while True:
                taken = len(self._uncommitted)
                together = Commit.of(self._uncommitted)
                part = checkpoints.take(self.journal.logs, together.turns_in_all)
                if not taken and part is None:
                    break
                began_s = loop.time()
                if together.turns or part is not None:
                    await loop.run_in_executor(self._commits, self._write, together, part)
                    self.journal.committed(together)
                    if together.turns and self._quarantine is not None:
                        self._quarantine.has_moved()
                if part is not None:
                    is_more = self.journal.let_go(self.kernel, self._uncommitted)
                    if checkpoints.wrote(is_more=is_more):
                        loop.call_later(loop.time() - began_s, checkpoints.rested)
                del self._uncommitted[:taken]
                self._committed += taken
                self._release(together)
                async with self.progress:
                    self.progress.notify_all()

    def _write(self, commit: Commit, part: Part | None) -> None:
        self.meters.commit.timed(self._write_all, commit, part)

    def _write_all(self, commit: Commit, part: Part | None) -> None:
        prepared: StoreCommit = self.journal.prepare(
            commit,
            now_us=now_us(),
            checkpoint=part,
            older_than_us=self.older_than_us(),
        )
        if prepared.epochs:
            self.store.commit(prepared)
            self.meters.has_written(prepared)

    def older_than_us(self) -> int:
        """What ended, and was journalled, before this moment is kept no longer."""
        return now_us() - self.kernel.retention_us

    def _release(self, commit: Commit) -> None:
        self.turns += commit.turns_in_all
        self.effects.release(commit)
        self.bidding.release(commit)
        self.answers.give((*commit.answers, *commit.replies))
        self.endings.tell((*commit.finished, *finished_ids(commit)))
        for line in commit.logs:
            say(line, self.workflow.name, self.version)

    def has_committed(self, batches: int) -> bool:
        """Whether so many batches are durable."""
        return self._committed >= batches

    def has_applied(self, ends: dict[int, int]) -> bool:
        """Whether every call below these offsets (partition -> offset) is applied."""
        return all(self.kernel.watermarks.get(one, 0) >= end for one, end in ends.items())

    # --- waiting for things ----------------------------------------------------------------

    async def checkpoint(self, *, in_haste: bool = True) -> None:
        """Every committed change is in the instance rows.

        Args:
            in_haste: False: turns go on beside it as usual, see `Checkpoints`.
        """
        number = self._checkpoints.ask(in_haste=in_haste)
        async with self.progress:
            await self.progress.wait_for(lambda: self._checkpoints.has_made(number))

    async def flushed(self) -> None:
        """Everything that was applied when this was called is durable."""
        applied = self.applied
        async with self.progress:
            await self.progress.wait_for(lambda: self._committed >= applied)

    @property
    def has_uncommitted(self) -> bool:
        """Whether something was applied that is not durable yet."""
        return self._committed < self.applied

    def is_changing(self, id: str) -> bool:
        """Whether the instance has changed in a commit that is not durable yet."""
        shard = ids.shard_of(id, limits.SHARDS)
        changed = (turn for one in self._uncommitted for turn in one.turns.get(shard, ()))
        return any(turn.instance.id == id for turn in changed)

    async def caught_up(self, ends: dict[int, int]) -> None:
        """Every call below these offsets (partition -> offset) is applied, durably."""
        async with self.progress:
            await self.progress.wait_for(lambda: self.has_applied(ends))
        await self.flushed()


def _given_up(error: BaseException) -> None:
    """The incarnation is ending already."""
