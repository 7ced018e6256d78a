"""Several kernels of one workflow in the simulation: versions, members, arbiters that forget."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from tests.simulation.participants import METHODS, Action, Crash, SimParticipant
from tests.simulation.trading import offered, ordered, trade

from raysume import limits
from raysume.actors.bidding import kept_verdicts, verdict_on
from raysume.actors.kernel.arbiter import Arbiter, Participant
from raysume.actors.kernel.bids import Bid, Regime, Verdict
from raysume.actors.kernel.commits import Decided
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery
from raysume.actors.kernel.tenure import Tenure
from raysume.storage.call_ports import Batch, NewCall
from raysume.storage.memory.calls import MemoryCallLog
from raysume.storage.memory.state import MemoryStore

ACTIONS_MAX = 20_000
START_US = 1_700_000_000_000_000


class Trading:
    """One run: participants, arbiters, a log, a clock. Equal seeds make equal runs."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"trading {seed}")
        self.crash_rate = self.rng.choice((0.0, 0.01, 0.04))
        self.absence_rate = self.rng.choice((0.0, 0.005, 0.03))
        self.log_speed = self.rng.choice((0.3, 0.02))
        self.disk_speed = self.rng.choice((1.0, 0.3, 0.05))
        self.letters = self.rng.choice(("otfrexs", "oter", "rf", "fst", "ex"))
        self.trouble = 1.0
        self.pace_us = self.rng.choice((50_000, 300_000, 1_000_000))
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

    def regimes_of(self, _participant: SimParticipant) -> list[Regime]:
        """What the participant knows when it starts."""
        return list(self.regimes)

    def hand_over(self) -> None:
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

    def has_time(self, speed: float) -> bool:
        """Whether something that takes its time may happen now; 1.0: at once."""
        return not self.trouble or self.rng.random() < speed

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
                self.hand_over()
            if not self.left and self.rng.random() < 0.02:
                self.trouble = 0.0
            actions = self._actions()
            if actions:
                self.rng.choice(actions)()
            elif not self._goes_on():
                return
            self._make_trouble()
            self.now_us += self.rng.randint(0, self.pace_us)
        raise AssertionError(f"not over after {ACTIONS_MAX} actions")

    def _actions(self) -> list[Action]:
        found: list[Action] = [
            partial(self._in_process, one, run)
            for one in self.participants
            for run in one.actions()
        ]
        found += [partial(self.bring, letter) for letter in self.mail[:6]]
        found += [partial(self._decide, arbiter) for arbiter in self.arbiters if arbiter.verdicts()]
        found += [partial(self.look_after, one) for one in self.arbiters if one.missing()]
        if self.left:
            found.append(self._push)
        return found

    def _in_process(self, participant: SimParticipant, run: Action) -> None:
        try:
            run()
            self.fault()
        except Crash:
            participant.boot()

    def bring(self, letter: Action) -> None:
        """The letter arrives, now and then again later."""
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
        elif (
            not gone
            and len(self.participants) > 1
            and self.rng.random() < self.absence_rate * self.trouble
        ):
            self.rng.choice(self.participants).is_gone = True
        for arbiter in self.arbiters:
            if self.rng.random() > 0.3 * self.trouble:  # now and then it hears of that late
                self.tell_who_is_there(arbiter)

    def tell_who_is_there(self, arbiter: Arbiter) -> None:
        """The arbiter knows who is gone and who is back."""
        for one in self.participants:
            if one.is_gone:
                arbiter.participants.pop(one.name, None)
            elif one.name not in arbiter.participants:
                arbiter.participants[one.name] = Participant(version=one.version, methods=METHODS)

    def _goes_on(self) -> bool:
        was_trouble, self.trouble = self.trouble, 0.0
        if was_trouble or any(one.is_gone for one in self.participants):
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
        known = verdict_on(self.store, trade.name, bid.place)
        if known is not None:
            self._tell(known, [name])
            return
        arbiter = self.rng.choice(self.arbiters)
        arbiter.bid(name, version, bid)
        arbiter.stands(name, marks)

    def _decide(self, arbiter: Arbiter) -> None:
        self.decide(arbiter, ends_before_writing=self.rng.random() < 0.1 * self.trouble)

    def decide(self, arbiter: Arbiter, *, ends_before_writing: bool = False) -> None:
        """The verdicts that can be made are kept and told, unless the arbiter's process ends."""
        verdicts = arbiter.verdicts()
        names = [one.name for one in self.participants]
        if self.tells_early:
            for verdict in verdicts:
                self._tell(verdict, names)
        if ends_before_writing:
            self.arbiters[self.arbiters.index(arbiter)] = Arbiter()
            return
        kept = kept_verdicts(self.store, trade.name, verdicts)
        arbiter.settled(kept)
        for verdict in kept:
            self._tell(verdict, names)

    def look_after(self, arbiter: Arbiter) -> None:
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
        for _ in range(size):
            plan = "".join(rng.choices(self.letters, k=rng.randint(0, 6)))
            method = ordered if rng.random() < 0.6 else offered
            self.accept(method, group=rng.choice("ab"), plan=plan)

    def accept(self, method: Any, **input: str) -> None:
        """A call is in the log, and on its way to every participant."""
        call = NewCall(
            id=f"00000000-0000-7000-8000-{self.end + 1:012x}",
            method=method.urn,
            service="simulation",
            input=json.dumps({**input, "n": self.end}).encode(),
        )
        segment = self.log.append(self.partition, [Batch(calls=[call])]).segment
        assert segment is not None
        self.end = segment.end
        for one in self.participants:
            calls = self.calls(segment.first, segment.end)
            delivery = Delivery(self.partition, segment.first, segment.end, 1, calls)
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
