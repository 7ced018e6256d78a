"""The life of an instance as one pure function, used live and in recovery alike."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from raysume.errors import InvariantViolated

if TYPE_CHECKING:
    from raysume.actors.kernel.records import InstanceRecord


class Status(StrEnum):
    """Where an instance stands."""

    RUNNING = "running"
    """A turn or a step is under way."""
    WAITING = "waiting"
    """Suspended at waits or timers."""
    COMPLETED = "completed"
    FAILED = "failed"
    """An error left the workflow; the last saved point is kept."""
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What happens to an instance's status."""

    TURN_BEGAN = "turn-began"
    SUSPENDED_AT_WAIT = "suspended-at-wait"
    SUSPENDED_AT_STEP = "suspended-at-step"
    RETURNED = "returned"
    RAISED = "raised"
    RETRIED = "retried"
    """Failed, and put back to work at its last saved point."""
    REWOUND = "rewound"
    """Put back to an earlier saved point, whatever it had become."""
    UNWOUND = "unwound"
    """Cancelled, and every `finally` has run."""


FINISHED = frozenset({Status.COMPLETED, Status.CANCELLED})
"""Statuses that change no more by themselves: only a rewind leads out of them."""

ENDED = frozenset(status.value for status in FINISHED)
"""Statuses, as they are saved, of instances that never take a turn again."""

_AFTER = {
    Event.TURN_BEGAN: Status.RUNNING,
    Event.SUSPENDED_AT_WAIT: Status.WAITING,
    Event.SUSPENDED_AT_STEP: Status.RUNNING,
    Event.RETURNED: Status.COMPLETED,
    Event.RAISED: Status.FAILED,
    Event.RETRIED: Status.RUNNING,
    Event.REWOUND: Status.RUNNING,
    Event.UNWOUND: Status.CANCELLED,
}


def next_status(status: Status, event: Event) -> Status:
    """The status after `event`.

    Raises:
        InvariantViolated: the instance is finished already, or is retried and has not failed.
    """
    if event is Event.RETRIED and status is not Status.FAILED:
        raise InvariantViolated(f"an instance that is {status} was retried")
    if status in FINISHED and event is not Event.REWOUND:
        raise InvariantViolated(f"an instance that is {status} got the event {event}")
    return _AFTER[event]


def may_leave(record: InstanceRecord) -> bool:
    """Whether nothing happens with the instance any more.

    One whose cancelled children are not known to have ended still waits to hear of them.
    """
    return record.status in ENDED and not record.children
