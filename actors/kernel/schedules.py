"""Starts that nobody asks for: by a timetable, or by a first sleep that begins anew each time.

When the next one is due stands in the header of shard 0, in the transaction that holds
the start before it: none is doubled, and of those missed while nothing ran, one is made up
for.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from raysume import ids
from raysume.actors.kernel import program
from raysume.actors.kernel.branches import Branch, SleepLeaf
from raysume.actors.kernel.moments import duration_us, microseconds, moment
from raysume.actors.kernel.records import Begin
from raysume.actors.kernel.turns import InstanceTurn

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from raysume.actors.kernel.kernel import Kernel
    from raysume.waits import Sleep

KEEPER = 0
"""The shard whose header keeps the schedule."""

OVER = -1
"""In place of a moment: there is no further start."""


def pass_first_sleep(turn: InstanceTurn, branch: Branch) -> Generator[Any, Any, None]:
    """The instance has gone on behind its first sleep, whose end has started it."""
    if not isinstance(branch.leaf, SleepLeaf):
        return  # it failed, or came elsewhere this time
    turn.first_sleep = branch.leaf.value
    yield from program.ring(turn, branch, branch.leaf.id)


class Schedule:
    """When the kernel's workflow starts by itself."""

    __slots__ = ("_kernel", "next_us")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.next_us: int | None = None
        """When the next start is due; None before it was first reckoned; or `OVER`."""

    @property
    def due_us(self) -> int | None:
        """When the next start is due; None when there is none."""
        return None if self.next_us in (None, OVER) or not self._counts else self.next_us

    @property
    def _counts(self) -> bool:
        """Whether this version starts instances by itself."""
        kernel = self._kernel
        if KEEPER not in kernel.shards:
            return False
        own = kernel.workflow.timetable is not None or kernel.standing.sleep is not None
        return own and kernel.workflow.active and kernel.tenure.ends is None

    def begin(self) -> None:
        """The first start is reckoned, unless that was done before; a former version forgets its own."""
        if self._counts and self.next_us is None:
            self._set(self._first())
        elif self.next_us is not None and not self._counts:
            self._set(None)

    def ring(self, upto_us: int) -> bool:
        """Whether a start was due at or before `upto_us`: its instance exists now."""
        due_us = self.due_us
        timers_us = self._kernel.timers.next_due_us
        if due_us is None or due_us > upto_us or (timers_us is not None and timers_us < due_us):
            return False
        kernel = self._kernel
        self._set(self._following(due_us))
        instance_id = self._id_of(due_us)
        if not kernel.knows(instance_id):
            instance = kernel.new_instance(instance_id, max(due_us, kernel.now_us), kernel.newest)
            workflow = kernel.workflow
            input = workflow.encode_arguments() if workflow.has_parameters else None
            kernel.stimulate(instance, Begin(input=input, due_us=due_us))
        return True

    def _id_of(self, due_us: int) -> str:
        """The id of the instance that starts then: the first that is in a shard of this member.

        What is started and when the next one is due are in one transaction, so no other member
        starts it again under an id of its own.
        """
        names = (f"schedule:{due_us}" + (f":{n}" if n else "") for n in count())
        made = (ids.instance_id_of(self._kernel.workflow.name, name) for name in names)
        return next(id for id in made if self._kernel.owns(id))

    def begun(self, sleep: Sleep | None) -> None:
        """An instance has begun with this first sleep: a moment in it is when the next one starts."""
        if sleep is None or sleep.until is None or self.next_us != OVER:
            return
        until_us = microseconds(sleep.until)
        if until_us > self._kernel.now_us:
            self._set(until_us)

    def _first(self) -> int:
        kernel = self._kernel
        if kernel.workflow.timetable is not None:
            return microseconds(kernel.workflow.timetable.after(moment(kernel.now_us)))
        sleep = kernel.standing.sleep
        if sleep is not None and sleep.delay is not None:
            return kernel.now_us + duration_us(sleep.delay)
        until = None if sleep is None else sleep.until
        until_us = OVER if until is None else microseconds(until)
        return until_us if until_us > kernel.now_us else OVER

    def _following(self, due_us: int) -> int:
        """The start behind the one that was due: always one to come."""
        kernel = self._kernel
        latest_us = max(due_us, kernel.now_us)
        if kernel.workflow.timetable is not None:
            return microseconds(kernel.workflow.timetable.after(moment(latest_us)))
        sleep = kernel.standing.sleep
        if sleep is None or sleep.delay is None:
            return OVER  # until the new instance has said when (see `begun`)
        delay_us = duration_us(sleep.delay)
        return due_us + ((latest_us - due_us) // delay_us + 1) * delay_us

    def _set(self, next_us: int | None) -> None:
        self.next_us = next_us
        if KEEPER in self._kernel.shards:
            self._kernel.commit.turns.setdefault(KEEPER, [])
