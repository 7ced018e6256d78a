"""Rewinding and forking: an instance, or a new one, stands again where a saved point says.

What was open at that point is opened anew, as if the code had come to it just now: under new
ids, with time limits that begin again, and never with a call that the instance has received.
No code runs for it, neither of the place that is left nor of the one that is taken up again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, assert_never

from raysume import ids, limits
from raysume.actors.kernel import following, hooks, looking_back, routing
from raysume.actors.kernel.branches import (
    Branch,
    ChildLeaf,
    GroupLeaf,
    SleepLeaf,
    StepLeaf,
    UndoLeaf,
    WaitLeaf,
    leaves_of,
)
from raysume.actors.kernel.compensations import Compensation
from raysume.actors.kernel.deliveries import StartAnswer
from raysume.actors.kernel.failing import note_results
from raysume.actors.kernel.patching import patch
from raysume.actors.kernel.records import Cause, InstanceRecord, LeafEnded, StepRecord, WaitRecord
from raysume.actors.kernel.status import FINISHED, Event, Status, next_status
from raysume.actors.kernel.trees import tree_of
from raysume.actors.kernel.turns import InstanceTurn, OpenedWait
from raysume.compiler import loads
from raysume.errors import InvariantViolated, NotFound, NotRewindable, Unavailable
from raysume.matching import Binding, bind

if TYPE_CHECKING:
    from raysume.actors.kernel.commits import ForkAsked, RewindAsked
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel


def rewind(kernel: Kernel, asked: RewindAsked) -> None:
    """The instance stands at the saved point, whatever it was or had become.

    Raises:
        NotFound: there is no such instance.
        NotRewindable: a step that had completed at that point was undone since, or is being.
        UsageError: a variable is not live there, or the new value does not fit.
        Unavailable: a turn is under way; ask again.
    """
    was_in_memory = asked.instance in kernel.instances
    instance = _rewindable(kernel, asked)
    turn = following.new_turn(kernel, instance)
    try:
        _check_undone(instance, asked.record)
        root = _root(asked.record, asked.variables)
        state = _reopened(kernel, instance, turn, root, asked)
    except Exception:
        if not was_in_memory:
            kernel.forget(instance.id)
        raise
    if instance.status is Status.FAILED:
        note_results(kernel, instance)
    _leave(instance, turn)
    queued, instance.inbox = instance.inbox, []
    routing.offer_again(kernel, queued)
    kernel.commit.steps_cancelled.extend((instance.id, step) for step in instance.steps)
    following.leave_index(kernel, instance)
    instance.waits, instance.timers, instance.steps = {}, {}, {}
    instance.result = instance.error = instance.undoing = instance.kept = None
    instance.failures = 0
    instance.status = next_status(instance.status, Event.REWOUND)
    kernel.ended.pop(instance.id, None)
    instance.cause = Cause("rewind", asked.reason or None, str(asked.record.turn))
    _stand(kernel, instance, turn, root, state)
    kernel.log(
        instance.id, "info", "instance rewound", to_turn=asked.record.turn, reason=asked.reason
    )


def fork(kernel: Kernel, asked: ForkAsked) -> None:
    """A new instance stands at the saved point; the answer is in the commit.

    It takes calls that are accepted from now on, and undoes no step that it did not run. Asked
    again with the same id, it is the instance that exists.

    Raises:
        NotRewindable: the id belongs to an instance that is no such fork.
        UsageError: a variable is not live there, or the new value does not fit.
    """
    origin = f"fork:{asked.instance}"
    instance = kernel.instances.get(asked.id)
    created = not kernel.knows(asked.id)
    if created:
        root = _root(asked.record, asked.variables)
        instance = kernel.new_instance(asked.id, asked.at_us, kernel.newest)
        instance.origin = origin
        instance.tags = dict(asked.record.tags)
        instance.cause = Cause("fork", asked.reason or None, asked.instance)
        turn = following.new_turn(kernel, instance)
        try:
            state = _reopened(kernel, instance, turn, root, asked)
        except Exception:
            del kernel.instances[asked.id]
            raise
        _stand(kernel, instance, turn, root, state)
        kernel.log(instance.id, "info", "instance forked", of=asked.instance)
    if instance is None or instance.origin != origin:
        raise NotRewindable(
            f"there is an instance {asked.id!r} of {kernel.workflow.name!r} already. Give the fork "
            "another id, or none.",
            instance_status=kernel.ended[asked.id] if instance is None else instance.status,
        )
    answer = StartAnswer(
        id=asked.id,
        workflow=kernel.workflow.name,
        version=kernel.version,
        status=instance.status.value,
        created=created,
    )
    kernel.commit.answers.append((asked.token, answer))


def open_ids(instance: Instance) -> Iterator[str]:
    """The ids of everything at which the instance stands."""
    if instance.status in FINISHED or instance.state is None:
        return
    root = instance.live or tree_of(instance.state)
    yield from _ids_in(root)


def _ids_in(branch: Branch) -> Iterator[str]:
    if branch.outcome is not None:
        return
    yield from (id for id, _ in branch.subflows) if branch.subflows else branch.subflows_saved
    if branch.subflow is not None:
        yield branch.subflow
    if branch.leaf is None:
        return
    yield branch.leaf.id
    if isinstance(branch.leaf, GroupLeaf):
        for member in branch.leaf.branches:
            yield from _ids_in(member)


# --- before --------------------------------------------------------------------------


def _rewindable(kernel: Kernel, asked: RewindAsked) -> Instance:
    instance = kernel.instances.get(asked.instance)
    if instance is None and asked.current is not None:
        kernel.restore(asked.current, shard=ids.shard_of(asked.instance, limits.SHARDS))
        instance = kernel.instances[asked.instance]
    if instance is None:
        raise NotFound(f"there is no instance {asked.instance!r} of {kernel.workflow.name!r}.")
    if instance.busy:
        raise Unavailable(
            f"a turn of instance {instance.id!r} is under way. Ask again in a moment.",
            retry_after=0.1,
        )
    if instance.undoing in ("failed", "cancelled"):
        raise NotRewindable(
            f"the completed steps of instance {instance.id!r} are being undone. Ask again when that "
            "is over.",
            instance_status=instance.status.value,
        )
    return instance


def _check_undone(instance: Instance, record: InstanceRecord) -> None:
    """What the code at that point takes for done has not been undone since."""
    left = {one.of for one in _compensations(instance.compensations)}
    undone = [one for one in _compensations(record.compensations) if one.of not in left]
    if undone:
        names = ", ".join(one.step.label for one in undone)
        raise NotRewindable(
            f"instance {instance.id!r} cannot go back to turn {record.turn}: what its code had done "
            f"by then was undone since ({names}). Go back to before those steps, or start anew.",
            instance_status=instance.status.value,
        )


def _compensations(saved: bytes | None) -> list[Compensation]:
    return [] if saved is None else loads(saved)


def _root(record: InstanceRecord, variables: Mapping[str, Any]) -> Branch:
    if record.state is None:
        raise InvariantViolated(f"turn {record.turn} of instance {record.id} has no saved state")
    root = tree_of(record.state)
    if any(isinstance(leaf, UndoLeaf) for leaf in leaves_of(root)):
        raise NotRewindable(
            f"at turn {record.turn} instance {record.id!r} was undoing its steps. Go back to before "
            "that.",
            instance_status=record.status,
        )
    for name, value in variables.items():
        patch(root, name, value)
    return root


def _leave(instance: Instance, turn: InstanceTurn) -> None:
    """What was open ends as cancelled; no code of the workflow runs for that."""
    turn.ended.extend(LeafEnded(id, "cancelled") for id in open_ids(instance))


# --- standing at the point ----------------------------------------------------------------


def _reopened(
    kernel: Kernel,
    instance: Instance,
    turn: InstanceTurn,
    root: Branch,
    asked: RewindAsked | ForkAsked,
) -> bytes | None:
    """The state with everything that was open at the point under ids of this turn."""
    rebound = bool(asked.variables)
    saved = {} if rebound else {wait.id: wait for wait in asked.record.waits}
    _reopen(turn, root, saved)
    return hooks.saved(kernel, instance, root)


def _stand(
    kernel: Kernel, instance: Instance, turn: InstanceTurn, root: Branch, state: bytes | None
) -> None:
    """The instance waits for everything that the turn opened."""
    following.follow(kernel, instance, turn)
    instance.turn = turn.number
    instance.state = state
    instance.live = root if kernel.keep_live else None
    instance.status = following.status_at_leaves(instance)
    looking_back.again(kernel, instance)
    following.record(kernel, instance, turn)


def _reopen(turn: InstanceTurn, branch: Branch, saved: Mapping[str, WaitRecord]) -> None:
    if branch.outcome is not None:
        return
    frames = () if branch.frozen is None else branch.frozen.frames
    names = [frame.definition.name for frame in frames]
    if branch.subflow is not None:
        branch.subflow = turn.open_subflow(names[0])
    if branch.subflows_saved:
        branch.subflows_saved = tuple(turn.open_subflow(name) for name in names[1:])
    leaf = branch.leaf
    if leaf is None:
        return
    known = saved.get(leaf.id)
    leaf.id = turn.next_id()
    match leaf:
        case WaitLeaf():
            turn.open(leaf, "wait", name=leaf.value.name, method=leaf.value.method.urn)
            turn.waits.append(OpenedWait(leaf, _bound(leaf, known)))
            _limit(turn, leaf)
        case SleepLeaf():
            turn.open(leaf, "sleep", name=None)
            due = leaf.value.delay or leaf.value.until
            if due is not None:
                turn.set_timer(leaf.id, due)
        case StepLeaf():
            leaf.attempt = 1
            turn.open(leaf, "step", name=leaf.value.label)
            turn.steps[leaf.id] = StepRecord(leaf.id, leaf.value.label, 1, None)
        case ChildLeaf():
            turn.open(leaf, "workflow", name=leaf.value.workflow.name)
            turn.children.append(leaf)
        case GroupLeaf():
            turn.open(leaf, "group", name=None)
            _limit(turn, leaf)
            for member in leaf.branches:
                _reopen(turn, member, saved)
        case UndoLeaf():
            raise InvariantViolated("an undo was to be opened again")
        case _:
            assert_never(leaf)


def _limit(turn: InstanceTurn, leaf: WaitLeaf | GroupLeaf) -> None:
    if leaf.value.limit is not None:
        turn.set_timer(leaf.id, leaf.value.limit)


def _bound(leaf: WaitLeaf, known: WaitRecord | None) -> Binding:
    """The match as it was bound then; bound anew when variables were changed."""
    if known is None:
        return bind(leaf.value, first=True)
    return Binding(
        known.method,
        known.shape,
        known.keys,
        known.predicate,
        not known.keys and known.predicate is None,
    )
