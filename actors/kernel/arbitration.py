"""A kernel among others of its workflow: it stops before calls that others may want, too.

Before such a call it stands still, with its bid out, until the verdict is known: what the bid
says stays true. The bid goes out when everything before it is durable, and the commit says
that it is out, so that a successor stands exactly there again (ADR 11).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from raysume import limits
from raysume.actors.kernel import routing
from raysume.actors.kernel.bids import Bid, Regime, Verdict
from raysume.actors.kernel.commits import Decided, Delivered, Event, RangeOrder

if TYPE_CHECKING:
    from raysume.actors.kernel.deliveries import DeliveredCall, Delivery
    from raysume.actors.kernel.kernel import Kernel
    from raysume.actors.kernel.records import Place, ShardHeader


class Arbitration:
    """What a kernel knows of the calls that it does not decide about alone."""

    def __init__(self, participant: str = "", regimes: Sequence[Regime] = ()) -> None:
        self.participant = participant
        """The name of the kernel among those of its workflow."""
        self.regimes = list(regimes)
        """Newest last; none: the kernel is alone."""
        self.stopped: Bid | None = None
        """What was bid for the call before which the kernel stands still."""
        self.is_stale = False
        """Whether shards have come for which that bid does not speak."""
        self.is_cut = False
        """Whether the last commit was full before everything was applied whose turn had come."""
        self.won: set[Place] = set()
        """Calls claimed by exclusive waits here, and not received yet."""
        self._verdicts: dict[Place, Verdict] = {}
        self._waiting: list[Event] = []
        self._recovered: list[Bid] = []
        """What headers say was bid here."""
        self._inherited: list[Bid] = []
        """What headers say was bid where their shards were before."""

    def covers(self, method: str, partition: int, offset: int) -> bool:
        """Whether the call needs a verdict."""
        regime = self._regime(partition, offset)
        return regime is not None and method in regime.methods

    def starts(self, method: str, partition: int, offset: int) -> bool:
        """Whether the version that is active there may start an instance with the call."""
        regime = self._regime(partition, offset)
        return regime is not None and method in regime.starts

    def _regime(self, partition: int, offset: int) -> Regime | None:
        for regime in reversed(self.regimes):
            if regime.covers(partition, offset):
                return regime
        return None

    def claims(self, method: str) -> bool:
        """Whether an exclusive wait for the method must claim what it finds when it looks back."""
        return any(method in regime.methods for regime in self.regimes)

    def holds_back(self, event: Event) -> bool:
        """Whether the event is kept until the kernel goes on, behind the calls that came before it."""
        if self._goes_on or isinstance(event, Delivered | Decided):
            return False
        self._waiting.append(event)
        return True

    @property
    def _goes_on(self) -> bool:
        """Whether every call whose turn had come is applied."""
        return self.stopped is None and not self.is_cut

    def take_waiting(self) -> list[Event]:
        """The events that were kept, once the kernel has gone on."""
        if not self._goes_on:
            return []
        waiting, self._waiting = self._waiting, []
        return waiting

    def keep_waiting(self, is_kept: Callable[[Event], bool]) -> None:
        """Of the events that were kept, the others mean nothing here any more."""
        self._waiting = [event for event in self._waiting if is_kept(event)]

    def recover(self, header: ShardHeader) -> None:
        """The header was written with this bid out, if any."""
        if header.bid is not None:
            is_own = header.bid.participant == self.participant
            (self._recovered if is_own else self._inherited).append(header.bid)

    def resume(self, kernel: Kernel) -> None:
        """The kernel stands where it bid, if it has not gone on durably; its bid goes out again."""
        for bid in sorted(self._recovered, key=lambda one: len(one.shards)):
            if bid.offset >= kernel.intake.mark(bid.partition):
                self.stopped = bid
        if self.stopped is not None:
            kernel.commit.bids.append(self.stopped)
        self.got(kernel)

    def got(self, kernel: Kernel) -> None:
        """The kernel owns shards that it did not: if it stands still, it bids again, for them too.

        It goes on standing still until then: what it bid for the others stays true. So does what
        was bid for the shards where they were before: it stands still before that call, too, and
        no timer of theirs comes before it.
        """
        for bid in self._inherited:
            if self.stopped is None and bid.offset >= kernel.intake.mark(bid.partition):
                self.stopped = bid
        stopped, self._recovered, self._inherited = self.stopped, [], []
        self.is_stale = stopped is not None and (
            stopped.participant != self.participant
            or not kernel.shards.keys() <= set(stopped.shards)
        )

    def decided(self, verdict: Verdict) -> None:
        """The verdict is kept durably; one for a place that was passed means nothing."""
        if self.stopped is not None and self.stopped.place == verdict.place:
            self._verdicts[verdict.place] = verdict

    def verdict_of(self, place: Place) -> Verdict | None:
        """The verdict on the call that comes next, if it is known: the kernel goes on."""
        verdict = self._verdicts.pop(place, None)
        if verdict is not None:
            self.stopped, self.is_stale = None, False
        return verdict

    def gone_on(self) -> None:
        """Everything in front of which the kernel could have stood still is applied."""
        self.stopped, self.is_stale = None, False
        self._verdicts.clear()

    @property
    def is_open(self) -> bool:
        """Whether the kernel has bid, and waits for a verdict."""
        stopped = self.stopped
        return stopped is not None and not self.is_stale and stopped.place not in self._verdicts

    def remember(self, kernel: Kernel, verdict: Verdict) -> None:
        """Look-backs do not take what was given to somebody else."""
        if verdict.starter is not None:
            kernel.recent.started_an_instance(verdict.place)
        if verdict.winner is not None and not kernel.knows(verdict.winner):
            kernel.exclusives.take(verdict.place)


def take_in(kernel: Kernel) -> None:
    """Everything delivered is applied whose turn has come, up to a call without verdict.

    What has waited behind a gap may be everything that a pool lags behind: one commit takes a part.
    """
    arbitration, intake = kernel.arbitration, kernel.intake
    arbitration.is_cut = False
    while not arbitration.is_open:
        if kernel.commit.applied_calls >= limits.COMMIT_EVENTS_MAX:
            arbitration.is_cut = True
            return
        stopped = arbitration.stopped
        if stopped is None:
            following = intake.following()
        else:
            following = intake.only(stopped.partition, stopped.offset)
        if following is None:
            return
        if isinstance(following, RangeOrder):
            kernel.commit.ranges.append(following)
        elif _apply(kernel, following):
            intake.applied(following)
            arbitration.gone_on()


def _apply(kernel: Kernel, delivery: Delivery) -> bool:
    """Whether all calls of the delivery are applied; else the kernel stands before one of them."""
    arbitration, partition = kernel.arbitration, delivery.partition
    mark = kernel.intake.mark(partition)
    for call in delivery.calls:
        if call.offset < mark or not call.call.is_seen_by(kernel.service):
            continue
        verdict = None
        if arbitration.stopped is not None or (
            arbitration.regimes and arbitration.covers(call.call.method, partition, call.offset)
        ):
            verdict = arbitration.verdict_of((call.pos, call.offset))
            if verdict is None:
                _stop(kernel, delivery, call)
                return False
        covered = kernel.tenure.covers(partition, call.offset)
        routing.apply_call(kernel, call, may_start=covered, verdict=verdict)
        kernel.settle()
    return True


def _stop(kernel: Kernel, delivery: Delivery, call: DeliveredCall) -> None:
    """The kernel stands before the call; the commit says so, and its bid goes out with it."""
    kernel.intake.stop_before(delivery, call.offset)
    partition, arbitration = delivery.partition, kernel.arbitration
    covered = kernel.tenure.covers(partition, call.offset)
    bid = routing.bid_for(
        kernel,
        call,
        partition=partition,
        may_start=covered,
        knows_starts=covered or not arbitration.starts(call.call.method, partition, call.offset),
    )
    arbitration.stopped, arbitration.is_stale = bid, False
    kernel.commit.bids.append(bid)
    kernel.commit.turns.setdefault(min(kernel.shards), [])
