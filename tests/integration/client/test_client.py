"""`Client` and `AsyncClient` against a real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel

import raysume
from raysume.client import AsyncClient, Client
from raysume.client.endpoint import Endpoint, write_endpoint
from raysume.errors import (
    ConfigurationError,
    DuplicateCall,
    InstanceFailed,
    InvalidCall,
    NotFound,
    ResultTimeout,
    Unauthorized,
    Unavailable,
    UsageError,
)


class Payment(BaseModel):
    order: int
    amount: float


paid = raysume.external_call("client.paid", input=Payment, output=bool)


@raysume.push_call("client.submitted")
def submit(order: int, user: str = "ann") -> bool:
    return bool(order and user)


def fulfil_id(order: int) -> str:
    return f"fulfil-{order}"


@raysume.workflow(name="client.fulfil", id=fulfil_id)
async def fulfil(order: int, express: bool = False) -> datetime:
    await raysume.wait(paid).match(order=order)
    assert express is not None
    return datetime.now(UTC)


@pytest.fixture
def client(engine: Any, home: Path) -> Iterator[Client]:  # noqa: ARG001
    with Client(engine.url, engine.token, timeout=10) as client:
        yield client


def test_a_pushed_call_arrives_as_it_was_given(client: Client, engine: Any) -> None:
    id = client.push("orders.paid", input={"order": 7}, output=True, id="mine", headers={"a": "b"})
    assert id == "mine"
    assert engine.calls == [
        {
            "method": "orders.paid",
            "input": {"order": 7},
            "output": True,
            "id": "mine",
            "headers": {"a": "b"},
        }
    ]


def test_a_call_of_a_known_method_is_encoded_by_its_types(client: Client, engine: Any) -> None:
    client.push(paid, input=Payment(order=1, amount=2), output=True)
    client.push(paid, input={"order": "2", "amount": 3})
    client.push(submit, input={"order": 3}, output=False)
    assert engine.inputs() == [
        {"order": 1, "amount": 2.0},
        {"order": 2, "amount": 3.0},
        {"order": 3, "user": "ann"},
    ]
    assert [call.get("output") for call in engine.calls] == [True, None, False]


def test_a_call_that_does_not_fit_its_method_is_refused_here(client: Client, engine: Any) -> None:
    with pytest.raises(InvalidCall, match="amount"):
        client.push(paid, input={"order": 1, "amount": "much"})
    with pytest.raises(InvalidCall, match="no JSON form"):
        client.push("orders.paid", input={"order": object()})
    with pytest.raises(InvalidCall, match="mapping"):
        client.push("orders.paid", input=[1])
    assert engine.requests == []


def test_a_repeated_id_is_the_same_call_and_another_body_is_refused(
    client: Client, engine: Any
) -> None:
    client.push("orders.paid", input={"order": 1}, id="x")
    assert client.push("orders.paid", input={"order": 1}, id="x") == "x"
    with pytest.raises(DuplicateCall):
        client.push("orders.paid", input={"order": 2}, id="x")
    assert len(engine.calls) == 1


def test_a_refusal_names_item_and_field(client: Client) -> None:
    with pytest.raises(InvalidCall, match="there is no method") as caught:
        client.push("unknown.method", input={})
    assert caught.value.details["item"] == 0
    assert caught.value.details["field"] == "method"
    assert caught.value.details["problem"] == "unknown-method"


def test_an_accepted_call_whose_answer_was_lost_is_not_doubled(client: Client, engine: Any) -> None:
    engine.lose_answers = 1
    client.push("orders.paid", input={"order": 1})
    engine.lose_answers = 2
    assert client.push_many({"method": "m", "input": {"n": n}} for n in range(1200)) == 1200
    assert engine.inputs() == [{"order": 1}] + [{"n": n} for n in range(1200)]


def test_push_many_keeps_the_order_with_several_requests_in_flight(
    client: Client, engine: Any
) -> None:
    given, engine.late = 2_345, 501
    assert client.push_many({"method": "m", "input": {"n": n}} for n in range(given)) == given
    assert engine.inputs() == [{"n": n} for n in range(given)]
    assert engine.early.is_set()
    assert 2 <= engine.in_flight_max <= 4
    assert client.push_many({"method": "m", "input": {"n": n}} for n in range(given)) == given
    assert engine.inputs()[given:] == [{"n": n} for n in range(given)]


def test_a_refused_batch_takes_those_behind_it_with_it(client: Client, engine: Any) -> None:
    calls = [{"method": "m", "input": {"n": n}} for n in range(2_500)]
    calls[700]["method"] = "unknown.method"
    engine.late = 501
    with pytest.raises(InvalidCall, match="call 700") as caught:
        client.push_many(calls)
    assert caught.value.details["accepted"] == 500
    assert engine.inputs() == [{"n": n} for n in range(500)]
    assert client.push_many(calls[:3]) == 3


def test_push_many_reads_lazily(client: Client, engine: Any) -> None:
    seen: list[int] = []

    def calls() -> Iterator[dict[str, Any]]:
        for n in range(1_501):
            if n == 1_500:
                # two batches at most are on their way or prepared
                engine.wait_for(500)
                seen.append(len(engine.calls))
            yield {"method": "m", "input": {"n": n}}

    client.push_many(calls())
    assert seen[0] >= 500
    assert len(engine.calls) == 1_501


def test_a_refused_batch_tells_the_place_among_all_calls(client: Client, engine: Any) -> None:
    calls = [{"method": "m", "input": {"n": n}} for n in range(1_000)]
    calls[700]["method"] = "unknown.method"
    with pytest.raises(InvalidCall, match="call 700") as caught:
        client.push_many(calls)
    assert caught.value.details["item"] == 700
    assert caught.value.details["accepted"] == 500
    assert len(engine.calls) == 500
    with pytest.raises(InvalidCall, match="call 2") as caught:
        client.push_many([*calls[:2], {"method": "m", "in": 1}])
    assert caught.value.details == {"item": 2, "field": "in", "accepted": 0}


def test_the_pace_is_what_the_engine_asks_for(client: Client, engine: Any) -> None:
    from starlette.responses import Response

    engine.failures = [
        Response(status_code=429, headers={"Retry-After": "0"}),
        Response(status_code=503),
    ]
    client.push("orders.paid", input={})
    assert len(engine.requests) == 3


@pytest.mark.usefixtures("home")
def test_an_engine_that_stays_away_is_unavailable(served: Any) -> None:
    served.stop()
    with Client(served.engine.url, "t", timeout=0.2) as client, pytest.raises(Unavailable):
        client.push("orders.paid", input={})


@pytest.mark.usefixtures("home")
def test_a_wrong_token_is_unauthorized(engine: Any) -> None:
    with Client(engine.url, "wrong") as client, pytest.raises(Unauthorized):
        client.push("orders.paid", input={})


def test_a_start_binds_arguments_and_uses_the_workflows_id(client: Client, engine: Any) -> None:
    run = client.start(fulfil, 7)
    again = client.start(fulfil, order=7)
    assert (run.id, run.workflow, run.version) == ("fulfil-7", "client.fulfil", "abc123")
    assert again.id == run.id
    assert engine.instances["fulfil-7"]["input"] == {"order": 7, "express": False}
    assert client.start(fulfil, 8, express=True, id="mine").id == "mine"
    with pytest.raises(UsageError, match="parameters"):
        client.start(cast(Any, fulfil), 1, 2, 3)
    with pytest.raises(UsageError, match="keyword"):
        client.start("client.fulfil", 1)
    with pytest.raises(NotFound):
        client.start("nowhere", order=1)
    with pytest.raises(UsageError, match="started by calls"):
        client.start("by_calls", order=1)


def test_a_result_has_the_declared_type(client: Client, engine: Any) -> None:
    run = client.start(fulfil, 7)
    with pytest.raises(ResultTimeout, match="waiting"):
        run.result(timeout=0.05)
    engine.results["fulfil-7"] = {"status": "completed", "result": "2024-05-01T10:00:00Z"}
    assert run.result() == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert client.instance("fulfil-7").result() == "2024-05-01T10:00:00Z"
    assert client.instance("fulfil-7", fulfil).result().year == 2024


def test_the_result_of_a_failed_instance_raises_its_error(client: Client, engine: Any) -> None:
    run = client.start(fulfil, 7)
    error = {"type": "ValueError", "message": "no stock"}
    engine.results["fulfil-7"] = {"status": "failed", "error": error}
    with pytest.raises(InstanceFailed, match="failed: ValueError: no stock") as caught:
        run.result()
    assert caught.value.details["error"] == error


def test_an_instance_is_described(client: Client) -> None:
    client.start(fulfil, 7)
    run = client.instance("fulfil-7")
    assert run.status() == "waiting"
    [frame] = run.state().frames
    assert (frame.file, frame.line, frame.wait, frame.locals) == ("a.py", 7, "paid", {"x": 1})
    with pytest.raises(NotFound):
        client.instance("nobody")


def test_listings_go_over_all_pages(client: Client) -> None:
    for n in range(8):
        client.start(fulfil, n)
    client.start("other", order=1)
    assert len(list(client.instances())) == 9
    assert [run.id for run in client.instances(fulfil)] == [f"fulfil-{n}" for n in range(8)]
    assert [run.id for run in client.instances(tag={"number": 3})] == ["fulfil-3"]
    assert not list(client.instances(status="failed"))
    listing = client.instances()
    first = [next(listing).id for _ in range(3)]
    rest = [run.id for run in client.instances(after=listing.cursor)]
    assert len({*first, *rest}) == 9
    with pytest.raises(UsageError, match="time zone"):
        client.instances(since=datetime(2024, 1, 1))
    assert [w.name for w in client.workflows()] == ["fulfil"]


def test_accepted_calls_are_read_by_their_types(client: Client) -> None:
    client.push(paid, input={"order": 1, "amount": 2}, output=True)
    [call] = client.calls(paid)
    assert (call.input.amount, call.output, call.at.microsecond) == (2.0, True, 1)


@pytest.mark.usefixtures("home")
async def test_the_async_client_does_the_same(engine: Any) -> None:
    async with AsyncClient(engine.url, engine.token) as client:
        await client.push(paid, input={"order": 1, "amount": 2})
        engine.lose_answers = 1

        async def calls() -> AsyncIterator[dict[str, Any]]:
            for n in range(1_234):
                yield {"method": "m", "input": {"n": n}}

        assert await client.push_many(calls()) == 1_234
        assert await client.push_many({"method": "m", "input": {"n": n}} for n in range(600)) == 600
        assert engine.inputs()[1:] == [{"n": n} for n in (*range(1_234), *range(600))]
        run = await client.start(fulfil, 7)
        assert await run.status() == "waiting"
        with pytest.raises(ResultTimeout):
            await run.result(timeout=0)
        engine.results["fulfil-7"] = {"status": "completed", "result": "2024-05-01T10:00:00Z"}
        assert (await run.result()).year == 2024
        assert [each.id async for each in client.instances()] == ["fulfil-7"]
        assert len([each async for each in client.calls()]) == 1_835
        with pytest.raises(InvalidCall) as caught:
            await client.push_many([{"method": "unknown", "input": {}}])
        assert caught.value.details["accepted"] == 0


@pytest.mark.usefixtures("home")
async def test_a_cancelled_push_leaves_no_task_behind(engine: Any) -> None:
    async with AsyncClient(engine.url, engine.token) as client:

        async def endless() -> AsyncIterator[dict[str, Any]]:
            while True:
                yield {"method": "m", "input": {}}

        task = asyncio.create_task(client.push_many(endless()))
        await asyncio.to_thread(engine.wait_for, 500)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        coroutines: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
        names: list[str] = [coroutine.__qualname__ for coroutine in coroutines]
        assert not [name for name in names if name.startswith("AsyncClient.")]


def test_the_endpoint_is_found_where_dev_wrote_it(engine: Any, home: Path) -> None:
    with pytest.raises(ConfigurationError, match="raysume dev"):
        Client()
    path = write_endpoint(Endpoint(url=engine.url, token=engine.token), home)
    assert path.stat().st_mode & 0o777 == 0o600
    with Client() as client:
        client.push("orders.paid", input={})
    with pytest.raises(ConfigurationError, match="no token"):
        Client("http://127.0.0.1:1")  # the token belongs to another address
    with pytest.raises(ConfigurationError, match="not the address"):
        Client("ftp://127.0.0.1", "t")
    raysume.configure(url="http://127.0.0.1:1", token="t")
    with Client() as client:
        assert client.endpoint == Endpoint(url="http://127.0.0.1:1", token="t")
    raysume.configure(url=None, token=None)
    path.write_text("{")
    with pytest.raises(ConfigurationError, match="damaged"):
        Client()
