"""Asking instances, and listing them by their tags."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.unit.ingress.fakes import FakeEngine
from tests.unit.ingress.served import Served, served

from raysume.storage.memory.calls import MemoryCallLog

POOL = "fulfil@v1/0"


@asynccontextmanager
async def asked() -> AsyncGenerator[Served]:
    engine = FakeEngine(MemoryCallLog())
    tags = ({"city": "Paris", "kind": "a:b"}, {"city": "Paris"}, {"city": "Rome"})
    for number, tagged in enumerate(tags):
        at = f"2026-01-01T00:00:0{number}+00:00"
        engine.add(POOL, f"i{number}", "fulfil", at, tags=tagged)
    async with served(engine) as one:
        yield one


def refused(answer: httpx.Response, status: int, code: str) -> str:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    return str(body["detail"])


async def test_a_query_is_answered_with_arguments_of_the_body_or_the_address() -> None:
    async with asked() as one:
        posted = await one.post("/v1/instances/i0/query/progress", {"input": {"n": [1]}})
        assert (posted.status_code, posted.json()) == (
            200,
            {"result": ["progress", {"n": [1]}, False]},
        )
        path = "/v1/instances/i0/query/progress"
        got = await one.client.get(path, params={"n": "1", "workflow": "fulfil"})
        assert got.json() == {"result": ["progress", {"n": "1"}, True]}
        empty = await one.post(path, b"")
        assert empty.json() == {"result": ["progress", {}, False]}


async def test_a_question_that_cannot_be_answered_is_a_problem() -> None:
    async with asked() as one:
        path = "/v1/instances/i0/query"
        gone = await one.client.get("/v1/instances/nobody/query/progress")
        refused(gone, 404, "not-found")
        assert "its queries are: progress" in refused(
            await one.client.get(f"{path}/unknown"), 404, "not-found"
        )
        assert "ZeroDivisionError" in refused(await one.client.get(f"{path}/broken"), 422, "usage")
        bodies: list[Any] = [{"input": 7}, {"inputs": {}}, []]
        for body in bodies:
            answer = await one.post(f"{path}/progress", body)
            assert answer.status_code == 422
        refused(await one.post(f"{path}/progress?n=1", {}), 422, "bad-parameter")
        one.engine.away.add(POOL)
        refused(await one.client.get(f"{path}/progress"), 503, "unavailable")


@pytest.mark.parametrize(
    ("tags", "ids"),
    [
        ([], ["i2", "i1", "i0"]),
        (["city:Paris"], ["i1", "i0"]),
        (["city:Paris", "kind:a:b"], ["i0"]),
        (["city:Berlin"], []),
    ],
)
async def test_instances_are_listed_by_tags(tags: list[str], ids: list[str]) -> None:
    async with asked() as one:
        answer = await one.client.get("/v1/instances", params={"tag": tags})
        assert [row["id"] for row in answer.json()["items"]] == ids


@pytest.mark.parametrize("tags", [["city"], [":Paris"], ["city:Paris", "city:Rome"]])
async def test_a_tag_that_no_instance_can_have_is_refused(tags: list[str]) -> None:
    async with asked() as one:
        answer = await one.client.get("/v1/instances", params={"tag": tags})
        assert "tag" in refused(answer, 422, "bad-parameter")
