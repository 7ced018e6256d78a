"""How an instance begins with the call that started it: by the same wait as at deployment."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from raysume.actors.kernel import program
from raysume.actors.kernel.branches import Branch, WaitLeaf, leaves_of
from raysume.actors.kernel.mailboxes import key_met, key_of
from raysume.actors.kernel.turns import InstanceTurn
from raysume.call import Call
from raysume.errors import UsageError

if TYPE_CHECKING:
    from raysume.actors.kernel.deliveries import DeliveredCall
    from raysume.actors.kernel.instances import Instance
    from raysume.actors.kernel.kernel import Kernel


def meet_first(
    kernel: Kernel,
    instance: Instance,
    turn: InstanceTurn,
    branch: Branch,
    item: DeliveredCall,
    ordinal: int,
) -> Generator[Any, Any, None]:
    """The member of the first wait that stood for the call has met it.

    Raises:
        FirstWaitChanged: the first wait has another shape than at deployment.
    """
    waits = [leaf for leaf in leaves_of(branch) if isinstance(leaf, WaitLeaf)]
    standing = kernel.standing.waits
    if len(waits) != len(standing) or any(
        leaf.value.method.urn != stood.method for leaf, stood in zip(waits, standing, strict=True)
    ):
        raise FirstWaitChanged.by_rule(
            "first-wait-changed",
            f"the first wait of workflow {kernel.workflow.name!r} had another shape in this instance "
            "than at deployment. Keep the first wait independent of time, data and chance.",
        )
    call = Call.of(item.call, kernel.methods(item.call.method))
    met = waits[ordinal]
    opened = next(opened for opened in turn.waits if opened.leaf is met)
    wait = turn.wait_record(opened)
    key = key_met(wait, item, kernel.methods)
    place = (item.pos, item.offset)
    instance.mailbox.receive(wait, key_of(wait) if key is None else key, place)
    yield from program.meet(turn, branch, met.id, call)


class FirstWaitChanged(UsageError):
    """An instance's first wait differs from the one learnt at deployment."""

    code = "first-wait-changed"
