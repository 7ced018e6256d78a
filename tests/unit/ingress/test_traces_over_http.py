"""A request's trace context goes into its calls, unless they carry their own."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.unit.ingress.fakes import call
from tests.unit.ingress.served import Served, served

from raysume.actors.spans import Spans
from raysume.storage.call_ports import CallQuery
from raysume.tracing import span_in

A = f"00-{'a' * 32}-{'1' * 16}-01"
B = f"00-{'b' * 32}-{'2' * 16}-01"


def headers_of(ingress: Served) -> list[dict[str, str] | None]:
    found = ingress.log.list_calls(CallQuery(limit=100))
    return [None if one.call.headers is None else dict(one.call.headers) for one in found]


async def test_the_context_of_a_request_is_kept_with_its_call() -> None:
    async with served() as ingress:
        answer = await ingress.post("/v1/calls", call(), headers={"traceparent": A})
        assert answer.status_code == 202
        assert headers_of(ingress) == [{"traceparent": A}]


async def test_a_call_of_a_batch_may_have_a_context_of_its_own() -> None:
    batch = [call(), call(headers={"traceparent": B, "x": "y"}), call(headers={"x": "y"})]
    async with served() as ingress:
        await ingress.post("/v1/calls:batch", batch, headers={"traceparent": A})
        assert headers_of(ingress) == [
            {"traceparent": A},
            {"traceparent": B, "x": "y"},
            {"x": "y", "traceparent": A},
        ]


@pytest.mark.parametrize("malformed", ["", "00-1-2-3", A.upper(), f"{A}-more"])
async def test_a_malformed_context_is_ignored(malformed: str) -> None:
    async with served() as ingress:
        answer = await ingress.post("/v1/calls", call(), headers={"traceparent": malformed})
        assert answer.status_code == 202
        assert headers_of(ingress) == [None]


async def test_of_several_contexts_none_counts() -> None:
    async with served() as ingress:
        answer = await ingress.client.post(
            "/v1/calls", json=call(), headers=[("traceparent", A), ("traceparent", B)]
        )
        assert answer.status_code == 202
        assert headers_of(ingress) == [None]


async def test_a_call_that_comes_again_in_another_trace_is_the_same_call() -> None:
    async with served() as ingress:
        for context in (A, B):
            answer = await ingress.post(
                "/v1/calls", call(id="one"), headers={"traceparent": context}
            )
            assert answer.status_code in (200, 202)
        assert answer.json() == {"id": "one", "duplicate": True}
        assert headers_of(ingress) == [{"traceparent": A}]


async def test_a_start_carries_the_context_of_its_request() -> None:
    async with served() as ingress:
        body = {"input": call()["input"]}
        await ingress.post("/v1/workflows/fulfil/instances", body, headers={"traceparent": A})
        await ingress.post("/v1/workflows/fulfil/instances", body)
        assert [request.trace for request in ingress.engine.requests] == [A, None]


async def test_an_acceptance_in_a_sampled_trace_is_a_span_and_its_calls_are_below() -> None:
    exporter = InMemorySpanExporter()
    async with served() as ingress:
        ingress.ingress.spans = Spans([exporter], at_once=True)
        await ingress.post("/v1/calls", call(), headers={"traceparent": A})
        await ingress.post("/v1/calls", call())
        kept, none = headers_of(ingress)
    [span] = exporter.get_finished_spans()
    assert none is None
    assert kept is not None
    assert span.context is not None
    assert span.parent is not None
    assert (span.name, span_in(kept["traceparent"])) == (
        "raysume.accept",
        f"{span.context.span_id:016x}",
    )
    assert span.parent.span_id == int("1" * 16, 16)
    assert dict(span.attributes or {}) == {"url.path": "/v1/calls"}
