"""Releases what a commit asked for: steps, turns on the event loop, reads of the log, calls."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, Protocol

import msgspec
import structlog

from raysume import limits
from raysume.actors.kernel import driving
from raysume.actors.kernel.bids import Verdict
from raysume.actors.kernel.commits import (
    CallsSent,
    ChildEnded,
    ChildOrder,
    Commit,
    Delivered,
    Event,
    LookBackOrder,
    LookedBack,
    RangeOrder,
    StepEnded,
    StepOrder,
    TurnEnded,
    TurnTask,
)
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import Outgoing, Place, StepDone
from raysume.actors.log_reads import LookBackRead, RangeRead
from raysume.actors.spans import Spans, within
from raysume.actors.stepping import StepThreads, attempt_step, failed_attempt
from raysume.actors.trials import Trials
from raysume.compiler import dumps, keeping_provided
from raysume.crash_points import crash_point
from raysume.errors import InvariantViolated, Unavailable
from raysume.records import OutgoingCall, Segment
from raysume.steps import Step
from raysume.storage.call_ports import CallLog
from raysume.storage.moments import wall_clock_us

Publish = Callable[[str, int, list[OutgoingCall]], Awaitable[None]]
"""(publisher, sequence number of the first, calls): returns once they are accepted."""

FollowChild = Callable[[ChildOrder], Awaitable[ChildEnded]]
"""Returns once the child has ended."""

_log = structlog.get_logger("raysume.pool")


class VerdictsOf(Protocol):
    """Reads verdicts (see `Bidding.verdicts`)."""

    def __call__(self, *, after: Place, upto: Place | None = None) -> list[Verdict]: ...


class StepsElsewhere(Protocol):
    """Runs steps with `ray={...}` outside the pool (`raysume.actors.ray_steps`)."""

    async def run(
        self, step: Step[Any], *, key: str, step_id: str, attempt: int, trace: str | None
    ) -> StepDone:
        """What came of the attempt; the same when asked again, until `forget`."""
        ...

    async def forget(self, ids: list[str]) -> None:
        """Attempts, as "key/attempt", are over: their outcomes may go, their tasks end."""
        ...


class Effects:
    """Runs the effects of a pool's commits and reports their ends as events."""

    def __init__(
        self,
        kernel: Kernel,
        call_log: CallLog,
        *,
        methods: Callable[[], frozenset[str]],
        publish: Publish,
        report: Callable[[Event], None],
        elsewhere: StepsElsewhere | None = None,
        verdicts: VerdictsOf | None = None,
    ) -> None:
        """
        Args:
            kernel: whose steps are looked up.
            call_log: read in threads.
            methods: the URNs whose calls the pool wants.
            publish: how outgoing calls are accepted.
            report: takes events, in the event loop's thread.
            elsewhere: runs steps that have Ray options; None: they run here, as others do.
            verdicts: reads the verdicts on calls that a look-back finds, in threads.
        """
        self._kernel = kernel
        self._call_log = call_log
        self._methods = methods
        self._publish = publish
        self._report = report
        self._elsewhere, self._verdicts = elsewhere, verdicts
        self._attempts_elsewhere: dict[tuple[str, str], list[str]] = {}
        self._steps = StepThreads(limits.STEP_THREADS)
        self._reads = ThreadPoolExecutor(1, "raysume-read")
        self._tasks: set[asyncio.Task[None]] = set()
        self._parted: weakref.WeakSet[asyncio.Task[None]] = weakref.WeakSet()
        """Ended because their shard has left: whatever comes of them is not reported."""
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._outgoing: dict[int, list[Outgoing]] = {}
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._for: dict[str, set[asyncio.Task[None]]] = {}
        """By instance: what is under way for it, except its steps."""
        self.trials = Trials()
        self._moved = asyncio.Event()
        """Set whenever something was applied."""
        self.spans: Spans | None = None
        """None: no step and no turn has a span (see `trace_with`)."""
        self.follow_child: FollowChild = _nobody_follows
        """How the ends of child workflows are learnt."""

    def trace_with(self, spans: Spans | None) -> None:
        """Steps and turns of sampled traces have spans from now on; None: none has."""
        self.spans, self._kernel.spans = spans, spans is not None

    def read_now(self, commit: Commit) -> None:
        """A batch was applied; reads of the log that it asked for are under way, at once."""
        crash_point("after_apply")
        self._moved.set()
        for order in commit.ranges:
            self._spawn(self._read_range(order))
        for look in commit.look_backs:
            self._spawn_for(look.instance, self._look_back(look))

    def release(self, commit: Commit) -> None:
        """The commit is durable: what it asked for is under way."""
        crash_point("before_release")
        if self.spans is not None:
            self.spans.turns(
                chain.from_iterable(commit.turns.values()),
                workflow=self._kernel.workflow.name,
                version=self._kernel.version,
                now_us=wall_clock_us(),
            )
        for instance, step in commit.steps_cancelled:
            running = self._running.get((instance, step))
            if running is not None:
                running.cancel()
            attempts = self._attempts_elsewhere.pop((instance, step), None)
            if attempts is not None and self._elsewhere is not None:
                self._spawn(self._elsewhere.forget(attempts))
        for order in commit.steps:
            key = (order.instance, order.step)
            if key in self._running:
                continue  # a retry found it still under way
            self._running[key] = self._spawn(self._run_step(order))
        for child in commit.children:
            self._spawn_for(child.instance, self._follow_child(child))
        for task in commit.tasks:
            self._spawn_for(task.instance, self._run_turn(task))
        for shard, outgoing in commit.outgoing:
            self._outgoing.setdefault(shard, []).append(outgoing)
        for shard in list(self._outgoing):
            if shard not in self._sending:
                self._sending[shard] = self._spawn(self._send(shard))
        crash_point("after_release")

    def try_suspects(self, settled: Callable[[], Awaitable[None]]) -> None:
        """See `Trials.conduct`."""
        self._spawn(self.trials.conduct(settled))

    async def part_with(self, shards: Iterable[int], instances: Iterable[str]) -> None:
        """Nothing is under way for these shards and their instances, nor reported of it.

        It begins again where they are now. A step that runs on Ray goes on: it is found there.
        """
        left = set(instances)
        ending = [task for (instance, _), task in self._running.items() if instance in left]
        for instance in left:
            ending += self._for.pop(instance, ())
        for shard in shards:
            self._outgoing.pop(shard, None)
            sending = self._sending.pop(shard, None)
            if sending is not None:
                ending.append(sending)
        for key in [key for key in self._attempts_elsewhere if key[0] in left]:
            del self._attempts_elsewhere[key]
        self._parted.update(ending)
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=limits.STEP_CANCEL_S)

    async def stop(self) -> None:
        """Nothing is under way any more; what had not ended starts again after a recovery."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._steps.stop()
        self._reads.shutdown(wait=False, cancel_futures=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _spawn_for(self, instance: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._spawn(work)
        self._for.setdefault(instance, set()).add(task)
        task.add_done_callback(partial(self._ended_for, instance))

    def _ended_for(self, instance: str, task: asyncio.Task[None]) -> None:
        tasks = self._for.get(instance)
        if tasks is not None:
            tasks.discard(task)
            if not tasks:
                del self._for[instance]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("effect_failed", error=repr(task.exception()), exc_info=task.exception())

    async def read(self, ask: Callable[[CallLog], Any]) -> Any:
        """What `ask` finds in the call log, read in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._reads, ask, self._call_log)

    async def read_surely(self, ask: Callable[[CallLog], Any]) -> Any:
        """What `ask` finds: a log that is away for a while only delays those who wait for it."""
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        while True:
            try:
                return await self.read(ask)
            except Unavailable as error:
                _log.warning("log_not_read", workflow=self._kernel.workflow.name, error=str(error))
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)

    # --- steps and turns -----------------------------------------------------------

    async def _run_step(self, order: StepOrder) -> None:
        with keeping_provided():  # its arguments may travel on
            await self._run_loaded_step(order)

    async def _run_loaded_step(self, order: StepOrder) -> None:
        key = (order.instance, order.step)
        try:
            try:
                step = self._kernel.step_of(order.instance, order.step)
            except Exception as error:  # the turn that takes the result fails with its cause
                done = StepDone(order.step, order.attempt, False, dumps(repr(error)), False)
                self._report(StepEnded(instance=order.instance, done=done))
                return
            if step is None:
                return
            crash_point("before_step")
            about = {"raysume.step": step.label, "raysume.instance": order.instance}
            with within(self.spans, "raysume.step", order.trace, about) as span:
                done = await self._attempt(step, order, span.trace)
                span.error = None if done.succeeded else "StepFailed"
            crash_point("after_step")
        finally:
            if self._running.get(key) is asyncio.current_task():
                del self._running[key]
        if asyncio.current_task() not in self._parted:
            self._report(StepEnded(instance=order.instance, done=done))

    async def _attempt(self, step: Step[Any], order: StepOrder, trace: str | None) -> StepDone:
        key = f"{self._kernel.workflow.name}/{order.instance}/{order.step}"
        id, attempt = order.step, order.attempt
        if step.ray is None or self._elsewhere is None:
            async with self.trials.step(order, step.label) as refused:
                if refused is not None:
                    return failed_attempt(id, attempt, refused, retriable=False)
                return await attempt_step(
                    step,
                    step.function,
                    key=key,
                    step_id=id,
                    attempt=attempt,
                    threads=self._steps,
                    trace=trace,
                )
        so_far = [f"{key}/{number}" for number in range(1, attempt + 1)]
        self._attempts_elsewhere[order.instance, order.step] = so_far
        try:
            return await self._elsewhere.run(
                step, key=key, step_id=id, attempt=attempt, trace=trace
            )
        except Exception as error:  # the step cannot travel, or its runner is gone for good
            return failed_attempt(id, attempt, error, retriable=step.retry is not None)

    async def _run_turn(self, task: TurnTask) -> None:
        error: BaseException | None = None
        task.turn.task = asyncio.current_task()
        try:
            async with self.trials.turn(task) as refused:
                if refused is not None:
                    raise refused
                await driving.run_as_task(task.turn, task.steps, task.pending)
        except (Exception, asyncio.CancelledError, SystemExit) as raised:
            if isinstance(raised, asyncio.CancelledError) and task.turn.is_being_stopped:
                raise
            error = raised
        if asyncio.current_task() in self._parted:
            return
        self._report(TurnEnded(task=task, error=error))

    async def _follow_child(self, order: ChildOrder) -> None:
        self._report(await self.follow_child(order))

    # --- the call log ----------------------------------------------------------------

    async def _read_range(self, order: RangeOrder) -> None:
        """The range is delivered from the log, unless the ingress was faster.

        Not much more is read than was applied: a pool far behind holds little of the log at once.
        """
        await asyncio.sleep(limits.REORDER_GRACE_S)
        start = max(order.start, self._mark(order))
        while start < order.end:
            upto = min(order.end, start + limits.DELIVERY_CALLS_MAX)
            segments = await self.read_surely(RangeRead(order.partition, start, upto))
            delivery = Delivery.of(
                segments, self._methods(), partition=order.partition, start=start, end=upto
            )
            self._report(Delivered(delivery=delivery))
            start = upto
            while start < order.end and self._mark(order) < start - limits.DELIVERY_CALLS_MAX:
                self._moved.clear()
                await self._moved.wait()
            start = max(start, self._mark(order))

    def _mark(self, order: RangeOrder) -> int:
        return self._kernel.watermarks.get(order.partition, 0)

    async def _look_back(self, order: LookBackOrder) -> None:
        segments: list[Segment] = await self.read_surely(LookBackRead(order))
        applied = self._kernel.watermarks
        calls = [
            item
            for segment in segments
            for index, call in enumerate(segment.calls)
            if call.method == order.method
            for item in [DeliveredCall(segment.first + index, segment.pos, call)]
            if order.after < (item.pos, item.offset) <= order.upto
            and item.offset < applied.get(segment.partition, 0)
        ]
        found = await self._verdicts_on(order) if calls else []
        self._report(
            LookedBack(instance=order.instance, wait=order.wait, calls=calls, verdicts=found)
        )

    async def _verdicts_on(self, order: LookBackOrder) -> list[Verdict]:
        verdicts = self._verdicts
        if verdicts is None:
            return []
        found: list[Verdict] = await self.read_surely(
            lambda _log: verdicts(after=order.after, upto=order.upto)
        )
        return found

    # --- outgoing calls ----------------------------------------------------------------

    async def _send(self, shard: int) -> None:
        workflow, version = self._kernel.workflow.name, self._kernel.version
        publisher = f"{workflow}@{version}/{shard}"
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        try:
            while waiting := self._outgoing.get(shard):
                batch = waiting[: limits.CLIENT_BATCH_CALLS]
                calls = [msgspec.msgpack.decode(one.call, type=OutgoingCall) for one in batch]
                crash_point("before_send")
                try:
                    await self._publish(publisher, batch[0].sequence, calls)
                except Unavailable as error:
                    _log.warning("calls_not_sent", publisher=publisher, error=str(error))
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)
                    continue
                backoff_s = limits.RETRY_BACKOFF_S_MIN
                crash_point("after_send")
                del waiting[: len(batch)]
                self._report(CallsSent(shard=shard, upto=batch[-1].sequence + 1))
            self._outgoing.pop(shard, None)
        finally:
            if self._sending.get(shard) is asyncio.current_task():
                del self._sending[shard]


async def _nobody_follows(order: ChildOrder) -> ChildEnded:
    raise InvariantViolated(f"nobody follows the children of {order.instance}")
