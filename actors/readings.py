"""What a pool tells about its instances: descriptions, states, results, listings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec

from raysume import ids, limits
from raysume.actors.history import Past, Position
from raysume.actors.hosting import PoolHost
from raysume.actors.kernel.moments import moment
from raysume.actors.kernel.parting import check_owned
from raysume.actors.kernel.questions import answer, state_of
from raysume.actors.kernel.records import InstanceRecord
from raysume.actors.kernel.status import Status
from raysume.actors.kernel.timers import RETRY_TIMER
from raysume.actors.showing import error_shown, state_shown, turn_shown
from raysume.storage.ports import InstanceQuery, Store

_ENDED = frozenset({Status.COMPLETED.value, Status.CANCELLED.value, Status.FAILED.value})


class Readings:
    """Reads one pool. Every answer shows only what is durable."""

    def __init__(self, host: PoolHost) -> None:
        self._host = host

    async def describe(self, id: str) -> dict[str, Any] | None:
        """The instance, or None when the pool has none with this id."""
        record = await self.record(id)
        return None if record is None else self._description(record)

    async def state(self, id: str) -> dict[str, Any] | None:
        """The instance's frames with file, line, wait and local variables, or None."""
        record = await self.record(id)
        if record is None:
            return None
        return {"id": id, "status": record.status, "turn": record.turn, **state_shown(record)}

    async def history(self, id: str, before: Position | None, limit: int) -> dict[str, Any] | None:
        """A page of the instance's turns, newest first (see `Engine.history`)."""
        record = await self.record(id)
        if record is None:
            return None
        past = await self.past_of(record, before=before)

        def page() -> list[Past]:
            return list(islice((one for one in past if one.turn.cause is not None), limit + 1))

        found = await asyncio.to_thread(page)
        return {
            "items": [turn_shown(one) for one in found[:limit]],
            "next": found[limit - 1].position if len(found) > limit else None,
        }

    async def past_of(
        self, record: InstanceRecord, *, before: Position | None = None
    ) -> Iterator[Past]:
        """The durable turns of an instance, newest first, to be read in a thread."""
        host = self._host
        await host.flushed()
        shard = ids.shard_of(record.id, limits.SHARDS)
        return host.journal.past_of(shard, record.number, before=before)

    async def query(self, id: str, name: str, arguments: bytes, is_text: bool) -> bytes | None:
        """The answer of a query as JSON, or None when the pool has no such instance.

        Args:
            arguments: JSON by parameter name; with `is_text`, all values are texts.

        Raises:
            NotFound: there is no such query.
            UsageError: the arguments are not the query's, or it raised.
        """
        record = await self.record(id)
        if record is None:
            return None
        given = msgspec.json.decode(arguments, type=dict[str, str]) if is_text else arguments
        workflow = self._host.workflow
        return await asyncio.to_thread(answer, workflow, state_of(record), name, given)

    async def result(self, id: str, wait_s: float) -> dict[str, Any] | None:
        """The end of the instance, once it has come or `wait_s` has passed; None: no such instance."""
        record = await self.record(id)
        if record is not None and not _has_ended(record) and wait_s > 0:
            await self._host.endings.of(id, min(wait_s, limits.RESULT_WAIT_S_MAX))
            record = await self.record(id)
        if record is None:
            return None
        return {
            "status": record.status,
            "result": record.result,
            "error": error_shown(record),
            "retry_at": _retry_at(record),
        }

    async def instances(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """A page of instances, newest first (see `Engine.instances`)."""
        host = self._host
        if query.get("workflow") not in (None, host.workflow.name):
            return []
        if host.journal.dirty or host.has_uncommitted:
            await host.flushed()
            await host.checkpoint()
        after = query.get("after")
        limit = min(query.get("limit") or limits.PAGE_ROWS_MAX, limits.POOL_ROWS_MAX)
        asked = InstanceQuery(
            workflow=host.workflow.name,
            version=host.version,
            status=query.get("status"),
            since=_moment(query.get("since")),
            until=_moment(query.get("until")),
            tags=query.get("tags") or {},
            after=None if after is None else (datetime.fromisoformat(after[0]), after[1]),
            limit=limit,
        )
        records = await host.in_store(lambda store: self._own(store, asked))
        return [self._description(record) for record in records]

    async def instances_by_shards(
        self, query: dict[str, Any]
    ) -> tuple[list[int], list[dict[str, Any]]]:
        """The shards that this member owned all the while, and what `instances` gives of them."""
        while True:
            before = sorted(self._host.kernel.shards)
            rows = await self.instances(query)
            if sorted(self._host.kernel.shards) == before:
                return before, rows

    def _own(self, store: Store, asked: InstanceQuery) -> list[InstanceRecord]:
        """A page of this member's instances: the rows of others are read and passed over."""
        journal = self._host.journal
        found: list[InstanceRecord] = []
        while True:
            rows = store.list_instances(asked)
            found += [journal.read_row(row) for row in rows if journal.writes(row.shard)]
            if len(found) >= asked.limit or len(rows) < asked.limit:
                return found
            asked = replace(asked, after=(rows[-1].started_at, rows[-1].id))

    def _description(self, record: InstanceRecord) -> dict[str, Any]:
        return {
            "id": record.id,
            "workflow": self._host.workflow.name,
            "version": self._host.version,
            "status": record.status,
            "turn": record.turn,
            "started_at": moment(record.started_us).isoformat(),
            "updated_at": moment(record.updated_us).isoformat(),
            "error": error_shown(record),
            "failures": record.failures,
            "retry_at": _retry_at(record),
            "undoing": record.undoing,
            "result": None if record.result is None else msgspec.Raw(record.result),
            "waits": [
                {"id": wait.id, "name": wait.name, "method": wait.method} for wait in record.waits
            ],
            "tags": record.tags,
            "started_by": record.origin,
        }

    async def record(self, id: str) -> InstanceRecord | None:
        """The instance as saved, or None when the pool has none with this id.

        Raises:
            ShardMoved: another member of the pool would know.
        """
        host = self._host
        check_owned(host.kernel, id)
        while host.is_changing(id):
            await host.flushed()
        instances = host.kernel.instances
        if id not in instances.cold and (found := instances.peek(id)) is not None:
            return found.record()
        rows = await host.in_store(
            lambda store: store.find_instance(id, workflow=host.workflow.name)
        )
        check_owned(host.kernel, id)
        mine = [row for row in rows if row.version == host.version]
        return host.journal.read_row(mine[0]) if mine else None


def _has_ended(record: InstanceRecord) -> bool:
    """Whether nothing happens with it any more unless somebody asks for it."""
    return record.status in _ENDED and _retry_at(record) is None


def _retry_at(record: InstanceRecord) -> str | None:
    """When the failed instance is retried by its workflow's own policy."""
    for timer in record.timers:
        if timer.id == RETRY_TIMER:
            return moment(timer.due_us).isoformat()
    return None


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
