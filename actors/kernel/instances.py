"""An instance in memory, and its translation to and from its record."""

from __future__ import annotations

from typing import Any

from raysume.actors.kernel.branches import Branch
from raysume.actors.kernel.mailboxes import Mailbox
from raysume.actors.kernel.records import (
    Cause,
    ChildRecord,
    ErrorRecord,
    ExclusiveRecord,
    InstanceRecord,
    Place,
    StepRecord,
    Stimulus,
    TimerRecord,
    WaitRecord,
)
from raysume.actors.kernel.status import FINISHED, Status
from raysume.actors.kernel.waiters import Entry
from raysume.compiler import Provided

_NONE: list[Any] = []
_NO_TAGS: dict[str, str] = {}
"""What most records lack. Nobody changes a record, so all of them may share these."""

_STATUSES = {status.value: status for status in Status}


class Instance:
    """One running, waiting or finished instance of the pool's workflow."""

    __slots__ = (
        "busy",
        "cause",
        "children",
        "compensations",
        "complaints",
        "entries",
        "error",
        "exclusive",
        "failures",
        "id",
        "inbox",
        "kept",
        "last_words",
        "live",
        "mailbox",
        "number",
        "origin",
        "provided",
        "result",
        "shard",
        "started_us",
        "state",
        "status",
        "steps",
        "tags",
        "timers",
        "trace",
        "turn",
        "turn_trace",
        "undoing",
        "updated_us",
        "waits",
    )

    def __init__(self, *, id: str, shard: int, number: int, started_us: int, place: Place) -> None:
        self.id = id
        self.shard = shard
        self.number = number
        self.status = Status.RUNNING
        self.turn = 0
        """Turns never go back: ids of waits, timers and steps are (turn, n)."""
        self.started_us = started_us
        self.updated_us = started_us
        self.state: bytes | None = None
        self.live: Branch | None = None
        """The tree as objects; None when it must be loaded from `state` first."""
        self.waits: dict[str, WaitRecord] = {}
        self.entries: dict[str, Entry] = {}
        """The waits that are in the index now."""
        self.timers: dict[str, int] = {}
        self.steps: dict[str, StepRecord] = {}
        self.children: dict[str, ChildRecord] = {}
        """By leaf: child workflows whose end is not known yet."""
        self.inbox: list[Stimulus] = []
        self.busy = False
        """Whether a turn is under way on the event loop."""
        self.cause: Cause | None = None
        """What the turn that is recorded next was taken for."""
        self.mailbox = Mailbox(place)
        self.exclusive: ExclusiveRecord | None = None
        self.provided: Provided = {}
        """What `Depends` made while the instance was loaded."""
        self.last_words: list[bytes] = []
        """Calls that `on_error` pushed in the turn that failed."""
        self.complaints: list[str] = []
        """What hooks raised."""
        self.result: bytes | None = None
        self.error: ErrorRecord | None = None
        self.tags: dict[str, str] = {}
        self.origin: str | None = None
        self.failures = 0
        self.undoing: str | None = None
        self.compensations: bytes | None = None
        self.kept: bytes | None = None
        self.trace: str | None = None
        """The W3C trace context that its last turn left, or that of what it takes a turn for."""
        self.turn_trace: str | None = None
        """That of the traced turn that it takes (see `traces`)."""

    @property
    def is_active(self) -> bool:
        """Whether calls and timers still reach it."""
        return self.status not in FINISHED and self.status is not Status.FAILED

    @property
    def looks_back(self) -> bool:
        """Whether one of its waits has not finished looking back."""
        return any(entry.wait.looks_back for entry in self.entries.values())

    def record(self) -> InstanceRecord:
        """The instance as it is saved."""
        timers = _NONE
        if self.timers:
            timers = [TimerRecord(id, due_us) for id, due_us in self.timers.items()]
        return InstanceRecord(  # by position, in the order of its fields: it is made for every turn
            self.id,
            self.number,
            self.status._value_,  # `value` is a function: this is made for every turn
            self.turn,
            self.started_us,
            self.updated_us,
            self.state,
            [*self.waits.values()],
            timers,
            [*self.steps.values()] if self.steps else _NONE,
            [*self.inbox] if self.inbox else _NONE,
            self.mailbox.horizon,
            self.mailbox.records(),
            self.result,
            self.error,
            self.tags.copy() if self.tags else _NO_TAGS,
            self.origin,
            self.exclusive,
            [*self.children.values()] if self.children else _NONE,
            self.failures,
            self.undoing,
            self.compensations,
            self.kept,
            0,
            self.trace,
        )

    @classmethod
    def of(cls, record: InstanceRecord, *, shard: int) -> Instance:
        """The instance that was saved as `record`; its waits are not in the index yet."""
        self = cls.__new__(cls)  # what `__init__` would set is set once: packed ones come often
        self.id, self.number, self.shard = record.id, record.number, shard
        self.status = _STATUSES[record.status]
        self.turn, self.state = record.turn, record.state
        self.started_us, self.updated_us = record.started_us, record.updated_us
        self.waits = {wait.id: wait for wait in record.waits}
        self.timers = {timer.id: timer.due_us for timer in record.timers} if record.timers else {}
        self.steps = {step.id: step for step in record.steps} if record.steps else {}
        self.children = {one.leaf: one for one in record.children} if record.children else {}
        self.inbox = [*record.inbox]
        self.mailbox = Mailbox(record.horizon, record.received)
        self.result, self.error, self.exclusive = record.result, record.error, record.exclusive
        self.tags, self.origin = {**record.tags}, record.origin
        self.failures, self.undoing = record.failures, record.undoing
        self.compensations, self.kept = record.compensations, record.kept
        self.live, self.entries, self.busy, self.provided = None, {}, False, {}
        self.cause, self.turn_trace, self.last_words, self.complaints = None, None, [], []
        self.trace = record.trace
        return self
