"""Calls through the app, without a socket: what is accepted, and what is a duplicate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
from tests.unit.ingress.fakes import as_json, call
from tests.unit.ingress.served import NDJSON, OPERATOR, served

from raysume.ids import uuid7
from raysume.storage.call_ports import CallQuery

# --- accepted ----------------------------------------------------------------------


async def test_an_accepted_call_is_stored_and_delivered_to_the_pool_that_awaits_it() -> None:
    async with served() as one:
        answer = await one.post("/v1/calls", call())
        assert answer.status_code == 202
        id = answer.json()["id"]
        assert one.stored() == [id]
        await one.ingress.all_delivered()
        assert one.engine.pool("approval@v1/0").calls == [id]
        assert one.engine.pool("fulfil@v1/0").calls == []


async def test_a_call_belongs_to_the_service_of_its_method_whatever_the_headers_say() -> None:
    async with served() as one:
        await one.post("/v1/calls", call(), headers={"Raysume-Service": "evil"})
        [found] = one.log.list_calls(CallQuery())
        assert found.call.service == "shop"


async def test_input_and_output_are_stored_as_the_bytes_that_were_sent() -> None:
    async with served() as one:
        body = b'{"method":"orders.paid","input": {"user":"\\u00e9", "order":{"id":1e0}},"output":null}'
        assert (await one.post("/v1/calls", body)).status_code == 202
        [found] = one.log.list_calls(CallQuery())
        assert found.call.input == b'{"user":"\\u00e9", "order":{"id":1e0}}'
        assert found.call.output == b"null"


async def test_a_call_without_output_carries_none() -> None:
    async with served() as one:
        body = call()
        del body["output"]
        assert (await one.post("/v1/calls", body)).status_code == 202
        [found] = one.log.list_calls(CallQuery())
        assert found.call.output is None


async def test_numbers_beyond_64_bits_are_kept() -> None:
    async with served() as one:
        assert (await one.post("/v1/calls", call(2**200))).status_code == 202
        [found] = one.log.list_calls(CallQuery())
        assert json.loads(found.call.input)["order"]["id"] == 2**200


async def test_a_naive_time_fits_because_a_datetime_field_takes_it() -> None:
    async with served() as one:
        body = call(input={"order": {"id": 1, "at": "2013-02-08T05:15:00"}, "user": "ann"})
        assert (await one.post("/v1/calls", body)).status_code == 202


async def test_a_batch_is_accepted_in_its_order() -> None:
    async with served() as one:
        batch = [call(n, id=f"c{n}") for n in range(50)]
        answer = await one.post("/v1/calls:batch?ids=true", batch)
        assert answer.status_code == 202
        ids = [f"c{n}" for n in range(50)]
        assert answer.json() == {"accepted": 50, "duplicates": 0, "ids": ids}
        assert one.stored() == ids


async def test_lines_are_accepted_in_their_order_even_when_cut_anywhere() -> None:
    async with served() as one:
        lines = b"\r\n\n".join(as_json(call(n, id=f"c{n}")) for n in range(20))

        async def bytes_by_seven() -> AsyncGenerator[bytes]:
            for at in range(0, len(lines), 7):
                yield lines[at : at + 7]

        answer = await one.client.post(
            "/v1/calls:batch", content=bytes_by_seven(), headers={**OPERATOR, **NDJSON}
        )
        assert answer.status_code == 202, answer.text
        assert answer.json() == {"accepted": 20, "duplicates": 0}
        assert one.stored() == [f"c{n}" for n in range(20)]


async def test_an_empty_batch_is_accepted_and_stores_nothing() -> None:
    async with served() as one:
        answer = await one.post("/v1/calls:batch", b"[]")
        assert (answer.status_code, answer.json()) == (202, {"accepted": 0, "duplicates": 0})
        assert one.stored() == []


async def test_many_checked_in_slices_keep_their_indexes() -> None:
    async with served() as one:
        batch = [call(n) for n in range(1200)]
        batch[1100] = call(input={"user": "ann"})
        problem = one.refused(await one.post("/v1/calls:batch", batch), 422, "invalid-call")
        assert problem["errors"] == [
            {"item": 1100, "field": "input.order", "message": "is missing"}
        ]


# --- duplicates --------------------------------------------------------------------


async def test_a_repeated_id_with_the_same_body_answers_200_duplicate() -> None:
    async with served() as one:
        first = await one.post("/v1/calls", call(id="c1"))
        assert (first.status_code, first.json()) == (202, {"id": "c1"})
        spaced = json.dumps(call(id="c1"), indent=3).encode()
        again = await one.post("/v1/calls", spaced)
        assert (again.status_code, again.json()) == (200, {"id": "c1", "duplicate": True})
        assert one.stored() == ["c1"]


async def test_a_repeated_id_with_another_body_answers_409_naming_it() -> None:
    async with served() as one:
        await one.post("/v1/calls", call(1, id="c1"))
        answer = await one.post("/v1/calls:batch", [call(5), call(2, id="c1")])
        assert answer.status_code == 409
        problem = answer.json()
        assert problem["code"] == "duplicate-call"
        assert problem["errors"][0]["item"] == 1
        assert problem["errors"][0]["field"] == "id"
        assert one.stored() == ["c1"]


async def test_a_publisher_may_repeat_a_request_without_harm() -> None:
    async with served() as one:
        headers = {"Raysume-Publisher": "p", "Raysume-Sequence": "10"}
        batch = [call(n) for n in range(3)]
        first = await one.post("/v1/calls:batch", batch, headers=headers)
        assert (first.status_code, first.json()["accepted"]) == (202, 3)
        again = await one.post("/v1/calls:batch?ids=true", batch, headers=headers)
        assert again.status_code == 200
        assert again.json() == {
            "accepted": 0,
            "duplicates": 3,
            "duplicate": True,
            "ids": [None] * 3,
        }
        more = await one.post("/v1/calls:batch", [*batch, call(3)], headers=headers)
        assert (more.status_code, more.json()) == (202, {"accepted": 1, "duplicates": 3})
        assert len(one.stored()) == 4


async def test_a_request_that_overtook_another_of_its_publisher_is_refused_until_that_came() -> (
    None
):
    async with served() as one:

        def headers(first: int) -> dict[str, str]:
            return {
                "Raysume-Publisher": "p",
                "Raysume-Sequence": str(first),
                "Raysume-In-Order": "true",
            }

        await one.post("/v1/calls:batch", [call(1)], headers=headers(1))
        early = await one.post("/v1/calls", call(3), headers=headers(3))
        assert (early.status_code, early.json()["code"]) == (412, "out-of-order")
        assert "before number 3" in early.json()["detail"]
        assert len(one.stored()) == 1
        assert (await one.post("/v1/calls", call(2), headers=headers(2))).status_code == 202
        assert (await one.post("/v1/calls", call(3), headers=headers(3))).status_code == 202
        assert len(one.stored()) == 3


async def test_a_request_that_overtook_another_waits_for_it_for_a_moment() -> None:
    async with served() as one:

        async def post(number: int) -> int:
            headers = {
                "Raysume-Publisher": "p",
                "Raysume-Sequence": str(number),
                "Raysume-In-Order": "true",
            }
            answer = await one.post("/v1/calls", call(number), headers=headers)
            return answer.status_code

        assert await post(1) == 202
        assert await asyncio.gather(*(post(number) for number in (4, 3, 2))) == [202, 202, 202]
        assert len(one.stored()) == 4


@pytest.mark.parametrize(
    "headers",
    [
        {"Raysume-Publisher": "p"},
        {"Raysume-In-Order": "true"},
        {"Raysume-Publisher": "p", "Raysume-Sequence": "1", "Raysume-In-Order": "maybe"},
        {"Raysume-Sequence": "1"},
        {"Raysume-Publisher": "p", "Raysume-Sequence": "-1"},
        {"Raysume-Publisher": "p", "Raysume-Sequence": "9" * 30},
        {
            "Raysume-Publisher": "p",
            "Raysume-Sequence": "\u00b2".encode("latin-1").decode("latin-1"),
        },
        {"Raysume-Publisher": "", "Raysume-Sequence": "1"},
        {"Raysume-Publisher": "p" * 201, "Raysume-Sequence": "1"},
    ],
)
async def test_unusable_publisher_headers_are_refused(headers: dict[str, str]) -> None:
    async with served() as one:
        raw = {name: value.encode("latin-1") for name, value in headers.items()}
        one.refused(await one.post("/v1/calls", call(), headers=raw), 422, "bad-parameter")


# --- calls that are gone -------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/calls/{}", "/v1/calls/{}/explain"])
async def test_a_call_that_is_not_there_may_have_been_deleted_and_the_answer_says_so(
    path: str,
) -> None:
    async with served() as one:
        answer = await one.client.get(path.format("c7"))
        problem = one.refused(answer, 404, "not-found")
        assert "There is no call 'c7'" in problem["detail"]
        assert "deleted, as calls are 30d after they were accepted" in problem["detail"]


async def test_of_a_call_whose_id_tells_its_age_it_is_said_that_it_was_deleted() -> None:
    async with served() as one:
        old = "018bcfe5-6800-7000-8000-000000000000"  # made on 14 November 2023
        problem = one.refused(await one.client.get(f"/v1/calls/{old}"), 404, "not-found")
        assert "of 2023-11-14T22:13:20+00:00, is not there any more" in problem["detail"]
        fresh = await one.client.get(f"/v1/calls/{uuid7()}")
        assert "never accepted" in fresh.json()["detail"]
