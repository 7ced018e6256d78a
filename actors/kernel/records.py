"""The durable forms of instances and turns: what journal rows and checkpoint rows contain.

Everything here is plain data in MessagePack. A record is written whole: the latest one
of an instance is all that recovery needs, which keeps recovery one dictionary update
for each record and makes a checkpoint a copy of the latest committed records. Nothing
here refers back to what holds it, so the garbage collector need not look at any of it.
"""

from __future__ import annotations

import msgspec

from raysume.actors.kernel.bids import Bid
from raysume.actors.kernel.deliveries import DeliveredCall

RECORD_FORMAT = 1
"""Number of this layout; later releases read all older ones."""

Place = tuple[int, int]
"""(pos, offset): a call's place in the order of all calls."""

START_OF_LOG: Place = (-1, -1)
"""Before every call."""


class Begin(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="begin"):
    """The instance starts: by a call that met standing wait number `ordinal`, or explicitly."""

    call: DeliveredCall | None = None
    ordinal: int = 0
    """Which wait of the first wait's tree receives the call, in order of registration."""
    input: bytes | None = None
    """JSON arguments of an explicit start."""
    due_us: int | None = None
    """When it was due, of a start by schedule: a first sleep has ended then."""


class CallMet(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="call"):
    """A call met one of the instance's waits."""

    wait: str
    call: DeliveredCall
    exclusive: bool = False
    """Whether the wait is exclusive: should it have ended meanwhile, the call is for another."""


class TimerDue(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="timer"):
    """The timer of a sleep, a timeout or a step's next attempt is due."""

    timer: str


class StepDone(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="step"):
    """An attempt of a step ended."""

    step: str
    attempt: int
    succeeded: bool
    payload: bytes
    """The pickled result, or the pickled exception."""
    retriable: bool = True
    """False when the retry policy gives up on this kind of error."""


class Cancel(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="cancel"):
    """The instance is to be cancelled."""

    reason: str = ""


class ChildDone(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="child"):
    """A child workflow ended: completed, cancelled or failed."""

    leaf: str
    id: str
    """Of the child's instance."""
    status: str
    result: bytes | None = None
    """JSON of the returned value."""
    error: str | None = None


Stimulus = Begin | CallMet | TimerDue | StepDone | Cancel | ChildDone
"""What can make an instance take a turn."""


class WaitRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An open wait: enough to find and test it without code or state."""

    id: str
    method: str
    shape: tuple[str, ...]
    keys: tuple[bytes, ...]
    predicate: bytes | None
    """The pickled rest of the match; None when the key alone decides."""
    name: str | None
    looks_back: bool
    """True while calls that came before it have not been looked at yet."""
    since_us: int | None
    """Calls accepted before this moment do not count; None: the mailbox's own rule."""
    before_start: bool = False
    """Whether calls from before the instance's start may meet it, and calls older than the last
    one received: `.since(moment)` was said."""
    exclusive: bool = False
    """Of all instances whose exclusive wait matches, the one waiting longest gets the call."""
    order: int = 0
    """Order of registration: whoever waits longest comes first. Microseconds since the epoch, with
    more added where it takes that to differ, so that the waits of several kernels have one order."""


class TimerRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A timer of an instance."""

    id: str
    due_us: int


class StepRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A step that was asked and whose result is not recorded."""

    id: str
    name: str
    attempt: int
    """1 for the first."""
    due_us: int | None
    """When the next attempt may start; None: at once."""


class ChildRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A child workflow whose end is not known yet."""

    leaf: str
    workflow: str
    version: str
    id: str
    """Of the child's instance."""
    input: bytes
    """JSON of the arguments, by name."""
    cancelled: bool = False
    """It is not awaited any more, and is to be cancelled."""


class ReceivedRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an instance received by waits of one method and shape (see `mailboxes`)."""

    method: str
    shape: tuple[str, ...]
    keys: dict[bytes, Place]
    """The place of the last call received for each key."""
    dropped: Place
    """The newest place whose key is not among `keys` any more."""
    calls: list[Place]
    """The newest calls received, in the order of their places."""
    passed: Place
    """The newest place that is not among `calls` any more."""


class ExclusiveRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an instance received by exclusive waits."""

    places: list[Place]
    """The calls received last."""
    passed: Place
    """The newest place that is not among them any more."""


class ErrorRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Why an instance failed, as text: readable without the user's code."""

    type: str
    message: str
    traceback: str


class InstanceRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Everything about an instance as of one turn."""

    id: str
    number: int
    status: str
    turn: int
    started_us: int
    updated_us: int
    state: bytes | None
    """The pickled tree of frames; None before the first suspension and after the end."""
    waits: list[WaitRecord]
    timers: list[TimerRecord]
    steps: list[StepRecord]
    inbox: list[Stimulus]
    """Taken in by the watermark but not applied yet, oldest first."""
    horizon: Place
    """Calls at or before this place never meet it."""
    received: list[ReceivedRecord]
    result: bytes | None
    """JSON of the returned value."""
    error: ErrorRecord | None
    tags: dict[str, str]
    origin: str | None
    """Id of the call that started it."""
    exclusive: ExclusiveRecord | None = None
    """None before the first call by an exclusive wait."""
    children: list[ChildRecord] = []
    failures: int = 0
    """How often it failed since it last went on."""
    undoing: str | None = None
    """What it is once its steps are undone: "failed" or "cancelled"; "undone" when they are."""
    compensations: bytes | None = None
    """The pickled compensations of completed steps that have not run; None: there are none."""
    kept: bytes | None = None
    """The last saved point while `state` is that of undoing after a failure."""
    journal_seq: int = 0
    """Of a checkpointed record: the position of the journal row that it stands in too."""
    trace: str | None = None
    """The W3C trace context in which it waits: that of its last turn."""


class LeafOpened(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A wait, group, sleep, step or subflow that a turn came to."""

    id: str
    kind: str
    name: str | None
    method: str | None


class LeafEnded(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How a leaf ended: completed, cancelled, timed-out or failed."""

    id: str
    status: str


class Outgoing(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A call published by a turn, numbered within its shard."""

    sequence: int
    call: bytes
    """Encoded OutgoingCall."""


class Cause(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a turn was taken for."""

    kind: str
    """started, call, timeout, timer, step, step failed, workflow, cancel, retry, rewind or fork."""
    name: str | None = None
    """Of the method, wait, step or workflow; or the reason that was given."""
    id: str | None = None
    """Of the call, the wait, the timer, the step or the other instance."""
    trace: str | None = None
    """The W3C trace context in which that came."""


class TurnRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One turn: the instance after it, and what happened in it."""

    instance: InstanceRecord
    opened: list[LeafOpened]
    ended: list[LeafEnded]
    outgoing: list[Outgoing]
    cause: Cause | None = None
    """None: no turn was taken, only something noted (an inbox entry, a turn that began)."""


class PastTurn(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A turn that outlives its journal row."""

    turn: TurnRecord
    before: int
    """The journal position of the instance's turn before; 0: there was none."""
    newest: Place
    """The place of the newest call applied by then."""


class ShardHeader(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A shard's own counters as of a journal row or a checkpoint."""

    format: int
    watermarks: dict[int, int]
    """partition -> offset below which every call was applied."""
    next_number: int
    """Number of the next instance."""
    next_sequence: int
    """Sequence number of the next outgoing call."""
    sent: int
    """Outgoing calls below this sequence number are known to be accepted."""
    newest: Place
    """The place of the newest call applied."""
    next_start_us: int | None = None
    """Of shard 0: when the workflow next starts by its schedule (see `schedules`)."""
    bid: Bid | None = None
    """What was bid for the call before which the kernel stands still; None: it does not."""


class JournalBody(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a journal row holds."""

    header: ShardHeader
    turns: list[TurnRecord]
    before: list[int] = []
    """For each turn, the last journal position with a turn of the same instance; 0: there is none."""


class IndexMark(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Which index runs belong to a checkpoint."""

    last: int
    """No run had a higher number."""
    digest: bytes
    """Keyed multiset digest over their (page, nth); empty: some are not written yet."""


class CheckpointHeader(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a checkpoint's header holds."""

    header: ShardHeader
    unsent: list[Outgoing]
    digest: bytes
    """Keyed multiset digest over (number, turn) of all instance rows of the shard."""
    rows: int
    """How many instance rows there are."""
    index: IndexMark | None = None
    """None: a release wrote it that had no index runs."""
