"""Several kernels of one workflow in the simulation: versions, members, arbiters that forget."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from tests.simulation.trading import offered, ordered, trade

from raysume import limits
from raysume.actors.journaling import PoolJournal
from raysume.actors.kernel import driving
from raysume.actors.kernel.arbiter import Arbiter, Participant
from raysume.actors.kernel.arbitration import Arbitration
from raysume.actors.kernel.bids import Bid, Claim, Regime, Verdict
from raysume.actors.kernel.commits import (
    Claimed,
    Commit,
    Decided,
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
from raysume.actors.kernel.tenure import Tenure
from raysume.actors.loading import method_of
from raysume.actors.remembering import recent_calls
from raysume.compiler import dumps
from raysume.storage.call_ports import Batch, NewCall
from raysume.storage.memory.calls import MemoryCallLog
from raysume.storage.memory.state import MemoryStore
from raysume.storage.ports import Decision, ShardRef
from raysume.storage.sealing import Seal

SEAL = Seal(b"simulation-key-of-32-bytes-length")
METHODS = frozenset((ordered.urn, offered.urn))
ACTIONS_MAX = 20_000
START_US = 1_700_000_000_000_000

Action = Callable[[], None]


class Crash(Exception):
    """The process ends here."""


def verdict_in(decision: Decision) -> Verdict:
    """The verdict that was kept."""
    return msgspec.msgpack.decode(decision.body, type=Verdict)


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
        self.kernel = Kernel(trade, self.version, methods=method_of, recent_calls=world.recent)
        self.kernel.arbitration = Arbitration(self.name, world.regimes_of(self))
        self.kernel.tenure = world.tenures[self.version]
        self.journal.recover(self.kernel)
        self.kernel.intake.recover(dict(self.kernel.tenure.begins or {}))
        turn = learning_turn(trade, self.version, world.now_us)
        assert driving.run_inline(turn, self.kernel.standing.learning(turn)) is driving.FINISHED
        self.kernel.standing.stand(self.kernel.index)
        self.events: list[Event] = []
        self.uncommitted: list[Commit] = []
        self.effects: list[Action] = []
        self.bid: Bid | None = None
        """Released, and not answered yet."""
        self.barrier: tuple[int, int] | None = None
        calls, covers = recent_calls(world.log, self.kernel.watermarks, METHODS)
        kept = world.store.decisions_of(trade.name, after=covers)
        verdicts = [verdict_in(one) for one in kept if one.kind == "verdict"]
        self.kernel.remember(calls, covers_after=covers, verdicts=verdicts)
        self._applied(self.kernel.resume(world.now_us))
        self.notice()

    def notice(self) -> None:
        """It knows how far the log goes, and reads what it lacks."""
        mark, end = self.kernel.intake.mark(self.world.partition), self.world.end
        if end > mark:
            self.events.append(
                Delivered(delivery=Delivery(self.world.partition, mark, end, 0, []))
            )

    def actions(self) -> list[Action]:
        """Everything that it can do now."""
        if self.is_gone:
            return []
        found = list(self.effects)
        if self.events:
            found.append(self.apply)
        if self.uncommitted:
            found.append(self.commit)
        elif self.journal.dirty and self.world.rng.random() < 0.1:
            found.append(self.commit)
        if self.bid is not None and self.kernel.arbitration.is_open:
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
            self._effect(partial(self.read_range, order))
        for look in commit.look_backs:
            self._effect(partial(self.look_back, look))
        if self.world.bids_early:
            self._bid(commit)

    def commit(self) -> None:
        """What was applied is durable and its effects are released, unless it crashes."""
        rng, fault = self.world.rng, self.world.fault
        taken = rng.randint(1, len(self.uncommitted)) if self.uncommitted else 0
        together = Commit()
        for commit in self.uncommitted[:taken]:
            together.absorb(commit)
        prepared = self.journal.prepare(together, checkpoint=not taken or rng.random() < 0.2)
        fault()
        if prepared.journal or prepared.checkpoints:
            self.world.store.commit(prepared)
        fault()
        self.journal.committed(together)
        self.journal.let_go(self.kernel)
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

    def _effect(self, run: Action) -> None:
        def once() -> None:
            self.effects.remove(once)
            run()

        self.effects.append(once)

    def run_step(self, order: StepOrder) -> None:
        """The step has run."""
        step = self.kernel.step_of(order.instance, order.step)
        if step is not None:
            done = StepDone(order.step, order.attempt, True, dumps(step.function(*step.args)))
            self.events.append(StepEnded(instance=order.instance, done=done))

    def claim(self, claim: Claim) -> None:
        """The first claim of the call is durable, and told."""
        decision = Decision(
            workflow=trade.name,
            pos=claim.pos,
            offset=claim.offset,
            kind="claim",
            body=self.name.encode(),
        )
        [kept] = self.world.store.decide([decision])
        self.world.fault()
        self.events.append(Claimed(claim=claim, winner=kept.body.decode()))

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
        kept = self.world.store.decisions_of(trade.name, after=order.after, upto=order.upto)
        verdicts = [verdict_in(one) for one in kept if one.kind == "verdict"]
        self.events.append(
            LookedBack(
                instance=order.instance, wait=order.wait, calls=calls, verdicts=verdicts
            )
        )

    def deliver(self, delivery: Delivery) -> None:
        """The delivery will be applied."""
        self.events.append(Delivered(delivery=delivery))

    def final_records(self) -> list[InstanceRecord]:
        """Every instance as a new incarnation finds it."""
        self.boot()
        return [instance.record() for instance in self.kernel.instances.values()]


class Trading:
    """One run: participants, arbiters, a log, a clock. Equal seeds make equal runs."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"trading {seed}")
        self.crash_rate = self.rng.choice((0.0, 0.01, 0.04))
        self.trouble = 1.0
        self.recent = self.rng.choice((2, 8, 1_000))
        self.now_us = START_US
        self.store = MemoryStore()
        self.log = MemoryCallLog(now_us=lambda: self.now_us)
        self.partition = self.log.open_partition(owner="simulation").id
        self.end = 0
        self.bids_early = self.tells_early = False
        self.tenures: dict[str, Tenure] = {"1": Tenure()}
        self.regimes: list[Regime] = []
        self.mail: list[Action] = []
        self.arbiters = [Arbiter()]
        self.left = self.rng.randint(15, 40)
        """Calls that clients will still make."""
        self.members = self.rng.choice(((1, 1), (1, 2), (3, 0), (2, 1)))
        """Of the first version, and of the second one; 0: there is none."""
        self.hands_over_at = self.rng.randint(0, 10)
        """The second version follows when so many calls are made."""
        self.participants: list[SimParticipant] = []
        first, second = self.members
        if first > 1 or not second:
            self._rule({})
        self._add("1", first)

    def _rule(self, begins: dict[int, int]) -> None:
        regime = Regime(begins=begins, methods=METHODS, starts=frozenset((ordered.urn,)))
        self.regimes.append(regime)

    def _add(self, version: str, members: int) -> None:
        shards = range(limits.SHARDS)
        for number in range(members):
            name = f"{version}/{number}"
            self.participants.append(SimParticipant(self, name, version, shards[number::members]))

    def regimes_of(self, participant: SimParticipant) -> list[Regime]:
        """What the participant knows when it starts."""
        return list(self.regimes)

    def _hand_over(self) -> None:
        """The second version follows the first, exactly where the first member of that stands."""
        olds = list(self.participants)
        stands = max(old.kernel.intake.mark(self.partition) for old in olds)
        begins = {self.partition: stands}
        self.tenures = {"1": Tenure(ends=begins), "2": Tenure(begins=begins)}
        self._rule(begins)
        for old in olds:
            old.kernel.tenure = self.tenures["1"]
            old.kernel.arbitration.regimes = list(self.regimes)
        self._add("2", self.members[1])

    # --- faults ----------------------------------------------------------------------

    def fault(self) -> None:
        """The process crashes here, now and then."""
        if self.rng.random() < self.crash_rate * self.trouble:
            raise Crash

    def _is_lost(self) -> bool:
        return self.rng.random() < 0.2 * self.trouble

    def _send(self, letter: Action) -> None:
        if not self._is_lost():
            self.mail.append(letter)

    # --- running ---------------------------------------------------------------------

    def run(self) -> None:
        """Everything has happened that can happen."""
        for _ in range(ACTIONS_MAX):
            if self.members[1] and len(self.tenures) == 1 and self.end >= self.hands_over_at:
                self._hand_over()
            if not self.left and self.rng.random() < 0.02:
                self.trouble = 0.0
            actions = self._actions()
            if actions:
                self.rng.choice(actions)()
            elif not self._goes_on():
                return
            self._make_trouble()
            self.now_us += self.rng.randint(0, 50_000)
        raise AssertionError(f"not over after {ACTIONS_MAX} actions")

    def _actions(self) -> list[Action]:
        found: list[Action] = [
            partial(self._in_process, one, run)
            for one in self.participants
            for run in one.actions()
        ]
        found += [partial(self._bring, letter) for letter in self.mail[:6]]
        found += [partial(self._decide, arbiter) for arbiter in self.arbiters if arbiter.verdicts()]
        found += [partial(self._look_after, one) for one in self.arbiters if one.missing()]
        if self.left:
            found.append(self._push)
        return found

    def _in_process(self, participant: SimParticipant, run: Action) -> None:
        try:
            run()
            self.fault()
        except Crash:
            participant.boot()

    def _bring(self, letter: Action) -> None:
        if self.rng.random() > 0.1 * self.trouble:
            self.mail.remove(letter)
        letter()

    def _make_trouble(self) -> None:
        if self.rng.random() < 0.01 * self.trouble:  # a new arbiter, the old one still there
            self.arbiters = [*self.arbiters[-1:], Arbiter()]
        if self.rng.random() < 0.01 * self.trouble:  # the arbiter's process has ended
            self.arbiters = [Arbiter()]
        gone = [one for one in self.participants if one.is_gone]
        if gone and (not self.trouble or self.rng.random() < 0.02):
            gone[0].boot()
        elif not gone and len(self.participants) > 1 and self.rng.random() < 0.005 * self.trouble:
            self.rng.choice(self.participants).is_gone = True
        for arbiter in self.arbiters:
            if self.rng.random() > 0.3 * self.trouble:  # now and then it hears of that late
                self._tell_who_is_there(arbiter)

    def _tell_who_is_there(self, arbiter: Arbiter) -> None:
        for one in self.participants:
            if one.is_gone:
                arbiter.participants.pop(one.name, None)
            elif one.name not in arbiter.participants:
                arbiter.participants[one.name] = Participant(version=one.version, methods=METHODS)

    def _goes_on(self) -> bool:
        self.trouble = 0.0
        if any(one.is_gone for one in self.participants):
            return True
        if any(one.kernel.intake.mark(self.partition) < self.end for one in self.participants):
            for one in self.participants:
                one.notice()
            return True
        due = [one.kernel.next_due_us for one in self.participants]
        nearest_us = min((one for one in due if one is not None), default=None)
        if nearest_us is not None:
            self.now_us = max(self.now_us, nearest_us)
        return nearest_us is not None

    # --- the arbiter -----------------------------------------------------------------

    def post_bid(self, participant: SimParticipant, bid: Bid) -> None:
        """The bid may reach an arbiter, or several times, or another one."""
        marks = dict(participant.kernel.watermarks)
        self._send(partial(self._take_bid, participant.name, participant.version, bid, marks))

    def _take_bid(self, name: str, version: str, bid: Bid, marks: dict[int, int]) -> None:
        after = (bid.pos, bid.offset - 1)
        for kept in self.store.decisions_of(trade.name, after=after, upto=bid.place):
            if kept.kind == "verdict":
                self._tell(verdict_in(kept), [name])
                return
        arbiter = self.rng.choice(self.arbiters)
        arbiter.bid(name, version, bid)
        arbiter.stands(name, marks)

    def _decide(self, arbiter: Arbiter) -> None:
        verdicts = arbiter.verdicts()
        names = [one.name for one in self.participants]
        if self.tells_early:
            for verdict in verdicts:
                self._tell(verdict, names)
        if self.rng.random() < 0.1 * self.trouble:  # its process ends before the write
            self.arbiters[self.arbiters.index(arbiter)] = Arbiter()
            return
        decisions = [
            Decision(
                workflow=trade.name,
                pos=verdict.pos,
                offset=verdict.offset,
                kind="verdict",
                body=msgspec.msgpack.encode(verdict),
            )
            for verdict in verdicts
        ]
        kept = [verdict_in(one) for one in self.store.decide(decisions)]
        arbiter.settled(kept)
        for verdict in kept:
            self._tell(verdict, names)

    def _look_after(self, arbiter: Arbiter) -> None:
        """Whose bids are missing is asked where it stands."""
        for name, places in arbiter.missing().items():
            [one] = [one for one in self.participants if one.name == name]
            if not one.is_gone:
                arbiter.stands(name, dict(one.kernel.watermarks))
                for partition, offset in places:
                    if offset >= one.kernel.intake.mark(partition) and not one.events:
                        one.notice()
            else:
                arbiter.participants.pop(name)

    def _tell(self, verdict: Verdict, names: Sequence[str]) -> None:
        for one in self.participants:
            if one.name in names:
                self._send(partial(self._hear, one, verdict))

    def _hear(self, participant: SimParticipant, verdict: Verdict) -> None:
        if not participant.is_gone:
            participant.events.append(Decided(verdict=verdict))

    # --- clients ---------------------------------------------------------------------

    def _push(self) -> None:
        rng = self.rng
        size = min(self.left, rng.randint(1, 3))
        self.left -= size
        calls: list[NewCall] = []
        for n in range(self.end, self.end + size):
            plan = "".join(rng.choices("otexs", k=rng.randint(0, 5)))
            input = {"group": rng.choice("abc"), "plan": plan, "n": n}
            method = ordered if rng.random() < 0.6 else offered
            calls.append(
                NewCall(
                    id=f"00000000-0000-7000-8000-{n + 1:012x}",
                    method=method.urn,
                    service="simulation",
                    input=json.dumps(input).encode(),
                )
            )
        segment = self.log.append(self.partition, [Batch(calls=calls)]).segment
        assert segment is not None
        self.end = segment.end
        for one in self.participants:
            for low, high in itertools.pairwise(sorted({segment.first, segment.end})):
                delivery = Delivery(self.partition, low, high, 1, self.calls(low, high))
                self._send(partial(self._arrive, one, delivery))

    def _arrive(self, participant: SimParticipant, delivery: Delivery) -> None:
        if not participant.is_gone:
            participant.deliver(delivery)

    def calls(self, start: int, end: int) -> list[DeliveredCall]:
        """The calls in the log with start <= offset < end."""
        return [
            DeliveredCall(segment.first + index, segment.pos, call)
            for segment in self.log.read(self.partition, start=start, end=end)
            for index, call in enumerate(segment.calls)
        ]


def simulate(seed: int, **options: Any) -> Trading:
    """The run of a seed is over."""
    world = Trading(seed)
    for name, value in options.items():
        setattr(world, name, value)
    world.run()
    return world
