"""Child workflows of a shell: started in their pools, and their ends told to who awaits them."""

from __future__ import annotations

from collections.abc import Mapping

from raysume.actors.kernel.children import origin_of
from raysume.actors.kernel.commits import CancelAsked, ChildEnded, ChildOrder, Event, Started
from raysume.actors.kernel.deliveries import StartRequest
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.records import ChildDone, ChildRecord
from raysume.actors.kernel.timers import RETRY_TIMER
from raysume.testing.pools import ShellPool

_OVER = frozenset({"completed", "failed", "cancelled"})


class Families:
    """Which pool runs a child, and who is to be told of its end."""

    def __init__(self, pools: Mapping[str, ShellPool]) -> None:
        self._pools = pools
        self._awaited: dict[tuple[str, str, str], tuple[ShellPool, ChildOrder]] = {}

    def asked(
        self, parent: ShellPool, order: ChildOrder, now_us: int
    ) -> tuple[ShellPool, list[Event]]:
        """The events that the order means, and the pool that they are for."""
        child = order.child
        pool = self._pools.get(child.workflow)
        refusal = None
        if pool is None:
            refusal = f"workflow {child.workflow!r} is not in this shell: give it to TestShell(...)"
        elif not pool.workflow.active:
            refusal = f"workflow {child.workflow!r} takes no new instances (active=False)"
        if pool is None or refusal is not None:
            status = "cancelled" if child.cancelled else "failed"
            return parent, [_ended(order, status, error=refusal)]
        key = (parent.workflow.name, order.instance, child.leaf)
        origin = origin_of(order.instance, child.leaf)
        if not child.cancelled:
            self._awaited[key] = parent, order
            request = StartRequest(
                workflow=child.workflow,
                id=child.id,
                input=child.input,
                at_us=now_us,
                origin=origin,
                trace=order.trace,
            )
            return pool, [Started(request=request, token=0)]
        self._awaited[key] = parent, order
        found = pool.kernel.instances.get(child.id)
        if found is None or found.origin != origin or found.status.value in _OVER:
            return pool, []
        return pool, [CancelAsked(instance=child.id, reason="it is not awaited any more")]

    def ends(self) -> list[tuple[ShellPool, Event]]:
        """The ends of children that their parents are to be told now."""
        told: list[tuple[ShellPool, Event]] = []
        for key, (parent, order) in list(self._awaited.items()):
            child: ChildRecord = order.child
            found = self._pools[child.workflow].kernel.instances.get(child.id)
            if child.cancelled:
                event = _ended(order, "cancelled")  # it knows, durably
            elif found is None or found.status.value not in _OVER or _goes_on(found):
                continue
            else:
                error = (
                    None if found.error is None else f"{found.error.type}: {found.error.message}"
                )
                event = _ended(order, found.status.value, result=found.result, error=error)
            del self._awaited[key]
            told.append((parent, event))
        return told


def _goes_on(child: Instance) -> bool:
    """Whether a failed child is retried by itself, or its steps are still being undone."""
    return RETRY_TIMER in child.timers or (child.undoing is not None and bool(child.steps))


def _ended(
    order: ChildOrder, status: str, *, result: bytes | None = None, error: str | None = None
) -> ChildEnded:
    child = order.child
    done = ChildDone(child.leaf, child.id, status, result, error)
    return ChildEnded(instance=order.instance, done=done)
