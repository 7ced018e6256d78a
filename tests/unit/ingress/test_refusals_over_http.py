"""Calls through the app, without a socket: what is refused whole, and whatever else is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.ingress.fakes import as_json, call, catalogue, method
from tests.unit.ingress.served import JSON, NDJSON, OPERATOR, served

from raysume.limits import (
    BATCH_CALLS_MAX,
    CALL_BODY_BYTES_MAX,
    REQUEST_BODIES_BYTES_MAX,
    REQUEST_BODY_BYTES_MAX,
)

# --- refused -----------------------------------------------------------------------

DEEP = b"[" * 10_000 + b"]" * 10_000
INPUT = b'{"order":{"id":1},"user":"ann"}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"{",
        b'{"method":"orders.submitted","input":{"order":{"id":1},"us',
        b'{"method":"orders.submitted","input":' + INPUT + b"} x",
        b'{"method":"orders.submitted","input":{"order":{"id":1},"user":"\xff"}}',
        b'{"method":"orders.submitted","input":{"order":{"id":1},"user":"\\ud800"}}',
        b'{"method":"orders.submitted","input":{"order":{"id":NaN},"user":"a"}}',
        b'{"method":"orders.submitted","input":{"order":{"id":Infinity},"user":"a"}}',
        b'{"method":"orders.submitted","input":{"order":{"id":1},"order":{"id":2},"user":"a"}}',
        b'{"method":"orders.paid","method":"orders.submitted","input":' + INPUT + b"}",
        b'{"method":"orders.submitted","input":{"user":"\\u0022","us\\u0065r":"a","order":{"id":1}}}',
        b'{"method":"orders.submitted","input":' + DEEP + b"}",
        b'{"method":"orders.submitted","input":{"user":' + b"[" * 200 + b"]" * 200 + b"}}",
        DEEP,
        b"[" * 100_000,
        "{}".encode("utf-16"),
    ],
)
async def test_what_is_not_usable_json_is_refused_with_400(body: bytes) -> None:
    async with served() as one:
        one.refused(await one.post("/v1/calls", body), 400, "malformed")
        if body.strip():
            array = b"[" + body + b"]"
            one.refused(await one.post("/v1/calls:batch", array), 400, "malformed")
            lines = await one.post("/v1/calls:batch", body + b"\n", headers=NDJSON)
            one.refused(lines, 400, "malformed")


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"input": INPUT.decode()}, "input"),
        ({"method": 5}, "method"),
        ({"id": 5}, "id"),
        ({"id": ""}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"surprise": 1}, "surprise"),
        ({"headers": {"a": 1}}, "headers.*"),
        ({"headers": {str(n): "x" for n in range(33)}}, "headers"),
        ({"headers": {"a": "x" * 1001}}, "headers.a"),
        ({"headers": {"": "x"}}, "headers."),
        ({"headers": {"a": "x\r\ny: z"}}, "headers.a"),
        ({"error": "boom"}, "error"),
        ({"output": "yes"}, "output"),
        ({"input": {"user": "ann"}}, "input.order"),
        ({"input": {"user": "ann", "order": {"id": 1}, "x": 1}}, "input.x"),
        ({"input": {"user": "ann", "order": {"id": "7"}}}, "input.order.id"),
        ({"input": {"user": "ann", "order": {"id": 1, "at": "soon"}}}, "input.order.at"),
    ],
)
async def test_a_misfit_is_refused_naming_item_and_field(bad: dict[str, Any], field: str) -> None:
    async with served() as one:
        problem = one.refused(await one.post("/v1/calls", call(**bad)), 422, "invalid-call")
        assert (problem["errors"][0]["item"], problem["errors"][0]["field"]) == (0, field)
        batch = [call(1), call(**bad), call(2)]
        problem = one.refused(await one.post("/v1/calls:batch", batch), 422, "invalid-call")
        assert (problem["errors"][0]["item"], problem["errors"][0]["field"]) == (1, field)
        lines = b"\n".join(as_json(item) for item in batch)
        answer = await one.post("/v1/calls:batch", lines, headers=NDJSON)
        problem = one.refused(answer, 422, "invalid-call")
        assert (problem["errors"][0]["item"], problem["errors"][0]["field"]) == (1, field)


@pytest.mark.parametrize("missing", ["method", "input"])
async def test_a_missing_field_is_named(missing: str) -> None:
    async with served() as one:
        body = call()
        del body[missing]
        problem = one.refused(await one.post("/v1/calls:batch", [body]), 422, "invalid-call")
        assert problem["errors"] == [{"item": 0, "field": missing, "message": "is missing"}]


async def test_an_unknown_method_is_refused_with_names_that_are_close() -> None:
    async with served() as one:
        answer = await one.post("/v1/calls:batch", [call(), call(method="orders.submited")])
        problem = one.refused(answer, 422, "unknown-method")
        assert problem["errors"][0]["item"] == 1
        assert "'orders.submitted'" in problem["errors"][0]["message"]


@pytest.mark.parametrize("body", [b"5", b"null", b'"x"', b"{}", b"[1]", b"[[]]", b"[null]"])
async def test_another_kind_of_json_is_refused(body: bytes) -> None:
    async with served() as one:
        one.refused(await one.post("/v1/calls", body), 422, "invalid-call")
        one.refused(await one.post("/v1/calls:batch", body), 422, "invalid-call")


async def test_too_many_calls_are_refused() -> None:
    async with served() as one:
        batch = [call()] * (BATCH_CALLS_MAX + 1)
        one.refused(await one.post("/v1/calls:batch", batch), 413, "too-large")
        lines = b"\n".join([as_json(call())] * (BATCH_CALLS_MAX + 1))
        answer = await one.post("/v1/calls:batch", lines, headers=NDJSON)
        one.refused(answer, 413, "too-large")


async def test_one_call_that_is_too_large_is_named() -> None:
    async with served() as one:
        large = call(input={"order": {"id": 1}, "user": "x" * CALL_BODY_BYTES_MAX})
        problem = one.refused(await one.post("/v1/calls:batch", [call(), large]), 413, "too-large")
        assert problem["errors"][0]["item"] == 1


async def test_a_body_that_is_too_large_is_refused_with_and_without_its_length() -> None:
    async with served() as one:
        one.refused(
            await one.post("/v1/calls", b" " * (REQUEST_BODY_BYTES_MAX + 1)), 413, "too-large"
        )

        async def endless() -> AsyncGenerator[bytes]:
            for _ in range(20):
                yield b" " * 1_000_000

        answer = await one.client.post("/v1/calls", content=endless(), headers={**OPERATOR, **JSON})
        one.refused(answer, 413, "too-large")
        assert one.ingress.bodies.held == 0


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}])
async def test_other_types_and_codings_are_refused(headers: dict[str, str]) -> None:
    async with served() as one:
        for path in ("/v1/calls", "/v1/calls:batch"):
            answer = await one.post(path, call(), headers=headers)
            one.refused(answer, 415, "unsupported-media-type")


# --- tokens ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic operator", "operator", "Bearer \xe9"],
)
async def test_without_a_known_token_nothing_is_answered_but_401(header: str | None) -> None:
    async with served() as one:
        headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(one.app), base_url="http://test"
        ) as stranger:
            for path in ("/v1/calls", "/v1/instances", "/nothing/here"):
                answer = await stranger.post(path, content=as_json(call()), headers=headers)
                one.refused(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_health_and_documentation_need_no_token() -> None:
    async with served() as one:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(one.app), base_url="http://test"
        ) as stranger:
            assert (await stranger.get("/health")).json()["status"] == "ok"
            assert "raysume" in (await stranger.get("/docs")).text
            document = (await stranger.get("/openapi.json")).json()
        post = document["paths"]["/v1/calls"]["post"]
        assert post["requestBody"]["content"]["application/json"]["schema"]["required"] == [
            "method",
            "input",
        ]
        assert "ProblemDetails" in document["components"]["schemas"]
        assert {"202", "200", "409", "413", "422", "429"} <= set(post["responses"])


# --- whatever is sent --------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
_calls = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["orders.submitted", "orders.paid", "x"]) | _json,
        "input": _json,
        "output": _json,
        "id": st.text() | _json,
        "headers": _json,
        "error": _json,
    },
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
@given(
    body=st.binary()
    | _calls.map(as_json)
    | st.lists(_calls).map(as_json)
    | st.tuples(_calls.map(as_json), st.binary(), st.integers(0, 300)).map(
        lambda parts: parts[0][: parts[2]] + parts[1] + parts[0][parts[2] :]
    ),
    lines=st.booleans(),
    path=st.sampled_from(["/v1/calls", "/v1/calls:batch", "/v1/workflows/fulfil/instances"]),
)
def test_random_bodies_are_accepted_or_refused_and_break_nothing(
    body: bytes, lines: bool, path: str
) -> None:
    async def check() -> None:
        async with served() as one:
            answer = await one.post(path, body, headers=NDJSON if lines else JSON)
            assert answer.status_code < 500, answer.text
            if answer.status_code >= 400:
                assert one.stored() == []
                assert answer.json()["code"]

    asyncio.run(check())


async def test_a_deployed_method_can_be_pushed_and_one_that_went_cannot() -> None:
    async with served() as one:
        one.engine.deploy(catalogue(2, methods={"new": method("new")}))
        await one.ingress.deployed(2)
        assert (await one.post("/v1/calls", call())).status_code == 422
        body = call(method="new")
        assert (await one.post("/v1/calls", body)).status_code == 202


async def test_all_bodies_together_are_bounded_and_given_back() -> None:
    async with served() as one:
        one.ingress.bodies.held = REQUEST_BODIES_BYTES_MAX - 10
        answer = await one.post("/v1/calls", call())
        one.refused(answer, 429, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        one.ingress.bodies.held -= 1_000
        assert (await one.post("/v1/calls", call())).status_code == 202
        assert one.ingress.bodies.held == REQUEST_BODIES_BYTES_MAX - 1_010
