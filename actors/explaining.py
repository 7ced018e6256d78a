"""What a pool tells about waits: which there are, and why a call did not meet one."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from raysume import limits
from raysume.actors.hosting import PoolHost
from raysume.actors.kernel import explaining
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.actors.kernel.instances import Instance
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.points import record_before
from raysume.actors.kernel.records import WaitRecord
from raysume.actors.kernel.schedules import KEEPER
from raysume.actors.kernel.waiters import Waiting, holders_in
from raysume.actors.readings import Readings
from raysume.actors.waking import looked_at
from raysume.explanations import WaitExplained

_SLICE = 500
"""Instances looked at between two looks at other work: a few milliseconds."""


async def explain(
    host: PoolHost, readings: Readings, item: DeliveredCall, id: str | None
) -> list[WaitExplained]:
    """How far an accepted call came with the pool's waits, or with those of one instance.

    Args:
        id: of the instance; nothing is said when the pool has none with this id.
    """
    await host.flushed()
    if id is None:
        return explaining.explain(host.kernel, item)
    instance = host.kernel.instances.peek(id)
    if instance is None:
        record = await readings.record(id)
        instance = None if record is None else Instance.of(record, shard=0)
    if instance is None:
        return []
    past = await readings.past_of(instance.record())
    place = (item.pos, item.offset)
    then = await asyncio.to_thread(record_before, ((one.newest, one.record) for one in past), place)
    return explaining.explain(host.kernel, item, instance, then=then)


async def waits(host: PoolHost, query: dict[str, Any]) -> list[dict[str, Any]]:
    """A page of open waits by (instance, wait) (see `Engine.waits`).

    The standing first waits are told once, by the member that owns the first shard.
    """
    await host.flushed()
    kernel, wanted = host.kernel, query.get("instance")
    found: list[dict[str, Any]] = []
    if wanted is None and KEEPER in kernel.shards:
        found.extend(
            _row(host, None, number, wait) for number, wait in enumerate(kernel.standing.waits)
        )
    after = query.get("after")
    if wanted is not None:
        ids = [wanted]
    elif query.get("keyless"):
        groups = kernel.index.without_key(query.get("method"))
        ids = await asyncio.to_thread(_keyless_from, groups, after[0] if after else "")
    else:
        ids = await asyncio.to_thread(_from, list(kernel.instances), after[0] if after else "")
    limit = min(query.get("limit") or limits.PAGE_ROWS_MAX, limits.POOL_ROWS_MAX)
    found = list(_fitting(found, query))
    for at in range(0, len(ids), _SLICE):
        if len(found) >= limit:
            break
        instances = await looked_at(host, ids[at : at + _SLICE])
        found.extend(_fitting(_rows(host, instances), query))
        await asyncio.sleep(0)
    return heapq.nsmallest(limit, found, key=place_of)


def _from(ids: list[str], first: str) -> list[str]:
    """In order, those that are not before the first."""
    return sorted(id for id in ids if id >= first)


def _keyless_from(groups: list[Waiting], first: str) -> list[str]:
    """The same of those that have a wait without a key, and of the standing waits' holder."""
    return _from(list(holders_in(groups)), first)


def place_of(row: dict[str, Any]) -> tuple[str, str, str]:
    """Where a wait stands in a listing."""
    return row["instance"] or "", row["id"], f"{row['workflow']}@{row['version']}"


def _fitting(rows: Iterable[dict[str, Any]], query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    after, method, keyless = query.get("after"), query.get("method"), query.get("keyless")
    for row in rows:
        if keyless and row["key"]:
            continue
        if method is not None and row["method"] != method:
            continue
        if after is None or place_of(row) > tuple(after):
            yield row


def _rows(host: PoolHost, instances: Iterable[Instance]) -> Iterator[dict[str, Any]]:
    for instance in instances:
        if instance.is_active:
            for number, wait in enumerate(instance.waits.values()):
                yield _row(host, instance, number, wait)


def _row(
    host: PoolHost, instance: Instance | None, number: int, wait: WaitRecord
) -> dict[str, Any]:
    due_us = None if instance is None else instance.timers.get(wait.id)
    return {
        "id": wait.id if instance is not None else f"first.{number + 1}",
        "instance": None if instance is None else instance.id,
        "workflow": host.workflow.name,
        "version": host.version,
        "method": wait.method,
        "name": wait.name,
        "key": list(wait.shape),
        "exclusive": wait.exclusive,
        "times_out_at": None if due_us is None else moment(due_us).isoformat(),
    }
