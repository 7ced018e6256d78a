"""Child workflows over Ray: started in their own pools, awaited and cancelled there."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import structlog

from raysume import ids, limits
from raysume.actors.kernel.children import origin_of
from raysume.actors.kernel.commits import ChildEnded, ChildOrder
from raysume.actors.kernel.deliveries import StartRequest
from raysume.actors.kernel.records import ChildDone, ChildRecord
from raysume.actors.membership import Assignment, assigned
from raysume.actors.untyped import RayError, RayTaskError, actor_named, cause_of
from raysume.errors import RaysumeError, Unavailable
from raysume.storage.ports import Store

_log = structlog.get_logger("raysume.pool")

_OVER = frozenset({"completed", "failed", "cancelled"})


class Families:
    """Follows the children of a pool's instances, in whatever pools they are.

    Args:
        store: has the assignments of shards to members.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._assignments: dict[str, Assignment] = {}

    async def follow(self, order: ChildOrder) -> ChildEnded:
        """The end of the child, however long it takes, through restarts and moves of its shard.

        Whatever is asked may be asked again: a start gives the same instance, a cancelled one
        stays cancelled.
        """
        backoff_s = limits.RETRY_BACKOFF_S_MIN
        while True:
            try:
                return await self._asked(order)
            except RayTaskError as error:
                cause = cause_of(error)
                if cause is not None and not isinstance(cause, Unavailable):
                    return _refused(order, cause)
                reason = str(cause or error)
            except (RayError, Unavailable, ValueError) as error:  # ValueError: no such actor yet
                reason = str(error)
            self._assignments.clear()
            _log.warning("child_not_reached", child=order.child.id, reason=reason)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, limits.RETRY_BACKOFF_S_MAX)

    async def _member_of(self, child: ChildRecord) -> Any:
        """The actor that has the child's shard, as far as is known here."""
        pool = f"{child.workflow}@{child.version}"
        found = self._assignments.get(pool)
        if found is None:
            read = await asyncio.to_thread(assigned, self._store, f"{pool}/0")
            found = self._assignments[pool] = read or Assignment.spread(1)
        return actor_named(f"{pool}/{found.owners[ids.shard_of(child.id, limits.SHARDS)]}")

    async def _asked(self, order: ChildOrder) -> ChildEnded:
        child = order.child
        member = await self._member_of(child)
        origin = origin_of(order.instance, child.leaf)
        if child.cancelled:
            found = await member.describe.remote(child.id)
            if found is not None and found["started_by"] == origin and found["status"] not in _OVER:
                await member.command.remote(child.id, "cancel", "it is not awaited any more")
            return _ended(order, "cancelled")
        request = StartRequest(
            workflow=child.workflow,
            id=child.id,
            input=child.input,
            at_us=time.time_ns() // 1_000,
            origin=origin,
            trace=order.trace,
        )
        await member.start.remote(msgspec.msgpack.encode(request))
        while True:
            found = await member.result.remote(child.id, limits.LONG_POLL_S)
            if found is None:
                return _ended(order, "failed", error="the instance was deleted")
            if found["status"] in _OVER and found["retry_at"] is None:
                error: dict[str, Any] | None = found["error"]
                told = None if error is None else f"{error['type']}: {error['message']}"
                return _ended(order, found["status"], result=found["result"], error=told)


def _refused(order: ChildOrder, cause: RaysumeError) -> ChildEnded:
    """The child cannot be started as it was asked for; asking again would not help."""
    return _ended(order, "cancelled" if order.child.cancelled else "failed", error=cause.message)


def _ended(
    order: ChildOrder, status: str, *, result: bytes | None = None, error: str | None = None
) -> ChildEnded:
    child = order.child
    done = ChildDone(child.leaf, child.id, status, result, error)
    return ChildEnded(instance=order.instance, done=done)
