"""One of several kernels of a workflow in the simulation: a version, or a member of its pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulation.trading import offered, ordered, trade

from raysume.actors.bidding import verdicts_of, winner_of
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel import driving
from raysume.actors.kernel.arbitration import Arbitration
from raysume.actors.kernel.bids import Bid, Claim
from raysume.actors.kernel.commits import (
    Claimed,
    Commit,
    Delivered,
    Event,
    LookBackOrder,
    LookedBack,
    RangeOrder,
    StepEnded,
    StepOrder,
    TimersDue,
)
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.records import InstanceRecord, StepDone
from raysume.actors.kernel.standing import learning_turn
from raysume.actors.loading import method_of
from raysume.actors.remembering import recent_calls
from raysume.compiler import dumps
from raysume.storage.ports import ShardRef
from raysume.storage.sealing import Seal

SEAL = Seal(b"simulation-key-of-32-bytes-length")
METHODS = frozenset((ordered.urn, offered.urn))

if TYPE_CHECKING:
    from tests.simulation.bidders import Trading

Action = Callable[[], None]


class Crash(Exception):
    """The process ends here."""


class SimParticipant:
    """A kernel with a journal; what is durable outlives `boot`."""

    def __init__(self, world: Trading, name: str, version: str, shards: Sequence[int]) -> None:
        self.world, self.name, self.version, self.shards = world, name, version, shards
        self.is_gone = False
        self.boot()

    def boot(self) -> None:
        """A new incarnation has recovered from the store."""
        world = self.world
        self.is_gone = False
        refs = [ShardRef(workflow=trade.name, version=self.version, number=n) for n in self.shards]
        self.journal = PoolJournal(world.store, world.store.acquire(refs, owner="simulation"), SEAL)
        self.kernel = Kernel(
            trade, self.version, methods=method_of, recent_calls=world.recent, loaded_instances=1
        )
        self.kernel.arbitration = Arbitration(self.name, world.regimes_of(self))
        self.kernel.tenure = world.tenures[self.version]
        self.journal.recover(self.kernel)
        self.kernel.intake.recover(dict(self.kernel.tenure.begins or {}))
        turn = learning_turn(trade, self.version, world.now_us)
        assert driving.run_inline(turn, self.kernel.standing.learning(turn)) is driving.FINISHED
        self.kernel.standing.stand(self.kernel.index)
        self.events: list[Event] = []
        self.uncommitted: list[Commit] = []
        self.effects: list[tuple[float, Action]] = []
        self.bid: Bid | None = None
        """Released, and not answered yet."""
        self.barrier: tuple[int, int] | None = None
        calls, covers = recent_calls(world.log, self.kernel.watermarks, METHODS)
        verdicts = verdicts_of(world.store, trade.name, after=covers)
        self.kernel.remember(calls, covers_after=covers, verdicts=verdicts)
        self._applied(self.kernel.resume(world.now_us))
        self.notice()

    def notice(self) -> None:
        """It knows how far the log goes, and reads what it lacks."""
        mark, end = self.kernel.intake.mark(self.world.partition), self.world.end
        if end > mark:
            self.events.append(Delivered(delivery=Delivery(self.world.partition, mark, end, 0, [])))

    def actions(self) -> list[Action]:
        """Everything that it can do now."""
        if self.is_gone:
            return []
        found = [run for speed, run in self.effects if self.world.has_time(speed)]
        if self.events:
            found.append(self.apply)
        if (self.uncommitted and self.world.has_time(self.world.disk_speed)) or (
            self.journal.dirty and self.world.rng.random() < 0.1
        ):
            found.append(self.commit)
        if (
            self.bid is not None
            and self.kernel.arbitration.is_open
            and (not found or self.world.rng.random() < 0.1)
        ):
            found.append(partial(self.world.post_bid, self, self.bid))
        due_us = self.kernel.next_due_us
        if self.barrier is None and due_us is not None and due_us <= self.world.now_us:
            found.append(self.ask_barrier)
        elif (
            self.barrier is not None
            and self.kernel.intake.mark(self.world.partition) >= self.barrier[1]
        ):
            found.append(self.ring)
        return found

    def ask_barrier(self) -> None:
        """Timers wait until every call accepted before now is applied."""
        self.barrier = (self.world.now_us, self.world.end)
        self.notice()

    def ring(self) -> None:
        """The timers due when the barrier was asked may ring."""
        assert self.barrier is not None
        self.events.append(TimersDue(upto_us=self.barrier[0]))
        self.barrier = None

    def apply(self) -> None:
        """Some events are applied."""
        size = self.world.rng.randint(1, len(self.events))
        taken, self.events = self.events[:size], self.events[size:]
        self._applied(self.kernel.apply(taken, self.world.now_us))

    def _applied(self, commit: Commit) -> None:
        self.uncommitted.append(commit)
        for order in commit.ranges:
            self._effect(partial(self.read_range, order), speed=self.world.log_speed)
        for look in commit.look_backs:
            self._effect(partial(self.look_back, look))
        if self.world.bids_early:
            self._bid(commit)

    def commit(self) -> None:
        """What was applied is durable and its effects are released, unless it crashes."""
        rng, fault = self.world.rng, self.world.fault
        taken = rng.randint(1, len(self.uncommitted)) if self.uncommitted else 0
        together = Commit.of(self.uncommitted[:taken])
        prepared = self.journal.prepare(together, checkpoint=not taken or rng.random() < 0.2)
        fault()
        if prepared.journal or prepared.checkpoints:
            self.world.store.commit(prepared)
        fault()
        self.journal.committed(together)
        self.journal.let_go(self.kernel, self.uncommitted)
        del self.uncommitted[:taken]
        for step in together.steps:
            self._effect(partial(self.run_step, step))
        for claim in together.claims:
            self._effect(partial(self.claim, claim))
        self._bid(together)
        fault()

    def _bid(self, commit: Commit) -> None:
        for bid in commit.bids:
            self.bid = bid
            self.world.post_bid(self, bid)

    def _effect(self, run: Action, *, speed: float = 0.1) -> None:
        def once() -> None:
            self.effects.remove((speed, once))
            run()

        self.effects.append((speed, once))

    def run_step(self, order: StepOrder) -> None:
        """The step has run."""
        step = self.kernel.step_of(order.instance, order.step)
        if step is not None:
            done = StepDone(order.step, order.attempt, True, dumps(step.function(*step.args)))
            self.events.append(StepEnded(instance=order.instance, done=done))

    def claim(self, claim: Claim) -> None:
        """The first claim of the call is durable, and told."""
        winner = winner_of(self.world.store, trade.name, claim)
        self.world.fault()
        self.events.append(Claimed(claim=claim, winner=winner))

    def read_range(self, order: RangeOrder) -> None:
        """The range is delivered from the log."""
        start = self.kernel.intake.mark(order.partition)
        if start < order.end:
            calls = self.world.calls(start, order.end)
            self.deliver(Delivery(order.partition, start, order.end, 1, calls))

    def look_back(self, order: LookBackOrder) -> None:
        """The log was read for a wait."""
        log, mark = self.world.log, self.kernel.intake.mark(self.world.partition)
        since = moment(order.since_us)
        calls = [
            DeliveredCall(segment.first + index, segment.pos, call)
            for segment in log.search(
                method=order.method, after_pos=order.after[0] - 1, since=since
            )
            for index, call in enumerate(segment.calls)
            if call.method == order.method
            and order.after < (segment.pos, segment.first + index) <= order.upto
            and segment.first + index < mark
        ]
        verdicts = verdicts_of(self.world.store, trade.name, after=order.after, upto=order.upto)
        self.events.append(
            LookedBack(instance=order.instance, wait=order.wait, calls=calls, verdicts=verdicts)
        )

    def deliver(self, delivery: Delivery) -> None:
        """The delivery will be applied."""
        self.events.append(Delivered(delivery=delivery))

    def final_records(self) -> list[InstanceRecord]:
        """Every instance as a new incarnation finds it."""
        self.boot()
        return [instance.record() for instance in self.kernel.instances.values()]


def always(value: Any) -> Callable[..., Any]:
    """A function that gives the same whatever it is asked."""
    return lambda *_arguments: value
