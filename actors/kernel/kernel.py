"""The engine of one workflow version without I/O: events in, commits with effects out.

A kernel holds the shards of its version that one actor owns. It decides, in memory,
what a batch of events does; the host makes the commit durable and then releases its
effects. It has no clock (the host says what time it is), no threads and no Ray.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from functools import cache
from typing import Any, assert_never

from raysume import ids, limits
from raysume.actors.kernel import (
    arbitration,
    children,
    commands,
    failing,
    following,
    looking_back,
    parting,
    starts,
    turning,
)
from raysume.actors.kernel.bids import Verdict
from raysume.actors.kernel.commits import (
    CallsSent,
    CancelAsked,
    ChildEnded,
    Claimed,
    Commit,
    Decided,
    Delivered,
    Event,
    ForkAsked,
    LogLine,
    LookedBack,
    RetryAsked,
    RewindAsked,
    Started,
    StepEnded,
    TimersDue,
    TurnEnded,
)
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.actors.kernel.exclusives import Exclusives
from raysume.actors.kernel.guarding import Guard
from raysume.actors.kernel.index import WaitIndex
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.intake import Intake
from raysume.actors.kernel.mailboxes import RecentCalls
from raysume.actors.kernel.moments import duration_us
from raysume.actors.kernel.records import (
    START_OF_LOG,
    CallMet,
    InstanceRecord,
    Outgoing,
    Place,
    ShardHeader,
    Stimulus,
)
from raysume.actors.kernel.residents import Residents
from raysume.actors.kernel.schedules import KEEPER, Schedule
from raysume.actors.kernel.shards import Shard
from raysume.actors.kernel.standing import Standing
from raysume.actors.kernel.status import FINISHED, Status
from raysume.actors.kernel.tenure import Tenure
from raysume.actors.kernel.timers import Timers
from raysume.methods import Method
from raysume.workflows import Workflow


class Kernel:
    """All shards of one workflow version in this process."""

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        version: str,
        *,
        methods: Callable[[str], Method],
        keep_live: bool = False,
        runs_inline: bool = True,
        hurries: bool = False,
        recent_calls: int = limits.RECENT_CALLS_MAX,
        loaded_instances: int | None = None,
        window: timedelta = limits.MAILBOX_WINDOW,
        retention: timedelta = limits.HISTORY_RETENTION,
        subscribed: frozenset[str] | None = None,
        spans: bool = False,
    ) -> None:
        """
        Args:
            workflow: what the instances run.
            version: its version, for messages and `instance()`.
            methods: from a URN to the method of this deployment.
            keep_live: keep suspended code in memory instead of loading it for every turn.
            runs_inline: try turns without a task first; False when user code of the deployment
                awaits ordinary things.
            hurries: start a failed step's next attempt at once, without its delay (in tests).
            recent_calls: how many delivered calls are kept for look-back.
            loaded_instances: how many waiting instances are kept as objects; None: the usual.
            window: how far back a wait looks for calls that came before it.
            retention: how long finished instances are known (see `expire`).
            subscribed: URNs of the methods whose calls reach this kernel; None: of all.
            spans: whether turns have spans of their own in the traces of what they are taken for.
        """
        self.workflow, self.version, self.service = workflow, version, workflow.service
        self.keep_live, self.runs_inline, self.hurries = keep_live, runs_inline, hurries
        self.methods, self.subscribed, self.spans = cache(methods), subscribed, spans
        self.window_us, self.retention_us = duration_us(window), duration_us(retention)
        self.standing = Standing(workflow)
        self.shards: dict[int, Shard] = {}
        self.intake = Intake()
        self.tenure = Tenure()
        """Which calls may start instances."""
        self.arbitration = arbitration.Arbitration()
        """Which calls need a verdict, because others want them, too."""
        self.newest: Place = START_OF_LOG
        self.now_us = 0
        self.index = WaitIndex(self.methods)
        self.instances = Residents(self.index, loaded_max=loaded_instances)
        self.exclusives = Exclusives()
        self.recent = RecentCalls(
            self.methods,
            capacity=recent_calls,
            covers_after=START_OF_LOG,
            exclusives=self.exclusives,
        )
        self.commit = Commit()
        """The commit being made."""
        self.look_back: list[tuple[str, str]] = []
        """(instance, wait) to look back for, in order of registration."""
        self.looking: dict[tuple[str, str], Place] = {}
        """(instance, wait) for which the log is being read -> up to where."""
        self.ended: dict[str, Status] = {}
        """Finished instances that left memory -> how they ended: no id is used twice, until the
        retention of its instance is over."""
        self.timers = Timers(self.instances)
        self.schedule = Schedule(self)
        self.guard: Guard | None = None
        """Asked before each turn, where turns have ended the process."""
        self.last_order = 0
        self._ready: list[str] = []
        self._touched: dict[str, Instance] = {}

    # --- taking over shards ------------------------------------------------------

    def adopt(self, shard: Shard, header: ShardHeader | None) -> None:
        """The kernel owns `shard`; its instances follow with `restore`."""
        self.shards[shard.number] = shard
        if header is not None:
            self.intake.recover(header.watermarks)
            self.arbitration.recover(header)
            self.newest = max(self.newest, header.newest)
            if shard.number == KEEPER:
                self.schedule.next_us = header.next_start_us

    def restore(self, record: InstanceRecord, *, shard: int) -> None:
        """The instance is there as saved; its unfinished work goes on with `resume`."""
        self.exclusives.restore(record)
        for wait in record.waits:
            self.last_order = max(self.last_order, wait.order)
        self.timers.restore(record)
        if self.instances.add_packed(record):
            return
        instance = Instance.of(record, shard=shard)
        self.instances[instance.id] = instance
        if not instance.is_active:
            return
        taken = {stimulus.wait for stimulus in instance.inbox if isinstance(stimulus, CallMet)}
        for wait in instance.waits.values():
            if wait.id not in taken:
                instance.entries[wait.id] = self.index.add(instance, wait)

    def resume(self, now_us: int, shards: Collection[int] | None = None) -> Commit:
        """Everything unfinished of the restored instances, or of some shards, is under way again."""
        self._begin(now_us)
        if shards is None:
            self.arbitration.resume(self)
        resumed = self.shards.keys() if shards is None else shards
        for number in resumed:
            unsent = self.shards[number].unsent.values()
            self.commit.outgoing.extend((number, outgoing) for outgoing in unsent)
        for instance in [one for one in self.instances.loaded if one.shard in resumed]:
            children.ask_again(self, instance)
            if not instance.is_active:
                continue
            failing.ask_steps(self, instance)
            for wait in list(instance.waits.values()):
                if wait.looks_back and wait.id in instance.entries:
                    self.look_back.append((instance.id, wait.id))
            if instance.inbox:
                self._ready.append(instance.id)
        self.look_back.sort(key=lambda one: self.instances[one[0]].waits[one[1]].order)
        return self._finish()

    def remember(
        self,
        calls: Iterable[DeliveredCall],
        covers_after: Place,
        verdicts: Iterable[Verdict] = (),
    ) -> None:
        """Calls from before this kernel are in memory too, so that look-backs find them there.

        Args:
            calls: in order; all at or below the watermarks, before anything is applied.
            covers_after: every subscribed call after this place is among them.
            verdicts: those on calls behind that place.
        """
        self.recent.covers_after = covers_after
        for verdict in verdicts:
            self.arbitration.remember(self, verdict)
        for call in calls:
            if call.call.is_seen_by(self.service):
                self.recent.add(call)
        parting.mark_starts(self)

    # --- applying ----------------------------------------------------------------

    def apply(self, events: Iterable[Event], now_us: int) -> Commit:
        """What the events did, to be made durable before its effects are released.

        While `arbitration.is_cut`, it is to be called again, with or without events.
        """
        self._begin(now_us)
        pending = deque(events)
        if self.arbitration.is_cut:
            arbitration.take_in(self)
            self.settle()
            pending.extendleft(reversed(self.arbitration.take_waiting()))
        while pending:
            event = pending.popleft()
            if self.arbitration.holds_back(event):
                continue
            match event:
                case Delivered():
                    self.intake.add(event.delivery)
                    arbitration.take_in(self)
                case Decided():
                    self.arbitration.decided(event.verdict)
                    arbitration.take_in(self)
                case Claimed():
                    looking_back.claimed(self, event)
                case TimersDue():
                    turning.ring(self, event.upto_us)
                case StepEnded():
                    turning.end_step(self, event)
                case Started():
                    starts.start(self, event)
                case ChildEnded():
                    children.ended(self, event)
                case TurnEnded():
                    turning.end_task(self, event)
                case LookedBack():
                    looking_back.end(self, event)
                case CallsSent():
                    self.shards[event.shard].forget_sent(event.upto)
                case CancelAsked() | RetryAsked() | RewindAsked() | ForkAsked():
                    commands.command(self, event)
                case _:
                    assert_never(event)
            self.settle()
            pending.extendleft(reversed(self.arbitration.take_waiting()))
        return self._finish()

    @property
    def watermarks(self) -> dict[int, int]:
        """partition -> offset below which every call was applied."""
        return self.intake.watermarks

    @property
    def next_due_us(self) -> int | None:
        """When the next timer is due; None when there is none."""
        due = (self.timers.next_due_us, self.schedule.due_us)
        return min((one for one in due if one is not None), default=None)

    def forget(self, instance_id: str) -> None:
        """A finished instance whose end is checkpointed leaves memory."""
        instance = self.instances.get(instance_id)
        if instance is not None and instance.status in FINISHED and not instance.children:
            del self.instances[instance_id]
            self.ended[instance_id] = instance.status

    def expire(self, instance_id: str) -> None:
        """A finished instance has been removed: its id may be used again, for a new one.

        By an explicit start, or a call whose id a client uses again after the call log forgot it.
        The call that started the removed one cannot: it lies below the watermarks, and no
        look-back reaches it (`looking_back.clamp`).
        """
        self.forget(instance_id)
        self.ended.pop(instance_id, None)

    def owns(self, instance_id: str) -> bool:
        """Whether the instance is, or would be, in one of this kernel's shards."""
        return ids.shard_of(instance_id, limits.SHARDS) in self.shards

    def knows(self, instance_id: str) -> bool:
        """Whether there is an instance with this id, or was one whose retention is not over."""
        return instance_id in self.instances or instance_id in self.ended

    # --- for `turning` -------------------------------------------------------------

    def stimulate(self, instance: Instance, stimulus: Stimulus) -> None:
        """The instance takes a turn for `stimulus`, now or after what it is busy with."""
        if instance.busy or instance.inbox:
            instance.inbox.append(stimulus)
            self.touch(instance)
        else:
            turning.take(self, instance, stimulus)

    def take_order(self) -> int:
        """The place of a new wait in the order of registration."""
        self.last_order = max(self.last_order + 1, self.now_us)
        return self.last_order

    def touch(self, instance: Instance) -> None:
        """The instance changed without a turn: it is recorded in this commit."""
        self._touched[instance.id] = instance

    def recorded(self, instance: Instance) -> None:
        """The instance has been recorded in this commit as it is now."""
        self._touched.pop(instance.id, None)

    def is_ready(self, instance: Instance) -> None:
        """The instance has an inbox to go on with."""
        self._ready.append(instance.id)

    def log(self, instance_id: str, level: str, event: str, **facts: Any) -> None:
        """A line for the instance's log goes out with the commit."""
        self.commit.logs.append(
            LogLine(instance=instance_id, level=level, event=event, facts=facts)
        )

    # --- inside ------------------------------------------------------------------

    def _begin(self, now_us: int) -> None:
        self.now_us = max(self.now_us, now_us)
        self.commit = Commit()

    def _finish(self) -> Commit:
        self.settle()
        self.schedule.begin()
        for instance in self._touched.values():
            following.record(self, instance, None)
        self._touched = {}
        for number in self.commit.turns:
            self.commit.headers[number] = self.header_of(number)
        self.instances.pack_surplus()
        return self.commit

    def header_of(self, number: int) -> ShardHeader:
        """The header of a shard as of the events applied so far."""
        next_start_us = self.schedule.next_us if number == KEEPER else None
        bid = self.arbitration.stopped
        return self.shards[number].header(dict(self.watermarks), self.newest, next_start_us, bid)

    def settle(self) -> None:
        """Inboxes and look-backs that became possible have gone on, until nothing more happens.

        While the kernel stands still before a call, nothing does.
        """
        while (self._ready or self.look_back) and self.arbitration.stopped is None:
            if self._ready:
                instance = self.instances[self._ready.pop(0)]
                if turning.can_go_on(instance):
                    turning.take(self, instance, instance.inbox.pop(0))
                    if instance.inbox and not instance.busy:
                        self._ready.append(instance.id)
                continue
            instance_id, wait_id = self.look_back.pop(0)
            looking_back.begin(self, instance_id, wait_id)

    def new_instance(self, instance_id: str, started_us: int, place: Place) -> Instance:
        """A running instance with a number in its shard."""
        shard = self.shards[ids.shard_of(instance_id, limits.SHARDS)]
        instance = Instance(
            id=instance_id,
            shard=shard.number,
            number=shard.take_number(),
            started_us=started_us,
            place=place,
        )
        self.instances[instance_id] = instance
        return instance

    def outgoing_of(self, shard_number: int, calls: Iterable[bytes]) -> list[Outgoing]:
        """The calls published by a turn, numbered, and kept until they are accepted."""
        shard = self.shards[shard_number]
        numbered = [shard.publish(call) for call in calls]
        self.commit.outgoing.extend((shard.number, outgoing) for outgoing in numbered)
        return numbered

    def step_of(self, instance_id: str, step_id: str) -> Any:
        """The step to run, with arguments of its own (see `turning.step_of`)."""
        return turning.step_of(self, instance_id, step_id)
