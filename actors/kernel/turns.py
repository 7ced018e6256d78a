"""A turn: one uninterrupted run of an instance's code between two saved points.

The turn collects what the code asks for. Nothing of it takes effect before the turn has
succeeded and its record is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import CoroutineType
from typing import Any

import msgspec

from raysume import limits
from raysume.actors.kernel.branches import ChildLeaf, Leaf, StepLeaf, UndoLeaf, WaitLeaf
from raysume.actors.kernel.compensations import Compensation, compensation_of
from raysume.actors.kernel.moments import duration_us, microseconds
from raysume.actors.kernel.records import (
    LeafEnded,
    LeafOpened,
    StepRecord,
    TimerRecord,
    WaitRecord,
)
from raysume.children import ChildCall
from raysume.compiler import Provided
from raysume.errors import RaysumeError, UsageError
from raysume.instances import RunningInstance
from raysume.matching import Binding
from raysume.records import OutgoingCall
from raysume.steps import Step
from raysume.tracing import traced
from raysume.waits import Sleep, Wait


class CallbackFailed(RaysumeError):
    """A callback of a wait raised: the turn is undone, and the wait stays."""

    code = "callback-failed"


@dataclass(slots=True)
class OpenedWait:
    """A wait that the turn came to, with its match bound to the variables of that moment."""

    leaf: WaitLeaf
    binding: Binding


@dataclass(slots=True)
class InstanceTurn:
    """The running turn of one instance (the kernel's `raysume.durable.Turn`)."""

    instance: RunningInstance
    number: int
    now_us: int
    failures: int = 0
    """How often in a row the instance had failed before it."""
    is_first: bool = False
    """Whether the turn is at the workflow's standing first wait."""
    hurries: bool = False
    """Whether a failed step's next attempt starts at once."""
    window_us: int = duration_us(limits.MAILBOX_WINDOW)
    """How far back waits look for calls that came before them."""
    subscribed: frozenset[str] | None = None
    """URNs of the methods whose calls reach this pool; None: of all."""
    provided: Provided = field(default_factory=dict[int, Any])
    """What `Depends` made for the instance, by id."""
    trace: str | None = None
    """The W3C trace context of what the code does."""
    state: bytes | None = None
    """What is to be saved, when that is known already."""
    first_sleep: Sleep | None = None
    """What an instance that a first sleep started has begun with."""
    task: asyncio.Task[Any] | None = None
    count: int = 0
    subflows: list[tuple[str, CoroutineType[Any, Any, Any]]] = field(default_factory=list)
    """The subflows that the running code is inside of or was, outermost first."""
    opened: list[LeafOpened] = field(default_factory=list)
    ended: list[LeafEnded] = field(default_factory=list)
    waits: list[OpenedWait] = field(default_factory=list)
    timers: list[TimerRecord] = field(default_factory=list)
    timers_stopped: list[str] = field(default_factory=list)
    children: list[ChildLeaf] = field(default_factory=list[ChildLeaf])
    """Child workflows that the turn came to."""
    steps: dict[str, StepRecord] = field(default_factory=dict)
    steps_ended: list[str] = field(default_factory=list)
    outgoing: list[bytes] = field(default_factory=list)
    compensations: list[Compensation] = field(default_factory=list[Compensation])
    """How to undo the steps that completed and have a compensation, in the order completed."""
    compensations_changed: bool = False
    asked: Container[str] = ()
    """The steps that were under way when the turn began."""

    @property
    def is_being_stopped(self) -> bool:
        """Whether somebody cancels the task of the turn: the process is ending."""
        return self.task is not None and self.task.cancelling() > 0

    def next_id(self) -> str:
        """An id that the instance has never used: (turn, n)."""
        self.count += 1
        return f"{self.number}.{self.count}"

    def has_passed(self, moment: datetime) -> bool:
        """See `raysume.durable.Turn.has_passed`."""
        return not self.is_first and microseconds(moment) <= self.now_us

    def publish(self, call: OutgoingCall) -> None:
        """See `raysume.durable.Turn.publish`."""
        self.outgoing.append(msgspec.msgpack.encode(traced(call, self.trace)))

    def entered(self, name: str, coroutine: CoroutineType[Any, Any, Any]) -> None:
        """A subflow was entered by a direct `await`."""
        self.subflows.append((self.open_subflow(name), coroutine))

    def open_subflow(self, name: str) -> str:
        """A subflow has begun; returns its id."""
        id = self.next_id()
        self.opened.append(LeafOpened(id, "subflow", name, None))
        return id

    def open(self, leaf: Leaf, kind: str, *, name: str | None, method: str | None = None) -> None:
        """The code is suspended at `leaf`."""
        self.opened.append(LeafOpened(leaf.id, kind, name, method))

    def open_child(self, value: ChildCall) -> ChildLeaf:
        """The code is suspended at a child workflow."""
        leaf = ChildLeaf(self.next_id(), value)
        self.open(leaf, "workflow", name=value.workflow.name)
        self.children.append(leaf)
        return leaf

    def end(self, leaf: Leaf, status: str) -> None:
        """`leaf` has ended; its timer and its step with it."""
        self.ended.append(LeafEnded(leaf.id, status))
        self.timers_stopped.append(leaf.id)
        if isinstance(leaf, StepLeaf | UndoLeaf):
            self.steps_ended.append(leaf.id)
            self.steps.pop(leaf.id, None)

    def completed_step(self, id: str, step: Step[Any], result: Any) -> None:
        """The step's compensation, if it has one, is to run when the instance fails or is cancelled.

        A turn that is taken again after it failed finds the compensation there already.
        """
        known = any(one.of == id for one in self.compensations)
        if step.compensate is not None and not known:
            self.compensations.append(compensation_of(id, step, result))
            self.compensations_changed = True

    def next_compensation(self) -> Compensation | None:
        """The latest compensation that no `undo()` is at."""
        for found in reversed(self.compensations):
            if found.leaf is not None:
                open_before = found.leaf in self.asked and found.leaf not in self.steps_ended
                if open_before or found.leaf in self.steps:
                    continue
            self.compensations_changed = True
            return found
        return None

    def undone(self, of: str) -> None:
        """The compensation of this step is recorded: it never runs again."""
        self.compensations[:] = [one for one in self.compensations if one.of != of]
        self.compensations_changed = True

    def check_subscribed(self, urn: str) -> None:
        """The calls of the method reach this pool.

        Raises:
            UsageError: they do not: a wait for them would last for ever.
        """
        if self.subscribed is not None and urn not in self.subscribed:
            raise UsageError.by_rule(
                "method-not-named",
                f"workflow {self.instance.workflow!r} waits for calls of {urn!r}, which its code "
                "did not name when it was deployed, so they do not reach its pool. Name the method "
                "in the workflow, or in a function or class that it names, and deploy again.",
            )

    def set_timer(self, leaf_id: str, due: datetime | timedelta) -> int:
        """A timer of the leaf is due at a moment, or after a duration; returns when (microseconds)."""
        due_us = self.now_us + duration_us(due) if isinstance(due, timedelta) else microseconds(due)
        self.timers.append(TimerRecord(leaf_id, due_us))
        return due_us

    def wait_record(
        self, opened: OpenedWait, name: str | None = None, *, order: int = 0
    ) -> WaitRecord:
        """The wait as it is saved and put into the index.

        Args:
            opened: the wait and its binding.
            name: an id to use instead of the leaf's own.
            order: its place among all waits of the kernel, in order of registration.
        """
        return wait_record(
            opened.leaf.value,
            opened.binding,
            id=name or opened.leaf.id,
            now_us=self.now_us,
            window_us=self.window_us,
            order=order,
        )


def wait_record(
    wait: Wait[Any],
    binding: Binding | WaitRecord,
    *,
    id: str,
    now_us: int,
    window_us: int,
    order: int,
    nothing_earlier: bool = False,
) -> WaitRecord:
    """The wait that is made now, as it is saved and put into the index.

    Args:
        binding: its own, or another wait that asks for the same calls.
        window_us: how far back it looks for calls that came before it.
        order: its place among all waits of the kernel, in order of registration.
        nothing_earlier: it is known that it would find none.
    """
    if wait.mailbox == "from_now":
        since_us, looks_back = now_us, False
    elif isinstance(wait.mailbox, datetime):
        since_us, looks_back = microseconds(wait.mailbox), True
    else:
        since_us, looks_back = now_us - window_us, not nothing_earlier
    return WaitRecord(  # by position, in the order of its fields: it is made for every turn
        id,
        binding.method,
        binding.shape,
        binding.keys,
        binding.predicate,
        wait.name,
        looks_back,
        since_us,
        isinstance(wait.mailbox, datetime),
        wait.is_exclusive,
        order,
    )
