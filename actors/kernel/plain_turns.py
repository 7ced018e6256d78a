"""The usual turn: a call meets the only wait, and the code goes on to another plain wait.

It has the same effects as the general way of `turning` and `program`, without the objects that
this needs for whatever else may come. A turn that comes to something else goes on in the general
way from where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raysume.actors.kernel import following, program, running
from raysume.actors.kernel.branches import Branch
from raysume.actors.kernel.records import (
    CallMet,
    Cause,
    LeafEnded,
    LeafOpened,
)
from raysume.actors.kernel.status import Status
from raysume.actors.kernel.trees import asks_the_same, flat_state, flat_tree, frame_of, is_plain
from raysume.actors.kernel.turns import wait_record
from raysume.call import Call
from raysume.compiler import enter, frame_at
from raysume.durable import current_turn
from raysume.errors import RaysumeError
from raysume.matching import bind
from raysume.waits import Wait

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator
    from datetime import datetime
    from types import CoroutineType

    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel
    from raysume.actors.kernel.trees import FlatTree
    from raysume.actors.kernel.turns import InstanceTurn
    from raysume.compiler import Provided
    from raysume.instances import RunningInstance
    from raysume.records import OutgoingCall


class PlainTurn:
    """The running turn (a `raysume.durable.Turn`), for code that asks nothing of it."""

    __slots__ = ("_instance", "_kernel", "full", "task")

    def __init__(self, kernel: Kernel, instance: Instance) -> None:
        self._kernel, self._instance = kernel, instance
        self.task: asyncio.Task[Any] | None = None
        """None runs it."""
        self.full: InstanceTurn | None = None
        """The turn as an object, once the code has asked something of it."""

    def made(self) -> InstanceTurn:
        """The turn as an object."""
        if self.full is None:
            self.full = following.new_turn(self._kernel, self._instance)
        return self.full

    @property
    def instance(self) -> RunningInstance:
        """See `raysume.durable.Turn`."""
        return self.made().instance

    @property
    def trace(self) -> str | None:
        """See `raysume.durable.Turn`."""
        return self._instance.turn_trace

    @property
    def provided(self) -> Provided:
        """See `InstanceTurn`."""
        return self.made().provided

    def has_passed(self, moment: datetime) -> bool:
        """See `raysume.durable.Turn`."""
        return self.made().has_passed(moment)

    def publish(self, call: OutgoingCall) -> None:
        """See `raysume.durable.Turn`."""
        self.made().publish(call)

    def entered(self, name: str, coroutine: CoroutineType[Any, Any, Any]) -> None:
        """See `InstanceTurn`."""
        self.made().entered(name, coroutine)


Rest = tuple["InstanceTurn", "Generator[Any, Any, None]"]
"""A turn that has begun, and what is left of it."""


def take(kernel: Kernel, instance: Instance, met: CallMet) -> Rest | bool:
    """The turn has been taken, or has begun and goes on in the general way.

    Returns:
        Whether it was taken, or what is left of it: False means that it has not begun.
    """
    flat = _flat_at_wait(kernel, instance, met.wait)
    coroutine = None if flat is None else _entered(flat)
    if flat is None or coroutine is None:
        return False
    call = met.call.call
    turn = PlainTurn(kernel, instance)
    token = current_turn.set(turn)
    try:
        came = running.sent(coroutine, Call(call, kernel.methods(call.method)))
    finally:
        current_turn.reset(token)
    if (
        turn.full is None
        and came.__class__ is Wait
        and _suspend(kernel, instance, met, flat, coroutine, came)
    ):
        return True
    return _rest(turn.made(), instance, met, coroutine, came)


def _flat_at_wait(kernel: Kernel, instance: Instance, wait_id: str) -> FlatTree | None:
    """The instance's saved state, if that is one frame at this wait, and nothing else is known of it."""
    if kernel.keep_live or not kernel.runs_inline or kernel.workflow.owner is not None:
        return None
    if kernel.guard is not None or instance.live is not None or instance.state is None:
        return None
    if instance.undoing is not None or instance.compensations is not None or instance.children:
        return None
    flat = flat_tree(instance.state)
    if flat is None or flat.leaf != wait_id or instance.waits.keys() != {wait_id}:
        return None
    return flat


def _entered(flat: FlatTree) -> Any:
    """The coroutine, suspended at its wait; None: it takes more than this, or is not known here."""
    try:
        return enter(frame_of(flat))
    except RaysumeError:  # the general way says so where it counts
        return None


def _suspend(
    kernel: Kernel,
    instance: Instance,
    met: CallMet,
    flat: FlatTree,
    coroutine: Any,
    wait: Wait[Any],
) -> bool:
    """The instance is suspended at the wait; False: that is not plain, and nothing has changed.

    Args:
        flat: where it was before.
    """
    urn = wait.method.urn
    if wait.limit is not None or not is_plain(wait):
        return False
    if kernel.subscribed is not None and urn not in kernel.subscribed:
        return False
    frame = frame_at(coroutine, wait)
    number = instance.turn + 1
    leaf = f"{number}.1"
    state = None if frame is None else flat_state(frame, leaf, wait)
    if state is None:
        return False
    before = instance.waits[met.wait]
    is_same = urn == before.method and asks_the_same(flat, wait)
    try:
        binding = before if is_same else bind(wait)
    except Exception:  # the code is to hear of it at its await
        return False
    item = met.call
    instance.cause = Cause("call", item.call.method, item.call.id)
    instance.turn, instance.state, instance.failures = number, state, 0
    instance.status = Status.WAITING
    instance.waits.clear()
    instance.timers.pop(met.wait, None)
    made = wait_record(
        wait,
        binding,
        id=leaf,
        now_us=kernel.now_us,
        window_us=kernel.window_us,
        order=kernel.take_order(),
        # what came before the newest call of all, which has this wait's only key, was for others
        nothing_earlier=is_same
        and len(before.keys) < 2
        and (item.pos, item.offset) == kernel.newest,
    )
    if following.add_wait(kernel, instance, made).looks_back:
        kernel.look_back.append((instance.id, leaf))
    following.record_turn(
        kernel,
        instance,
        [LeafOpened(leaf, "wait", wait.name, urn)],
        [LeafEnded(met.wait, "completed")],
        [],
    )
    kernel.recorded(instance)
    return True


def _rest(turn: InstanceTurn, instance: Instance, met: CallMet, coroutine: Any, came: Any) -> Rest:
    root = instance.live = Branch(None)
    root.coroutine = coroutine
    turn.ended.append(LeafEnded(met.wait, "completed"))
    turn.timers_stopped.append(met.wait)
    return turn, program.went_on(turn, root, came)
