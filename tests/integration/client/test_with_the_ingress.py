"""Client, outbox and command line against the real ingress, over a call log in memory."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from click.testing import CliRunner
from pydantic import BaseModel
from tests.unit.ingress import fakes

import raysume
from raysume import publishing
from raysume.client import AsyncClient, Client
from raysume.errors import (
    DuplicateCall,
    InstanceFailed,
    InvalidCall,
    NotFound,
    ResultTimeout,
    Unauthorized,
    UsageError,
)
from raysume.serve_apps.cli.root import raysume as command
from raysume.serve_apps.ingress import MethodEntry, build_app
from raysume.storage.call_ports import CallQuery
from raysume.storage.memory.calls import MemoryCallLog
from raysume.tracing import step_context


class Refund(BaseModel):
    order: int


refunded = raysume.external_call("ingress.refunded", input=Refund, output=bool)


@raysume.push_call("ingress.counted")
def count(n: int) -> int:
    return n


def _entry(method: Any) -> MethodEntry:
    return MethodEntry(
        urn=method.urn,
        service="shop",
        external=method.external,
        local_only=method.local_only,
        input_schema=method.input_schema(),
        output_schema=method.output_schema(),
    )


class Ingress:
    def __init__(self, log: MemoryCallLog | None = None, port: int = 0) -> None:
        self.log = log or MemoryCallLog()
        catalogue = fakes.catalogue()
        methods = catalogue.methods | {each.urn: _entry(each) for each in (refunded, count)}
        self.engine = fakes.FakeEngine(
            self.log, msgspec.structs.replace(catalogue, methods=methods)
        )
        self.app = build_app(self.engine, self.log, fakes.TOKENS, owner="1:1:test")
        self.socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = uvicorn.Server(uvicorn.Config(self.app, log_level="error", lifespan="on"))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))
        self.thread.start()

    def inputs(self) -> list[Any]:
        calls = [each for s in self.log.partitions() for each in self._of(s.id, s.next_offset)]
        return [json.loads(call.input) for call in calls]

    def _of(self, partition: int, end: int) -> Iterator[Any]:
        for segment in self.log.read(partition, start=0, end=end):
            yield from segment.calls

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture
def ingress(home: Path) -> Iterator[Ingress]:
    ingress = Ingress()
    raysume.configure(url=ingress.url, token="operator", service="shop", data_dir=home)
    with Client() as client:
        client.workflows()  # answered as soon as it knows them
    yield ingress
    publishing.close()
    raysume.configure(url=None, token=None, service=None, data_dir=None)
    ingress.stop()


def test_calls_are_pushed_once_and_in_order(ingress: Ingress) -> None:
    with Client() as client:
        id = client.push(refunded, input={"order": 0}, output=True, id="mine", headers={"a": "b"})
        assert (
            client.push(refunded, input=Refund(order=0), output=True, id="mine", headers={"a": "b"})
            == id
        )
        with pytest.raises(DuplicateCall):
            client.push(refunded, input={"order": 9}, id="mine")
        many = ({"method": refunded, "input": {"order": n}} for n in range(1, 1_501))
        assert client.push_many(many) == 1_500
        more = [{"method": "ingress.refunded", "input": {"order": 1_501}, "output": None}]
        with pytest.raises(InvalidCall, match="output") as caught:
            client.push_many(more)
        assert caught.value.details["item"] == 0
        assert caught.value.details["accepted"] == 0
        read = list(client.calls(refunded))
    assert ingress.inputs() == [{"order": n} for n in range(1_501)]
    assert [call.input.order for call in read] == list(range(1_501))
    assert (read[0].id, read[0].output, read[0].headers) == ("mine", True, {"a": "b"})
    assert read[1].output is None


def test_calls_of_traced_code_are_in_its_trace(ingress: Ingress) -> None:
    context = f"00-{'a' * 32}-{'1' * 16}-01"
    many = [{"method": refunded, "input": {"order": n}, "output": True} for n in range(1_001)]

    async def push_async() -> None:
        async with AsyncClient() as client:
            await client.push(refunded, input={"order": 1_001}, output=True)
            await client.push_many(many[:1])

    token = step_context.set(context)
    try:
        with Client() as client:
            client.push(refunded, input={"order": 0}, output=True)
            client.push_many(many)
        asyncio.run(push_async())
    finally:
        step_context.reset(token)
    with Client() as client:
        client.push(refunded, input={"order": 2_000}, output=True)
        read = list(client.calls(refunded))
    told = [call.headers.get("traceparent") for call in read]
    assert told == [context] * 1_004 + [None]
    assert len(ingress.inputs()) == 1_005


@pytest.mark.usefixtures("ingress")
def test_refusals_are_the_right_errors() -> None:
    with Client() as client:
        with pytest.raises(InvalidCall, match=r"orders\.submited") as caught:
            client.push("orders.submited", input={})
        assert caught.value.details["field"] == "method"
        calls: list[dict[str, Any]] = [
            {"method": "ingress.refunded", "input": {"order": n}} for n in range(700)
        ]
        calls[600]["input"] = {"order": "many"}
        with pytest.raises(InvalidCall, match="call 600 of all") as caught:
            client.push_many(calls)
        assert caught.value.details["item"] == 600
        assert caught.value.details["field"] == "input.order"
        assert caught.value.details["accepted"] == 500
        with pytest.raises(InvalidCall):
            client.push("ingress.refunded", input={"order": 1}, headers={"a": "\n"})
    with Client(token="nobody") as client, pytest.raises(Unauthorized):
        client.push("ingress.refunded", input={"order": 1})
    with Client(token="other") as client:
        client.push("ingress.refunded", input={"order": 1})  # external
        with pytest.raises(Unauthorized, match="not external"):
            client.push("ingress.counted", input={"n": 1})


def test_instances_are_started_read_and_awaited(ingress: Ingress) -> None:
    order = {"order": {"id": 7}, "user": "ann"}
    with Client() as client:
        run = client.start("fulfil", id="a", **order)
        assert (run.id, run.workflow, run.version) == ("a", "fulfil", "v1")
        assert client.start("fulfil", id="a", **order).id == "a"
        assert run.status() == "waiting"
        assert run.state().frames[0].locals == {"x": 1}
        with pytest.raises(ResultTimeout):
            run.result(timeout=0.01)
        ingress.engine.results["a"] = {"status": "completed", "result": b'{"n":1}'}
        assert run.result() == {"n": 1}
        failure = {"type": "ValueError", "message": "no stock"}
        ingress.engine.results["a"] = {"status": "failed", "error": failure}
        with pytest.raises(InstanceFailed, match="no stock"):
            run.result()
        for n in range(5):
            client.start("fulfil", id=f"b{n}", **order)
        assert {each.id for each in client.instances("fulfil")} == {
            "a",
            *(f"b{n}" for n in range(5)),
        }
        with pytest.raises(NotFound):
            client.instance("nobody")
        with pytest.raises(NotFound):
            client.start("nowhere")
        with pytest.raises(InvalidCall, match="user"):
            client.start("fulfil", order={"id": 7})
        with pytest.raises(UsageError, match="no parameters"):
            client.start("approval")
        assert [each.name for each in client.workflows()] == ["approval", "fulfil"]


async def test_the_async_client_pushes_and_lists(ingress: Ingress) -> None:
    async with AsyncClient() as client:
        many = [{"method": "ingress.refunded", "input": {"order": n}} for n in range(1_200)]
        assert await client.push_many(many) == 1_200
        assert [call.input.order async for call in client.calls(refunded)] == list(range(1_200))
    assert ingress.inputs() == [{"order": n} for n in range(1_200)]


def test_published_calls_arrive_and_refused_ones_are_put_aside(ingress: Ingress) -> None:
    unknown = raysume.push_call("ingress.unknown")(lambda: None)
    for n in range(300):
        count(n)
        if n % 100 == 50:
            unknown()
    assert publishing.flush(30)
    assert ingress.inputs() == [{"n": n} for n in range(300)]
    assert [each.code for each in publishing.refused()] == ["unknown-method"] * 3


@pytest.mark.row(61)
def test_calls_published_while_the_ingress_is_away_arrive_in_order_and_once(
    ingress: Ingress,
) -> None:
    raysume.configure(token="shop")
    count(0)
    assert publishing.flush(30)
    ingress.stop()
    for n in range(1, 50):
        assert count(n) == n
    assert not publishing.flush(0.1)
    publishing.close()  # the publisher ends while the engine is still away
    for n in range(50, 60):
        count(n)
    again = Ingress(ingress.log, ingress.port)
    try:
        assert publishing.flush(30)
        stored = [each.call for each in again.log.list_calls(CallQuery(limit=1_000))]
        assert [json.loads(call.input) for call in stored] == [{"n": n} for n in range(60)]
        assert {call.service for call in stored} == {"shop"}
        assert publishing.refused() == []
    finally:
        again.stop()


@pytest.mark.row(59)
def test_a_publisher_with_another_services_token_is_told_and_nothing_is_stored(
    ingress: Ingress, caplog: pytest.LogCaptureFixture
) -> None:
    raysume.configure(token="other")
    with caplog.at_level("WARNING"):
        assert count(1) == 1
        assert publishing.flush(30)
    [refused] = publishing.refused()
    assert refused.code == "not-external"
    assert "'shop'" in refused.reason
    assert "service 'other'" in refused.reason
    assert "ingress.counted" in caplog.text
    assert ingress.inputs() == []


def test_the_command_line_pushes_lists_and_starts(ingress: Ingress) -> None:
    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(command, [*arguments, "-o", "json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    pushed = run("call", "push", "ingress.refunded", '{"order": 1}', "--output", "true")
    [listed] = run("call", "list", "--since", "-15m", "--method", "ingress.refunded")
    assert (listed["id"], listed["input"], listed["output"]) == (pushed["id"], {"order": 1}, True)
    run("workflow", "start", "fulfil", '{"order": {"id": 1}, "user": "ann"}', "--id", "a")
    assert [each["id"] for each in run("instance", "list")] == ["a"]
    assert run("instance", "show", "a")["status"] == "waiting"
    assert [each["name"] for each in run("workflow", "list")] == ["approval", "fulfil"]
    assert CliRunner().invoke(command, ["doctor"]).exit_code == 0
    assert ingress.url in CliRunner().invoke(command, ["doctor"]).stderr


class Asked(raysume.Container):
    """A class whose queries are asked for."""

    @raysume.query
    def progress(self, n: int, text: str = "x") -> tuple[str, dict[str, Any], bool]:
        """Answered by the ingress's engine."""
        raise NotImplementedError(n, text)

    @raysume.query
    def broken(self) -> int:
        """Refused there."""
        raise NotImplementedError


async def test_instances_are_asked(ingress: Ingress) -> None:
    ingress.engine.add("fulfil@v1/0", "i 1", "fulfil", "2026-01-01T00:00:00+00:00")
    with Client() as client:
        run = client.instance("i 1")
        answer = client.query(run, Asked.progress, 3)
        assert answer == ("progress", {"n": 3, "text": "x"}, False)
        assert client.query("i 1", "progress", m=[1]) == ["progress", {"m": [1]}, False]
        with pytest.raises(UsageError, match="ZeroDivisionError"):
            client.query(run, Asked.broken)
        with pytest.raises(NotFound, match="its queries are: progress"):
            client.query(run, "unknown")
        with pytest.raises(UsageError, match="invalid n"):
            client.query(run, Asked.progress, "many")  # type: ignore[call-overload]
        with pytest.raises(UsageError, match="given by name"):
            client.query(run, "progress", 3)  # type: ignore[call-overload]
    async with AsyncClient() as other:
        same = await other.query(await other.instance("i 1"), Asked.progress, n=3, text="y")
        assert same == ("progress", {"n": 3, "text": "y"}, False)


def test_instances_are_listed_by_tags(ingress: Ingress) -> None:
    for number, city in enumerate(("Paris", "Rome", "Paris")):
        at = f"2026-01-01T00:00:0{number}+00:00"
        tags = {"city": city, "number": str(number)}
        ingress.engine.add("fulfil@v1/0", f"i{number}", "fulfil", at, tags=tags)
    with Client() as client:
        assert [run.id for run in client.instances(tag={"city": "Paris"})] == ["i2", "i0"]
        assert [run.id for run in client.instances(tag={"city": "Paris", "number": 2})] == ["i2"]
        assert list(client.instances(tag={"city": "Berlin"})) == []


async def test_waits_without_a_key_are_listed_alone(ingress: Ingress) -> None:
    facts = {"workflow": "fulfil", "version": "v1", "method": "orders.paid", "exclusive": False}
    rows = [
        facts | {"id": "1.1", "instance": id, "key": key, "name": None, "times_out_at": None}
        for id, key in (("keyed", ["input.order"]), ("keyless", []))
    ]
    ingress.engine.open_waits = {"fulfil@v1/0": rows}
    with Client() as client:
        assert [one.instance for one in client.waits()] == ["keyed", "keyless"]
        assert [one.instance for one in client.waits("fulfil", keyless=True)] == ["keyless"]
    async with AsyncClient() as asynchronous:
        found = [one.instance async for one in asynchronous.waits(keyless=True)]
        assert found == ["keyless"]
    listed = await asyncio.to_thread(
        CliRunner().invoke, command, ["wait", "list", "--keyless", "-o", "jsonl"]
    )
    assert [json.loads(line)["instance"] for line in listed.stdout.splitlines()] == ["keyless"]
