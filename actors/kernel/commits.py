"""What goes into the kernel and what comes out: events, and commits with their effects.

A commit is what to make durable. Its effects (steps, tasks, outgoing calls, answers) are
released only after the transaction that holds its turns has committed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from raysume.actors.kernel.bids import Bid, Claim, Verdict
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery, StartAnswer, StartRequest
from raysume.actors.kernel.records import (
    ChildDone,
    ChildRecord,
    InstanceRecord,
    Outgoing,
    Place,
    ShardHeader,
    StepDone,
    TurnRecord,
)
from raysume.actors.kernel.turns import InstanceTurn

# --- events ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A range of a partition has come, from an ingress or read from the log."""

    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class TimersDue:
    """Timers due at or before `upto_us` may ring: every call accepted before them was delivered."""

    upto_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """An attempt of a step ended."""

    instance: str
    done: StepDone


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnded:
    """A child workflow of an instance ended, or one that was cancelled is known to be over."""

    instance: str
    done: ChildDone


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An explicit start was asked; its answer is in the commit, under `token`."""

    request: StartRequest
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded:
    """A turn that ran on the event loop is over."""

    task: TurnTask
    error: BaseException | None = None
    """What came out of the turn itself (not of the workflow): an undone callback, or a bug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedBack:
    """The log was read for a wait: the calls of its method in the range asked, oldest first."""

    instance: str
    wait: str
    calls: list[DeliveredCall]
    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    """Those on calls of that range, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The verdict on a call is kept durably."""

    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """It is known, durably, whose call it is that an exclusive wait has claimed."""

    claim: Claim
    winner: str
    """The instance that claimed it first, or that had it by a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsSent:
    """Outgoing calls of a shard below `upto` were accepted by the log."""

    shard: int
    upto: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked:
    """An instance is to be cancelled; a finished one stays as it is."""

    instance: str
    reason: str = ""
    token: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAsked:
    """A failed instance is to go on from its last saved point."""

    instance: str
    reason: str = ""
    token: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RewindAsked:
    """An instance is to stand again where an earlier record of it says."""

    instance: str
    record: InstanceRecord
    """Where to."""
    current: InstanceRecord | None = None
    """The instance as it is, when it has ended and left memory."""
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Variables to change there, by name."""
    reason: str = ""
    token: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkAsked:
    """A new instance is to stand where a record of another one says."""

    instance: str
    """The other one."""
    record: InstanceRecord
    id: str
    """Of the new one."""
    at_us: int
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reason: str = ""
    token: int = 0


Command = CancelAsked | RetryAsked | RewindAsked | ForkAsked
"""What somebody asks for one instance; answered in the commit, under `token`."""

Event = (
    Delivered
    | TimersDue
    | StepEnded
    | ChildEnded
    | Started
    | TurnEnded
    | LookedBack
    | Decided
    | Claimed
    | CallsSent
    | Command
)

# --- effects ---------------------------------------------------------------------


@dataclass(slots=True, kw_only=True, eq=False)
class TurnTask:
    """A turn that awaits ordinary things: to be run as a task, then reported with `TurnEnded`."""

    instance: str
    turn: InstanceTurn
    steps: Generator[Any, Any, None]
    """The turn itself; it yields what the event loop must wait for."""
    pending: Any = None
    """What it already yielded before it was known to need a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOrder:
    """An attempt of a step is to be run (see `Kernel.step_of`)."""

    instance: str
    step: str
    attempt: int
    trace: str | None = None
    """The W3C trace context in which it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildOrder:
    """A child is to exist, or to be cancelled; its end is to be reported with `ChildEnded`."""

    instance: str
    child: ChildRecord
    trace: str | None = None
    """The W3C trace context in which it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeOrder:
    """Calls of a partition with start <= offset < end are to be read from the log and delivered."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LookBackOrder:
    """The log is to be searched for calls of a method behind `after`, up to what was applied."""

    instance: str
    wait: str
    method: str
    after: Place
    since_us: int
    upto: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """Something to log about an instance."""

    instance: str
    level: str
    event: str
    facts: dict[str, Any]


Unmatched = Literal["no_wait", "match_raised", "not_open", "inactive", "elsewhere"]
"""Why nobody here took a call as it was applied.

no_wait: no wait has its key, or no predicate held. match_raised: the same, and a predicate raised.
not_open: waits fit that could not take it: they look back first, or it was theirs before, or it is
another's by a verdict. inactive: it would have started an instance of a workflow that takes none.
elsewhere: another member or version starts one with it, or it did so before.
"""


@dataclass(slots=True, kw_only=True)
class Commit:
    """The result of applying a batch of events."""

    turns: dict[int, list[TurnRecord]] = field(default_factory=dict)
    """By shard number; to be written as one journal row for each shard."""
    headers: dict[int, ShardHeader] = field(default_factory=dict)
    """The header of every shard in `turns`, as of this commit."""
    applied_calls: int = 0
    unmatched: dict[str, int] = field(default_factory=dict[str, int])
    """Reason -> applied calls that nobody here took (see `passed`)."""
    steps: list[StepOrder] = field(default_factory=list)
    steps_cancelled: list[tuple[str, str]] = field(default_factory=list)
    children: list[ChildOrder] = field(default_factory=list)
    tasks: list[TurnTask] = field(default_factory=list)
    outgoing: list[tuple[int, Outgoing]] = field(default_factory=list)
    """(shard number, call) in the order published."""
    ranges: list[RangeOrder] = field(default_factory=list)
    look_backs: list[LookBackOrder] = field(default_factory=list)
    bids: list[Bid] = field(default_factory=list)
    """For the arbiter; each is answered with `Decided`."""
    claims: list[Claim] = field(default_factory=list)
    """Each is answered with `Claimed`."""
    answers: list[tuple[int, StartAnswer | Exception]] = field(default_factory=list)
    replies: list[tuple[int, Exception | None]] = field(default_factory=list)
    """To commands, by token; None says that it was taken."""
    finished: list[str] = field(default_factory=list)
    """Instances that completed, failed or were cancelled."""
    results: list[tuple[str, Any]] = field(default_factory=list)
    """(instance, returned value) of the instances that completed, for whoever runs in this process."""
    logs: list[LogLine] = field(default_factory=list)

    def passed(self, reason: Unmatched) -> None:
        """Nobody here took a call."""
        self.unmatched[reason] = self.unmatched.get(reason, 0) + 1

    @classmethod
    def of(cls, several: Iterable[Commit]) -> Commit:
        """What several hold that are made durable together, the oldest first."""
        together = cls()
        for one in several:
            together.absorb(one)
        return together

    @property
    def turns_in_all(self) -> int:
        """How many turns there are, of all shards; `turns` names shards without any, too, whose
        header is to be durable."""
        return sum(map(len, self.turns.values()))

    def absorb(self, later: Commit) -> None:
        """This commit holds what `later` holds too: both are made durable together."""
        for number, turns in later.turns.items():
            self.turns.setdefault(number, []).extend(turns)
        self.headers.update(later.headers)
        self.applied_calls += later.applied_calls
        for reason, calls in later.unmatched.items():
            self.unmatched[reason] = self.unmatched.get(reason, 0) + calls
        self.steps += later.steps
        self.steps_cancelled += later.steps_cancelled
        self.children += later.children
        self.tasks += later.tasks
        self.outgoing += later.outgoing
        self.bids += later.bids
        self.claims += later.claims
        self.answers += later.answers
        self.replies += later.replies
        self.finished += later.finished
        self.results += later.results
        self.logs += later.logs
