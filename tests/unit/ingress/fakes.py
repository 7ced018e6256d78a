"""An engine in memory that keeps the promises of a pool: ranges, watermarks, reading the log."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

from raysume.actors.kernel.deliveries import DeliveredCall, Delivery, StartAnswer, StartRequest
from raysume.errors import NotFound, NotRetriable, NotRewindable, Unavailable, UsageError
from raysume.explanations import WaitExplained
from raysume.serve_apps.ingress import Catalogue, FixedTokens, MethodEntry, Principal, WorkflowEntry
from raysume.storage.call_ports import CallLog

ORDER = {
    "type": "object",
    "properties": {
        "order": {
            "type": "object",
            "properties": {
                "id": {"type": "integer"},
                "at": {"type": "string", "format": "date-time"},
            },
            "required": ["id"],
        },
        "user": {"type": "string"},
    },
    "required": ["order", "user"],
    "additionalProperties": False,
}

TOKENS = FixedTokens(
    {
        "operator": Principal(kind="operator"),
        "shop": Principal(kind="service", service="shop"),
        "other": Principal(kind="service", service="other"),
    }
)


def method(urn: str, **changes: Any) -> MethodEntry:
    plain: dict[str, Any] = {
        "service": "shop",
        "external": False,
        "local_only": False,
        "input_schema": ORDER,
        "output_schema": None,
    }
    return MethodEntry(urn=urn, **{**plain, **changes})


def workflow(name: str, pool: str, **changes: Any) -> WorkflowEntry:
    plain: dict[str, Any] = {
        "name": name,
        "version": "v1",
        "pool": pool,
        "active": True,
        "has_parameters": True,
        "input_schema": ORDER,
        "subscribes": ["orders.submitted"],
    }
    return WorkflowEntry(**{**plain, **changes})


def catalogue(version: int = 1, **changes: Any) -> Catalogue:
    plain: dict[str, Any] = {
        "version": version,
        "generation": 1,
        "methods": {
            entry.urn: entry
            for entry in (
                method("orders.submitted", output_schema={"type": "boolean"}),
                method("orders.paid", external=True),
            )
        },
        "workflows": [
            workflow("fulfil", "fulfil@v1/0"),
            workflow("approval", "approval@v1/0", has_parameters=False, input_schema=None),
        ],
        "pools": {
            "approval@v1/0": frozenset({"orders.submitted"}),
            "fulfil@v1/0": frozenset({"orders.paid"}),
        },
    }
    return Catalogue(**{**plain, **changes})


class Pool:
    """What a pool has received: it drops what it has, and reads what it lacks from the log."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.watermarks: dict[int, int] = {}
        self.calls: list[str] = []
        """Ids of the calls it took, in the order it took them."""
        self.away = 0
        """Deliveries still to be refused."""
        self.backlog = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.under_way = self.under_way_max = 0
        """Deliveries that wait for an answer, now and at most."""

    def take(self, delivery: Delivery, log: CallLog, urns: frozenset[str]) -> None:
        self.deliveries.append(delivery)
        mark = self.watermarks.get(delivery.partition, 0)
        if delivery.end > mark:
            if delivery.catalogue == 0 or delivery.start > mark:
                for segment in log.read(delivery.partition, start=mark, end=delivery.end):
                    self.calls += [call.id for call in segment.calls if call.method in urns]
            else:
                self.calls += [one.call.id for one in delivery.calls if one.offset >= mark]
            self.watermarks[delivery.partition] = delivery.end


class FakeEngine:
    def __init__(self, log: CallLog, first: Catalogue | None = None) -> None:
        self.log = log
        self.current = first if first is not None else catalogue()
        self.changed = asyncio.Event()
        self.pools: dict[str, Pool] = {}
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.requests: list[StartRequest] = []
        self.commands: list[tuple[str, str, str]] = []
        self.points: list[tuple[str, dict[str, Any]]] = []
        self.open_waits: dict[str, list[dict[str, Any]]] = {}
        self.away: set[str] = set()
        self.broken: Exception | None = None
        self.waited_s = 0.0
        self.resized: list[tuple[str, int, str | None]] = []

    def pool(self, name: str) -> Pool:
        return self.pools.setdefault(name, Pool())

    def deploy(self, new: Catalogue) -> None:
        self.current = new
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def catalogue(self, known: int) -> Catalogue:
        while self.current.version == known:
            await self.changed.wait()
        return self.current

    async def deliver(self, pool: str, delivery: bytes) -> int:
        there = self.pool(pool)
        there.arrived.set()
        there.under_way += 1
        there.under_way_max = max(there.under_way_max, there.under_way)
        try:
            await there.gate.wait()
        finally:
            there.under_way -= 1
        if there.away:
            there.away -= 1
            raise Unavailable(f"{pool} restarts")
        urns = self.current.pools.get(pool, frozenset())
        there.take(msgspec.msgpack.decode(delivery, type=Delivery), self.log, urns)
        return there.backlog

    def _check(self, pool: str) -> None:
        if self.broken is not None:
            raise self.broken
        if pool in self.away:
            raise Unavailable(f"{pool} restarts", retry_after=2)

    async def resize(self, workflow: str, members: int, version: str | None) -> dict[str, Any]:
        """See `Engine`."""
        found = [one for one in self.current.workflows if one.name == workflow]
        if not found:
            raise NotFound(f"there is no deployed workflow {workflow!r}.")
        self.resized.append((workflow, members, version))
        return {"pool": found[0].pool, "version": found[0].version, "members": {}}

    async def start(self, pool: str, request: bytes) -> bytes:
        self._check(pool)
        asked = msgspec.msgpack.decode(request, type=StartRequest)
        self.requests.append(asked)
        id = asked.id or f"made-{len(self.rows)}"
        created = (pool, id) not in self.rows
        if created:
            self.add(pool, id, asked.workflow, f"2026-01-01T00:00:{len(self.rows):02}+00:00")
        return msgspec.msgpack.encode(
            StartAnswer(
                id=id,
                workflow=asked.workflow,
                version="v1",
                status="waiting",
                created=created,
            )
        )

    def add(self, pool: str, id: str, workflow: str, started_at: str, **more: Any) -> None:
        self.rows[pool, id] = {
            "id": id,
            "workflow": workflow,
            "version": "v1",
            "status": "waiting",
            "started_at": started_at,
            "updated_at": started_at,
            "error": None,
            "waits": [],
            "tags": {},
            **more,
        }

    async def describe(self, pool: str, id: str) -> dict[str, Any] | None:
        self._check(pool)
        return self.rows.get((pool, id))

    async def command(self, pool: str, id: str, kind: str, reason: str) -> dict[str, Any] | None:
        self._check(pool)
        row = self.rows.get((pool, id))
        if row is None:
            return None
        self.commands.append((id, kind, reason))
        if kind == "retry" and row["status"] != "failed":
            raise NotRetriable(f"instance {id!r} is {row['status']}")
        row["status"] = "cancelled" if kind == "cancel" else "waiting"
        return row

    async def rewind(self, pool: str, id: str, asked: bytes) -> dict[str, Any] | None:
        self._check(pool)
        row = self.rows.get((pool, id))
        if row is None:
            return None
        point = json.loads(asked)
        if point["to"] == "nowhere":
            raise NotFound("the instance never stood at 'nowhere'.")
        if point["to"] == "undone":
            raise NotRewindable("it was undone since.")
        self.points.append((id, point))
        row["status"] = "waiting"
        return row

    async def fork(self, pool: str, id: str, asked: bytes) -> bytes | None:
        self._check(pool)
        row = self.rows.get((pool, id))
        if row is None:
            return None
        point = json.loads(asked)
        self.points.append((id, point))
        created = (pool, point["id"]) not in self.rows
        if created:
            self.add(pool, point["id"], row["workflow"], row["started_at"])
        return msgspec.msgpack.encode(
            StartAnswer(
                id=point["id"],
                workflow=row["workflow"],
                version="v1",
                status="waiting",
                created=created,
            )
        )

    async def history(
        self, pool: str, id: str, before: tuple[int, int] | None, limit: int
    ) -> dict[str, Any] | None:
        self._check(pool)
        if (pool, id) not in self.rows:
            return None
        turns = [n for n in range(5, 0, -1) if before is None or (n, 0) < before]
        last = (turns[limit - 1], 0) if len(turns) > limit else None
        return {"items": [{"turn": n} for n in turns[:limit]], "next": last}

    async def state(self, pool: str, id: str) -> dict[str, Any] | None:
        self._check(pool)
        if (pool, id) not in self.rows:
            return None
        return {"frames": [{"definition": "fulfil", "file": "f.py", "line": 3, "locals": {"x": 1}}]}

    async def query(
        self, pool: str, id: str, name: str, arguments: bytes, is_text: bool
    ) -> bytes | None:
        self._check(pool)
        if (pool, id) not in self.rows:
            return None
        if name == "unknown":
            raise NotFound("there is no query 'unknown'; its queries are: progress.")
        if name == "broken":
            raise UsageError("query 'broken' raised ZeroDivisionError.")
        return as_json([name, json.loads(arguments), is_text])

    async def result(self, pool: str, id: str, wait_s: float) -> dict[str, Any] | None:
        self._check(pool)
        if (pool, id) not in self.rows:
            return None
        self.waited_s = wait_s
        return self.results.get(id, {"status": "waiting"})

    async def explain(self, pool: str, call: bytes, id: str | None) -> bytes:
        self._check(pool)
        item = msgspec.msgpack.decode(call, type=DeliveredCall)
        return msgspec.msgpack.encode(
            [
                WaitExplained(
                    workflow=pool.partition("@")[0],
                    version="v1",
                    instance=id,
                    stage="key",
                    reason=f"{item.call.method} has another key.",
                )
            ]
        )

    async def waits(self, pool: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        self._check(pool)
        after = query["after"]
        rows = [
            row
            for row in self.open_waits.get(pool, [])
            if query["instance"] in (None, row["instance"])
        ]
        rows = [row for row in rows if query["method"] in (None, row["method"])]
        rows = [row for row in rows if not (query["keyless"] and row["key"])]
        places = [
            (row["instance"] or "", row["id"], f"{row['workflow']}@{row['version']}")
            for row in rows
        ]
        found = [
            row
            for place, row in sorted(zip(places, rows, strict=True), key=lambda one: one[0])
            if after is None or place > tuple(after)
        ]
        return found[: query["limit"]]

    async def instances(self, pool: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        self._check(pool)
        rows = [row for (where, _), row in self.rows.items() if where == pool]
        rows.sort(key=lambda row: (row["started_at"], row["id"]), reverse=True)
        if query["status"] is not None:
            rows = [row for row in rows if row["status"] == query["status"]]
        rows = [row for row in rows if query["tags"].items() <= row["tags"].items()]
        if query["after"] is not None:
            rows = [row for row in rows if [row["started_at"], row["id"]] < query["after"]]
        return rows[: query["limit"]]


def call(number: int = 1, **changes: Any) -> dict[str, Any]:
    plain = {
        "method": "orders.submitted",
        "input": {"order": {"id": number}, "user": "ann"},
        "output": True,
    }
    return {**plain, **changes}


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
