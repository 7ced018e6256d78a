"""Rewinding, forking and the history of instances over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.ingress.fakes import FakeEngine, as_json
from tests.unit.ingress.test_instances_over_http import POOL, problem, served

STARTED = "2026-01-01T00:00:00+00:00"


def failed(engine: FakeEngine, id: str = "f7") -> None:
    engine.add(POOL, id, "fulfil", STARTED, status="failed")


async def test_a_rewind_reaches_the_instance() -> None:
    async with served() as (client, engine):
        failed(engine)
        body = {"to": "paid", "set": {"x": [1]}, "reason": "wrong price"}
        answer = await client.post("/v1/instances/f7:rewind", content=as_json(body))
        assert (answer.status_code, answer.json()["status"]) == (200, "waiting")
        answer = await client.post("/v1/instances/f7:rewind", content=as_json({"to": 3}))
        assert answer.status_code == 200
        assert engine.points == [("f7", body), ("f7", {"to": 3, "set": {}, "reason": ""})]


async def test_a_fork_is_a_new_instance_once() -> None:
    async with served() as (client, engine):
        failed(engine)
        body = as_json({"at": "paid", "id": "f8"})
        answer = await client.post("/v1/instances/f7:fork", content=body)
        assert (answer.status_code, answer.json()["id"]) == (201, "f8")
        answer = await client.post("/v1/instances/f7:fork", content=body)
        assert (answer.status_code, answer.json()["id"]) == (200, "f8")
        made = (await client.post("/v1/instances/f7:fork")).json()["id"]
        assert made not in ("f7", "f8", "")
        assert engine.points[2] == ("f7", {"to": None, "set": {}, "reason": "", "id": made})


async def test_points_that_cannot_be_gone_back_to_are_refused() -> None:
    async with served() as (client, engine):
        failed(engine)
        path = "/v1/instances/f7:rewind"
        problem(await client.post(path, content=as_json({"to": "nowhere"})), 404, "not-found")
        problem(await client.post(path, content=as_json({"to": "undone"})), 409, "not-rewindable")
        problem(
            await client.post("/v1/instances/f9:rewind", content=as_json({"to": 1})),
            404,
            "not-found",
        )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "to"),
        ({"to": []}, "to"),
        ({"to": "a", "set": [1]}, "set"),
        ({"to": "a", "why": 1}, "why"),
        ({"to": "a", "reason": 5}, "reason"),
    ],
)
async def test_a_rewind_with_another_body_is_refused(body: Any, field: str) -> None:
    async with served() as (client, engine):
        failed(engine)
        answer = await client.post("/v1/instances/f7:rewind", content=as_json(body))
        found = problem(answer, 422, "invalid-input")
        assert found["errors"][0]["field"] == field
        assert engine.points == []


async def test_history_comes_in_pages() -> None:
    async with served() as (client, engine):
        failed(engine)
        first = (await client.get("/v1/instances/f7/history?limit=2")).json()
        assert [turn["turn"] for turn in first["items"]] == [5, 4]
        path = f"/v1/instances/f7/history?limit=3&after={first['next']}"
        second = (await client.get(path)).json()
        assert ([turn["turn"] for turn in second["items"]], second["next"]) == ([3, 2, 1], None)
        problem(await client.get("/v1/instances/f9/history"), 404, "not-found")
        problem(await client.get("/v1/instances/f7/history?after=x"), 422, "bad-parameter")
