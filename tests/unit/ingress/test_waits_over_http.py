"""Waits over HTTP: listed page by page over several pools, and calls explained."""

from __future__ import annotations

from typing import Any

from tests.unit.ingress.fakes import call
from tests.unit.ingress.served import served


def wait_of(instance: str | None, id: str, workflow: str, method: str) -> dict[str, Any]:
    return {
        "id": id,
        "instance": instance,
        "workflow": workflow,
        "version": "v1",
        "method": method,
        "name": None,
        "key": [],
        "exclusive": False,
        "times_out_at": None,
    }


async def test_waits_of_all_pools_are_listed_in_one_order_page_by_page() -> None:
    async with served() as one:
        one.engine.open_waits = {
            "fulfil@v1/0": [wait_of(f"i{n}", "1.1", "fulfil", "orders.paid") for n in (3, 1)],
            "approval@v1/0": [
                wait_of(None, "first.1", "approval", "orders.submitted"),
                wait_of("i2", "1.1", "approval", "orders.submitted"),
            ],
        }
        seen: list[Any] = []
        cursor: str | None = None
        for _ in range(3):
            query = {"limit": 2} | ({} if cursor is None else {"after": cursor})
            page = (await one.client.get("/v1/waits", params=query)).json()
            seen += [row["instance"] for row in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == [None, "i1", "i2", "i3"]
        only = await one.client.get("/v1/waits", params={"method": "orders.paid"})
        assert [row["instance"] for row in only.json()["items"]] == ["i1", "i3"]
        assert (await one.client.get("/v1/waits?workflow=nobody")).status_code == 404


async def test_waits_without_a_key_are_listed_alone_page_by_page() -> None:
    async with served() as one:
        rows = [wait_of(f"i{n}", "1.1", "fulfil", "orders.paid") for n in range(6)]
        for row in rows[1::2]:
            row["key"] = ["input.order"]
        one.engine.open_waits = {"fulfil@v1/0": rows}
        first = (await one.client.get("/v1/waits?keyless=true&limit=2")).json()
        assert [row["instance"] for row in first["items"]] == ["i0", "i2"]
        query = {"keyless": "true", "limit": 2, "after": first["next"]}
        rest = (await one.client.get("/v1/waits", params=query)).json()
        assert ([row["instance"] for row in rest["items"]], rest["next"]) == (["i4"], None)
        everything = (await one.client.get("/v1/waits?keyless=false")).json()
        assert len(everything["items"]) == 6
        assert (await one.client.get("/v1/waits?keyless=perhaps")).status_code == 422


async def test_a_call_is_explained_by_the_pools_that_await_its_method() -> None:
    async with served() as one:
        pushed = (await one.post("/v1/calls", call())).json()["id"]
        answer = await one.client.get(f"/v1/calls/{pushed}/explain")
        assert answer.status_code == 200
        explained = answer.json()
        assert (explained["call"], explained["method"]) == (pushed, "orders.submitted")
        assert [one["workflow"] for one in explained["waits"]] == ["approval"]
        assert "met no wait" in explained["summary"]


async def test_an_instance_of_a_workflow_that_does_not_subscribe_says_so() -> None:
    async with served() as one:
        one.engine.add("fulfil@v1/0", "f7", "fulfil", "2026-01-01T00:00:00+00:00")
        pushed = (await one.post("/v1/calls", call())).json()["id"]
        answer = await one.client.get(f"/v1/calls/{pushed}/explain", params={"instance": "f7"})
        [wait] = answer.json()["waits"]
        assert (wait["stage"], wait["instance"]) == ("subscribed", "f7")
        unknown = await one.client.get(f"/v1/calls/{pushed}/explain", params={"instance": "f8"})
        assert unknown.status_code == 404


async def test_a_call_that_was_never_accepted_cannot_be_explained() -> None:
    async with served() as one:
        answer = await one.client.get("/v1/calls/nothing/explain")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
