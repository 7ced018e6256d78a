"""Cancelling and retrying instances over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.ingress.fakes import FakeEngine, as_json
from tests.unit.ingress.test_instances_over_http import POOL, problem, served

STARTED = "2026-01-01T00:00:00+00:00"


def failed(engine: FakeEngine, id: str = "f7") -> None:
    engine.add(POOL, id, "fulfil", STARTED, status="failed", failures=1)


async def test_a_command_reaches_the_instance_with_its_reason() -> None:
    async with served() as (client, engine):
        failed(engine)
        path = "/v1/instances/f7:retry"
        answer = await client.post(path, content=as_json({"reason": "paper is in again"}))
        assert (answer.status_code, answer.json()["status"]) == (200, "waiting")
        answer = await client.post("/v1/instances/f7:cancel?workflow=fulfil")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert engine.commands == [("f7", "retry", "paper is in again"), ("f7", "cancel", "")]


async def test_an_id_may_contain_a_colon() -> None:
    async with served() as (client, engine):
        failed(engine, "order:7")
        answer = await client.post("/v1/instances/order:7:cancel")
        assert (answer.status_code, answer.json()["id"]) == (200, "order:7")


async def test_what_has_not_failed_is_not_retried() -> None:
    async with served() as (client, engine):
        engine.add(POOL, "f7", "fulfil", STARTED)
        problem(await client.post("/v1/instances/f7:retry"), 409, "not-retriable")


async def test_an_instance_that_is_not_there_is_said_so() -> None:
    async with served() as (client, _):
        problem(await client.post("/v1/instances/f7:cancel"), 404, "not-found")


@pytest.mark.parametrize(
    ("body", "field"), [({"reason": 5}, "reason"), ({"why": "x"}, "why"), ([1], "body")]
)
async def test_a_command_with_another_body_is_refused(body: Any, field: str) -> None:
    async with served() as (client, engine):
        failed(engine)
        answer = await client.post("/v1/instances/f7:retry", content=as_json(body))
        found = problem(answer, 422, "invalid-input")
        assert found["errors"][0]["field"] == field
        assert engine.commands == []


async def test_a_failed_instance_that_is_retried_by_itself_has_not_ended() -> None:
    async with served() as (client, engine):
        failed(engine)
        engine.results["f7"] = {"status": "failed", "error": None, "retry_at": STARTED}
        answer = await client.get("/v1/instances/f7/result")
        assert (answer.status_code, answer.json()["retry_at"]) == (202, STARTED)
