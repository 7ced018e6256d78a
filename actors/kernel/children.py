"""Child workflows as the parent's kernel sees them: asked for, awaited, cancelled.

A child is an instance like any other, maybe in another pool. The parent asks for it by an
id that is always the same, so that asking again after a crash does no harm, and asks how it
ended until it knows. A child that is no longer awaited is cancelled, and stays with the
parent until that is known to have happened.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import msgspec

from raysume import ids
from raysume.actors.kernel import program, traces
from raysume.actors.kernel.branches import Branch, ChildLeaf, Outcome, path_to
from raysume.actors.kernel.commits import ChildEnded, ChildOrder
from raysume.actors.kernel.records import ChildDone, ChildRecord
from raysume.actors.kernel.status import FINISHED, Status
from raysume.errors import InstanceFailed

if TYPE_CHECKING:
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel
    from raysume.actors.kernel.turns import InstanceTurn


def record_of(leaf: ChildLeaf, parent: str) -> ChildRecord:
    """The child that the leaf waits for."""
    workflow = leaf.value.workflow
    made = leaf.value.own_id()
    id = made or ids.instance_id_of(workflow.name, f"{parent}/{leaf.id}")
    return ChildRecord(
        leaf=leaf.id,
        workflow=workflow.name,
        version=workflow.version_id(),
        id=id,
        input=leaf.value.input,
    )


def origin_of(instance: str, leaf: str) -> str:
    """What a child's `origin` says: only one that this very await started is cancelled with it."""
    return f"{instance}/{leaf}"


def follow(kernel: Kernel, instance: Instance, turn: InstanceTurn) -> None:
    """The children of the instance are as the turn left them; what that asks for is in the commit."""
    ended = {one.id: one.status for one in turn.ended}
    for leaf in turn.children:
        if leaf.id not in ended:
            instance.children[leaf.id] = record_of(leaf, instance.id)
            _ask(kernel, instance, instance.children[leaf.id])
    for id, status in ended.items():
        child = instance.children.get(id)
        if child is None or child.cancelled:
            continue
        if status == "cancelled":
            instance.children[id] = msgspec.structs.replace(child, cancelled=True)
            _ask(kernel, instance, instance.children[id])
        else:
            del instance.children[id]


def ask_again(kernel: Kernel, instance: Instance) -> None:
    """After a recovery: whatever is not known to have ended is asked for once more.

    A child whose end waits in the inbox may have been removed since, and must not start anew.
    """
    known = {one.leaf for one in instance.inbox if isinstance(one, ChildDone)}
    for child in instance.children.values():
        if child.leaf not in known:
            _ask(kernel, instance, child)


def ended(kernel: Kernel, event: ChildEnded) -> None:
    """The end of a child is the parent's next stimulus, or the last that it needed to know."""
    instance = kernel.instances.get(event.instance)
    child = None if instance is None else instance.children.get(event.done.leaf)
    if instance is None or child is None:
        return  # reported before
    if child.cancelled or instance.status in FINISHED:
        del instance.children[child.leaf]
        kernel.touch(instance)
    elif event.done not in instance.inbox:
        if instance.status is Status.FAILED:
            instance.inbox.append(event.done)
            kernel.touch(instance)
        else:
            kernel.stimulate(instance, event.done)


def outcome_of(leaf: ChildLeaf, done: ChildDone) -> Outcome:
    """What the `await` of the child gives or raises."""
    if done.status == Status.COMPLETED.value:
        return Outcome("result", leaf.value.read(done.result or b"null"))
    name = leaf.value.workflow.name
    reason = f": {done.error}" if done.error else ""
    return Outcome(
        "error",
        InstanceFailed(
            f"workflow {name!r}, instance {done.id!r}, which was awaited, is {done.status}{reason}. "
            "Catch InstanceFailed to handle it.",
            id=done.id,
            status=done.status,
            error=done.error,
        ),
    )


def finish(turn: InstanceTurn, root: Branch, done: ChildDone) -> Generator[Any, Any, None]:
    """The child's end is known: its result or error goes on."""
    path = path_to(root, done.leaf)
    leaf = None if path is None else path[-1].leaf
    if path is None or not isinstance(leaf, ChildLeaf):
        return
    outcome = outcome_of(leaf, done)
    turn.end(leaf, "completed" if outcome.kind == "result" else "failed")
    yield from program.resolve(turn, path, outcome)


def _ask(kernel: Kernel, instance: Instance, child: ChildRecord) -> None:
    kernel.commit.children.append(
        ChildOrder(instance=instance.id, child=child, trace=traces.of(instance))
    )
