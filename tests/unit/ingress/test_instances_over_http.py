"""Starting, reading, listing and awaiting instances over several pools."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.unit.ingress.fakes import ORDER, FakeEngine, as_json, call, catalogue, workflow
from tests.unit.ingress.served import JSON
from tests.unit.ingress.served import served as served_by

from raysume.storage.memory.calls import MemoryCallLog

POOL = "fulfil@v1/0"
INPUT = {"order": {"id": 7}, "user": "ann"}


@asynccontextmanager
async def served(**changes: Any) -> AsyncGenerator[tuple[httpx.AsyncClient, FakeEngine]]:
    engine = FakeEngine(MemoryCallLog(), catalogue(**changes))
    async with served_by(engine) as one:
        one.client.headers.update(JSON)
        yield one.client, engine


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert answer.headers["content-type"] == "application/problem+json"
    return body


async def test_an_instance_starts_once_for_an_id() -> None:
    async with served() as (client, engine):
        path = "/v1/workflows/fulfil/instances"
        first = await client.post(path, content=as_json({"input": INPUT, "id": "f7"}))
        expected = {"id": "f7", "workflow": "fulfil", "version": "v1", "status": "waiting"}
        assert (first.status_code, first.json()) == (201, expected)
        again = await client.post(path, content=as_json({"input": INPUT, "id": "f7"}))
        assert (again.status_code, again.json()) == (200, expected)
        assert engine.requests[0].at_us > 0


async def test_an_id_is_made_when_none_is_given() -> None:
    async with served() as (client, _):
        path = "/v1/workflows/fulfil/instances"
        ids = {
            (await client.post(path, content=as_json({"input": INPUT}))).json()["id"]
            for _ in range(3)
        }
        assert len(ids) == 3


async def test_an_id_used_by_an_older_version_returns_that_instance() -> None:
    entries = [
        workflow("fulfil", "fulfil@v1/0", active=False),
        workflow("fulfil", "fulfil@v2/0", version="v2"),
    ]
    async with served(workflows=entries) as (client, engine):
        engine.add("fulfil@v1/0", "f7", "fulfil", "2026-01-01T00:00:00+00:00")
        path = "/v1/workflows/fulfil/instances"
        answer = await client.post(path, content=as_json({"input": INPUT, "id": "f7"}))
        assert (answer.status_code, answer.json()["version"]) == (200, "v1")
        assert engine.requests == []


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"input": {"order": {"id": "x"}, "user": "a"}}, ["input.order.id"]),
        ({"input": {}}, ["input.order", "input.user"]),
        ({"input": 5}, ["input"]),
        ({"input": INPUT, "id": ""}, ["id"]),
        ({"input": INPUT, "id": 5}, ["id"]),
        ({"input": INPUT, "id": "x" * 201}, ["id"]),
        ({"input": INPUT, "extra": 1, "more": 2}, ["extra", "more"]),
        ([1], ["body"]),
    ],
)
async def test_input_that_does_not_fit_is_refused_naming_the_fields(
    body: Any, fields: list[str]
) -> None:
    async with served() as (client, engine):
        answer = await client.post("/v1/workflows/fulfil/instances", content=as_json(body))
        found = problem(answer, 422, "invalid-input")
        assert sorted(error["field"] for error in found["errors"]) == fields
        assert engine.requests == []


async def test_what_cannot_be_started_is_refused() -> None:
    entries = [workflow("old", "old@v1/0", active=False), *catalogue().workflows]
    async with served(workflows=entries) as (client, _):
        body = as_json({"input": INPUT})
        answer = await client.post("/v1/workflows/nothing/instances", content=body)
        problem(answer, 404, "not-found")
        answer = await client.post("/v1/workflows/approval/instances", content=body)
        problem(answer, 409, "started-by-calls")
        answer = await client.post("/v1/workflows/old/instances", content=body)
        problem(answer, 409, "inactive-workflow")
        answer = await client.post("/v1/workflows/fulfil/instances", content=b"[" * 5000)
        problem(answer, 400, "malformed")


async def test_an_instance_is_found_in_whichever_pool_has_it() -> None:
    async with served() as (client, engine):
        engine.add("approval@v1/0", "a1", "approval", "2026-01-01T00:00:00+00:00")
        answer = await client.get("/v1/instances/a1")
        assert (answer.status_code, answer.json()["workflow"]) == (200, "approval")
        state = (await client.get("/v1/instances/a1/state")).json()
        assert state["frames"][0]["locals"] == {"x": 1}
        problem(await client.get("/v1/instances/a2"), 404, "not-found")
        problem(await client.get("/v1/instances/a2/state"), 404, "not-found")
        problem(await client.get("/v1/instances/a2/result"), 404, "not-found")
        problem(await client.get("/v1/instances/a1?workflow=fulfil"), 404, "not-found")
        problem(await client.get("/v1/instances/a1?workflow=nothing"), 404, "not-found")


async def test_an_id_that_several_workflows_use_needs_the_workflow() -> None:
    async with served() as (client, engine):
        engine.add("approval@v1/0", "x", "approval", "2026-01-01T00:00:00+00:00")
        engine.add(POOL, "x", "fulfil", "2026-01-01T00:00:00+00:00")
        problem(await client.get("/v1/instances/x"), 409, "ambiguous-instance")
        answer = await client.get("/v1/instances/x?workflow=fulfil")
        assert answer.json()["workflow"] == "fulfil"


async def test_a_pool_that_restarts_makes_503_only_for_what_it_may_have() -> None:
    async with served() as (client, engine):
        engine.add(POOL, "f1", "fulfil", "2026-01-01T00:00:00+00:00")
        engine.away.add("approval@v1/0")
        assert (await client.get("/v1/instances/f1")).status_code == 200
        answer = await client.get("/v1/instances/unknown")
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "2"
        problem(await client.get("/v1/instances"), 503, "unavailable")
        assert (await client.get("/v1/instances?workflow=fulfil")).status_code == 200


async def test_a_result_is_passed_through_when_the_instance_has_ended() -> None:
    async with served() as (client, engine):
        engine.add(POOL, "f1", "fulfil", "2026-01-01T00:00:00+00:00")
        waiting = await client.get("/v1/instances/f1/result?wait=30")
        assert (waiting.status_code, waiting.json()) == (202, {"status": "waiting"})
        assert engine.waited_s == 30
        await client.get("/v1/instances/f1/result?wait=1e9")
        assert engine.waited_s == 60
        engine.results["f1"] = {"status": "completed", "result": b'{"n": 1}', "error": None}
        done = await client.get("/v1/instances/f1/result")
        assert (done.status_code, done.text) == (200, '{"status":"completed","result":{"n": 1}}')
        error = {"type": "ValueError", "message": "no"}
        engine.results["f1"] = {"status": "failed", "result": None, "error": error}
        failed = await client.get("/v1/instances/f1/result")
        assert (failed.status_code, failed.json()) == (200, {"status": "failed", "error": error})


@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "soon"])
async def test_an_impossible_wait_is_refused(wait: str) -> None:
    async with served() as (client, _):
        answer = await client.get(f"/v1/instances/f1/result?wait={wait}")
        assert problem(answer, 422, "bad-parameter")["errors"][0]["field"] == "wait"


async def test_pages_of_all_pools_are_merged_newest_first_without_gaps() -> None:
    async with served() as (client, engine):
        for n in range(25):
            pool, name = (POOL, "fulfil") if n % 3 else ("approval@v1/0", "approval")
            # Several start in one moment: the id decides.
            engine.add(pool, f"i{n:02}", name, f"2026-01-01T00:00:{n // 4:02}+00:00")
        seen: list[str] = []
        after: str | None = None
        while True:
            query = {"limit": "7", **({} if after is None else {"after": after})}
            body = (await client.get("/v1/instances", params=query)).json()
            seen += [row["id"] for row in body["items"]]
            after = body["next"]
            if after is None:
                break
            assert len(body["items"]) == 7
        assert seen == [f"i{n:02}" for n in reversed(range(25))]
        assert (await client.get("/v1/instances?status=failed")).json()["items"] == []


async def test_calls_are_listed_in_pages_and_found_by_id() -> None:
    async with served() as (client, _):
        batch = [call(n, id=f"c{n}") for n in range(10)]
        batch += [call(n, method="orders.paid", headers={"k": "v"}) for n in range(3)]
        await client.post("/v1/calls:batch", content=as_json(batch))
        seen: list[str] = []
        after: str | None = None
        while True:
            query = {"method": "orders.submitted", "limit": "4"}
            query |= {} if after is None else {"after": after}
            body = (await client.get("/v1/calls", params=query)).json()
            seen += [row["id"] for row in body["items"]]
            after = body["next"]
            if after is None:
                break
        assert seen == [f"c{n}" for n in range(10)]
        found = (await client.get("/v1/calls/c3")).json()
        assert (found["input"], found["output"]) == ({"order": {"id": 3}, "user": "ann"}, True)
        assert found["at"].endswith("+00:00")
        problem(await client.get("/v1/calls/none"), 404, "not-found")
        paid = (await client.get("/v1/calls?method=orders.paid&service=shop")).json()
        assert [row["headers"] for row in paid["items"]] == [{"k": "v"}] * 3
        assert (await client.get("/v1/calls?until=2020-01-01T00:00:00Z")).json()["items"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/calls?after=%21%21",
        "/v1/calls?after=gqFhAQ",
        "/v1/calls?limit=0",
        "/v1/calls?limit=1001",
        "/v1/calls?since=2026-01-01T00:00:00",
        "/v1/calls?surprise=1",
        "/v1/instances?after=xyz",
        "/v1/instances?status=asleep",
        "/v1/instances?tag=a",
        "/v1/workflows?x=1",
    ],
)
async def test_parameters_that_cannot_be_used_are_refused(path: str) -> None:
    async with served() as (client, _):
        problem(await client.get(path), 422, "bad-parameter")


async def test_ids_are_asked_for_with_true_or_false() -> None:
    async with served() as (client, _):
        answer = await client.post("/v1/calls:batch?ids=perhaps", content=as_json([call()]))
        problem(answer, 422, "bad-parameter")


async def test_workflows_and_versions_are_listed() -> None:
    async with served() as (client, _):
        workflows = (await client.get("/v1/workflows")).json()["items"]
        assert [one["name"] for one in workflows] == ["approval", "fulfil"]
        assert workflows[1]["input_schema"] == ORDER
        versions = (await client.get("/v1/versions")).json()["items"]
        assert [(one["workflow"], one["active"]) for one in versions] == [
            ("approval", True),
            ("fulfil", True),
        ]


async def test_unknown_paths_and_verbs_are_problems_too() -> None:
    async with served() as (client, _):
        problem(await client.get("/nothing"), 404, "not-found")
        problem(await client.delete("/v1/calls"), 405, "method-not-allowed")


async def test_an_unexpected_error_has_an_id_and_the_next_request_works() -> None:
    async with served() as (client, engine):
        engine.broken = RuntimeError("secret")
        answer = await client.get("/v1/instances/x")
        found = problem(answer, 500, "internal")
        assert found["id"] in found["detail"]
        assert "secret" not in answer.text
        engine.broken = None
        problem(await client.get("/v1/instances/x"), 404, "not-found")


async def test_without_a_log_health_says_so_and_calls_are_refused() -> None:
    log = MemoryCallLog()
    log.close()
    async with served_by(FakeEngine(log)) as one:
        health = await one.client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "unavailable")
        answer = await one.client.post("/v1/calls", content=as_json(call()))
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_a_workflow_is_scaled_over_http() -> None:
    async with served() as (client, engine):
        path = "/v1/workflows/fulfil:scale"
        answer = await client.post(path, content=as_json({"members": 3}))
        assert (answer.status_code, answer.json()["pool"]) == (200, POOL)
        await client.post(path, content=as_json({"members": 2, "version": "v1"}))
        assert engine.resized == [("fulfil", 3, None), ("fulfil", 2, "v1")]
        for members in (0, 17, "many"):
            refused = await client.post(path, content=as_json({"members": members}))
            assert "members" in problem(refused, 422, "invalid-input")["detail"]
        unknown = await client.post("/v1/workflows/none:scale", content=as_json({"members": 3}))
        problem(unknown, 404, "not-found")
        assert len(engine.resized) == 2
