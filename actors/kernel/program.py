"""Drives an instance's tree: starts branches, hands outcomes to leaves, settles groups.

The functions are generators so that ordinary awaits of user code pass through them to
the event loop: what they yield is what the user's coroutine yielded and is not durable.
A turn in which they yield nothing runs inline, without a task.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any, TypeGuard, assert_never

from raysume.actors.kernel.attempts import attempts_failed
from raysume.actors.kernel.branches import (
    Branch,
    ChildLeaf,
    GroupLeaf,
    Outcome,
    SleepLeaf,
    StepLeaf,
    UndoLeaf,
    WaitLeaf,
    path_to,
)
from raysume.actors.kernel.deciding import decide
from raysume.actors.kernel.records import LeafEnded, StepDone, StepRecord
from raysume.actors.kernel.running import step_into
from raysume.actors.kernel.turns import CallbackFailed, InstanceTurn, OpenedWait
from raysume.call import Call
from raysume.children import ChildCall
from raysume.compiler import SubflowCall, loads
from raysume.durable import Durable
from raysume.errors import InvariantViolated, UsageError, WaitTimeout
from raysume.groups import Group
from raysume.matching import bind
from raysume.steps import Retry, Step
from raysume.undoing import Undo
from raysume.waits import Sleep, Wait

Passing = Generator[Any, Any, None]
"""A part of a turn: yields what the event loop must wait for."""

_OURS = (CallbackFailed, InvariantViolated)
"""What ends the whole turn; every other error is the workflow's own."""


def start(turn: InstanceTurn, branch: Branch) -> Passing:
    """The branch has run up to its first leaf, or to its end."""
    value, branch.value = branch.value, None
    if isinstance(value, SubflowCall):
        branch.coroutine = value.begin()
        yield from _run(turn, branch, Outcome("result"))
    elif value is None:
        raise InvariantViolated("a branch was started twice")
    else:
        yield from _open(turn, branch, value)


def meet(turn: InstanceTurn, root: Branch, wait_id: str, call: Call[Any, Any]) -> Passing:
    """The call has met the wait, and the code behind it has gone on."""
    path = path_to(root, wait_id)
    if path is None or not isinstance(path[-1].leaf, WaitLeaf):
        raise InvariantViolated(f"a call met wait {wait_id}, which is not open")
    leaf = path[-1].leaf
    if leaf.value.on_match is not None:
        _call_back(leaf.value.on_match, (call,), "after_match", leaf)
    turn.end(leaf, "completed")
    yield from resolve(turn, path, Outcome("result", call))


def ring(turn: InstanceTurn, root: Branch, timer_id: str) -> Passing:
    """The leaf's timer is due: a sleep ends, a wait or group times out, a step may try again."""
    path = path_to(root, timer_id)
    if path is None:
        return
    branch, leaf = path[-1], path[-1].leaf
    match leaf:
        case SleepLeaf():
            turn.end(leaf, "completed")
            yield from resolve(turn, path, Outcome("result"))
        case WaitLeaf():
            turn.end(leaf, "timed-out")
            yield from resolve(turn, path, Outcome("error", _timeout_of(leaf)))
        case GroupLeaf():
            if leaf.decided is None:
                leaf.decided = Outcome("error", _timeout_of(leaf))
            moved = yield from _settle(turn, branch)
            if moved:
                yield from _settle_above(turn, path[:-1])
        case StepLeaf() | UndoLeaf():
            turn.timers_stopped.append(leaf.id)
            turn.steps[leaf.id] = StepRecord(leaf.id, leaf.step.label, leaf.attempt, None)
        case ChildLeaf() | None:
            raise InvariantViolated(f"timer {timer_id} belongs to nothing that has timers")
        case _:
            assert_never(leaf)


def finish_step(turn: InstanceTurn, root: Branch, done: StepDone) -> Passing:
    """The step's attempt is recorded: its result goes on, or the next attempt is set."""
    path = path_to(root, done.step)
    if path is None:
        return
    leaf = path[-1].leaf
    if not isinstance(leaf, StepLeaf | UndoLeaf) or leaf.attempt != done.attempt:
        return
    step: Step[Any] = leaf.step
    if done.succeeded:
        result = loads(done.payload)
        turn.end(leaf, "completed")
        if isinstance(leaf, StepLeaf):
            turn.completed_step(leaf.id, step, result)
            yield from resolve(turn, path, Outcome("result", result))
        else:
            turn.undone(leaf.of)
            if not _undo_next(turn, path[-1], leaf.value):
                yield from resolve(turn, path, Outcome("result"))
        return
    error = loads(done.payload)
    retry: Retry | None = step.retry
    if retry is not None and done.retriable and done.attempt < retry.max_attempts:
        leaf.attempt += 1
        due_us = None
        if not turn.hurries:
            due_us = turn.set_timer(leaf.id, retry.delay_after(done.attempt, random.random()))
        turn.steps[leaf.id] = StepRecord(leaf.id, step.label, leaf.attempt, due_us)
        return
    failure = attempts_failed(step, done.attempt, error)
    turn.end(leaf, "failed")
    yield from resolve(turn, path, Outcome("error", failure))


def cancel(turn: InstanceTurn, branch: Branch) -> Passing:
    """The branch is unwinding or unwound: `Cancelled` was thrown at its leaf."""
    if branch.outcome is not None or branch.cancelling:
        return
    branch.cancelling = True
    leaf = branch.leaf
    if isinstance(leaf, GroupLeaf):
        leaf.decided = Outcome("cancelled")
        yield from _settle(turn, branch)
        return
    if leaf is None:
        _end(turn, branch, Outcome("cancelled"))
        return
    turn.end(leaf, "cancelled")
    if isinstance(leaf, WaitLeaf) and leaf.value.on_cancel is not None:
        _call_back(leaf.value.on_cancel, (), "when_cancelled", leaf)
    yield from _go_on(turn, branch, Outcome("cancelled"))


# --- inside ----------------------------------------------------------------------


def _call_back(callback: Any, arguments: tuple[Any, ...], kind: str, leaf: WaitLeaf) -> None:
    try:
        callback(*arguments)
    except Exception as error:
        raise CallbackFailed(
            f"the {kind} callback of the wait for {leaf.value.method.urn!r} raised "
            f"{type(error).__name__}: {error}. The turn was undone and the wait stays.",
            method=leaf.value.method.urn,
        ) from error


def _timeout_of(leaf: WaitLeaf | GroupLeaf) -> WaitTimeout:
    if isinstance(leaf, WaitLeaf):
        what = f"the wait for {leaf.value.method.urn!r}"
    else:
        what = f"the group of {len(leaf.branches)}"
    return WaitTimeout(f"{what} was not met within {leaf.value.limit}.")


def went_on(turn: InstanceTurn, branch: Branch, came: Any) -> Passing:
    """The branch's code, which has gone on already, is at its next leaf or its end.

    Args:
        came: what the coroutine yielded, or its `Outcome` (see `running.sent`).
    """
    reached = came
    if not isinstance(came, Outcome):
        reached = yield from step_into(turn, branch.live(), came=came)
    outcome = yield from _reach(turn, branch, reached)
    if outcome is not None:
        yield from _run(turn, branch, outcome)


def _run(turn: InstanceTurn, branch: Branch, outcome: Outcome | None) -> Passing:
    """The branch's code has gone on with `outcome` to its next leaf or its end."""
    while outcome is not None:
        coroutine = branch.live()
        branch.leaf = None
        turn.subflows = branch.subflows
        reached = yield from step_into(turn, coroutine, outcome)
        outcome = yield from _reach(turn, branch, reached)


def _reach(
    turn: InstanceTurn, branch: Branch, reached: Durable | Outcome
) -> Generator[Any, Any, Outcome | None]:
    """The branch is at its next leaf, or has ended; else what its code is to go on with at once."""
    if turn.subflows:
        _leave_subflows(turn, branch, reached)
    if isinstance(reached, Outcome):
        _end(turn, branch, reached)
        return None
    try:
        yield from _open(turn, branch, reached)
    except _OURS:
        raise
    except Exception as error:
        return Outcome("error", error)
    return None


_STATUS_AFTER = {"result": "completed", "error": "failed", "cancelled": "cancelled"}


def _leave_subflows(turn: InstanceTurn, branch: Branch, reached: Durable | Outcome) -> None:
    """Of the subflows that the code was inside of, those are left that it still is in."""
    kind = reached.kind if isinstance(reached, Outcome) else "result"
    status = "cancelled" if branch.cancelling else _STATUS_AFTER[kind]
    for id, coroutine in turn.subflows:
        if coroutine.cr_frame is None:
            turn.ended.append(LeafEnded(id, status))
    branch.subflows = [one for one in turn.subflows if one[1].cr_frame is not None]


def _end(turn: InstanceTurn, branch: Branch, outcome: Outcome) -> None:
    if branch.subflow is not None:
        status = "cancelled" if branch.cancelling else _STATUS_AFTER[outcome.kind]
        turn.ended.append(LeafEnded(branch.subflow, status))
    branch.coroutine = None
    branch.leaf = None
    branch.outcome = Outcome("cancelled") if branch.cancelling else outcome
    if branch.cancelling and outcome.kind == "error":
        branch.outcome = outcome


def _open(turn: InstanceTurn, branch: Branch, value: Durable) -> Passing:
    """The branch is suspended at a leaf for `value`."""
    if _is_wait(value):
        _open_wait(turn, branch, value)
    elif isinstance(value, Sleep):
        branch.leaf = SleepLeaf(turn.next_id(), value)
        turn.open(branch.leaf, "sleep", name=None)
        due = value.delay if value.delay is not None else value.until
        if due is None:
            raise InvariantViolated("a sleep has neither a delay nor a moment")
        turn.set_timer(branch.leaf.id, due)
    elif _is_step(value):
        _open_step(turn, branch, value)
    elif isinstance(value, ChildCall):
        branch.leaf = turn.open_child(value)
    elif _is_group(value):
        yield from _open_group(turn, branch, value)
    elif isinstance(value, Undo):
        if not _undo_next(turn, branch, value):
            yield from _go_on(turn, branch, Outcome("result"))
    else:
        raise UsageError(f"a {value.durable_kind} cannot be awaited here: use a wait or group.")


def _is_wait(value: Durable) -> TypeGuard[Wait[Any]]:
    return isinstance(value, Wait)


def _is_step(value: Durable) -> TypeGuard[Step[Any]]:
    return isinstance(value, Step)


def _is_group(value: Durable) -> TypeGuard[Group[Any]]:
    return isinstance(value, Group)


def _open_step(turn: InstanceTurn, branch: Branch, value: Step[Any]) -> None:
    branch.leaf = StepLeaf(turn.next_id(), value)
    turn.open(branch.leaf, "step", name=value.label)
    turn.steps[branch.leaf.id] = StepRecord(branch.leaf.id, value.label, 1, None)


def _undo_next(turn: InstanceTurn, branch: Branch, value: Undo) -> bool:
    """Whether there is a compensation left, which the branch is at now."""
    found = turn.next_compensation()
    if found is None:
        return False
    leaf = branch.leaf = UndoLeaf(turn.next_id(), value, found.step, found.of)
    found.leaf = leaf.id
    turn.open(leaf, "step", name=found.step.label)
    turn.steps[leaf.id] = StepRecord(leaf.id, found.step.label, 1, None)
    return True


def _open_wait(turn: InstanceTurn, branch: Branch, value: Wait[Any]) -> None:
    turn.check_subscribed(value.method.urn)
    binding = bind(value, first=turn.is_first)
    leaf = branch.leaf = WaitLeaf(turn.next_id(), value)
    turn.open(leaf, "wait", name=value.name, method=value.method.urn)
    turn.waits.append(OpenedWait(leaf, binding))
    if value.limit is not None:
        turn.set_timer(leaf.id, value.limit)


def _open_group(turn: InstanceTurn, branch: Branch, value: Group[Any]) -> Passing:
    leaf = GroupLeaf(turn.next_id(), value, [Branch(member) for member in value.members], [])
    branch.leaf = leaf
    turn.open(leaf, "group", name=None)
    if value.limit is not None:
        turn.set_timer(leaf.id, value.limit)
    for index, member in enumerate(leaf.branches):
        if isinstance(member.value, SubflowCall):
            member.subflow = turn.open_subflow(member.value.definition.name)
        try:
            yield from start(turn, member)
        except _OURS:
            raise
        except Exception as error:  # a member that cannot be awaited so: the group raises it
            leaf.decided = Outcome("error", error)
            break
        if member.outcome is not None:
            leaf.finished.append(index)
    yield from _settle(turn, branch)


def resolve(turn: InstanceTurn, path: list[Branch], outcome: Outcome) -> Passing:
    """The leaf at the end of the path has ended: its code and the groups above go on."""
    yield from _go_on(turn, path[-1], outcome)
    yield from _settle_above(turn, path[:-1])


def _go_on(turn: InstanceTurn, branch: Branch, outcome: Outcome) -> Passing:
    """The branch's leaf ended with `outcome`: its code goes on, or, without code, it ends too."""
    if branch.is_code:
        yield from _run(turn, branch, outcome)
    else:
        branch.leaf = None
        branch.outcome = outcome


def _settle_above(turn: InstanceTurn, ancestors: list[Branch]) -> Passing:
    """Every group above a branch that ended has taken note of it, as far as it matters."""
    for branch in reversed(ancestors):
        leaf = branch.leaf
        if not isinstance(leaf, GroupLeaf):
            return
        for index, member in enumerate(leaf.branches):
            if member.outcome is not None and not member.cancelling and index not in leaf.finished:
                leaf.finished.append(index)
        moved = yield from _settle(turn, branch)
        if not moved:
            return


def _settle(turn: InstanceTurn, branch: Branch) -> Generator[Any, Any, bool]:
    """The group is decided if it can be; once its losers are unwound, its branch has gone on.

    Returns:
        Whether the branch went on or ended, so that the groups above must look again.
    """
    leaf = branch.leaf
    if not isinstance(leaf, GroupLeaf):
        raise InvariantViolated("a branch that is not at a group was settled")
    if leaf.decided is None:
        leaf.decided = decide(leaf)
    if leaf.decided is None:
        return False
    for member in leaf.branches:
        yield from cancel(turn, member)
    if any(member.outcome is None for member in leaf.branches):
        return False
    decided = leaf.decided
    status = _STATUS_AFTER[decided.kind]
    if isinstance(decided.value, WaitTimeout) and decided.kind == "error":
        status = "timed-out"
    turn.end(leaf, status)
    yield from _go_on(turn, branch, decided)
    return True
