"""Whatever is sent, the engine refuses it whole, stores nothing of it, and goes on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from tests.integration.cluster.running import Engine, started_by

from raysume import Client

GOOD = {"method": "engine.opened", "input": {"key": "good", "n": 1}, "output": True}


@pytest.fixture
def http(engine: Engine) -> Iterator[httpx.Client]:
    """Plain HTTP to the engine; the test leaves the engine undisturbed."""
    before = engine.stored_calls()
    with engine.http() as http:
        yield http
        assert engine.stored_calls() == before
        answer = http.post("/v1/calls", json=GOOD)
    assert answer.status_code == 202
    with engine.client() as client:
        run = started_by(client, "pair", answer.json()["id"])
        assert run.status() == "waiting"


def call(**changes: object) -> bytes:
    """A call with something wrong in it."""
    return json.dumps(GOOD | changes).encode()


DEEP = b'{"method": "engine.opened", "input": {"key": "k", "n": ' + b"[" * 10_000 + b"]" * 10_000
CASES = {
    "truncated": (call()[:-9], 400, "malformed", None),
    "empty": (b"", 400, "malformed", None),
    "no JSON at all": (b"key=1&n=2", 400, "malformed", None),
    "invalid UTF-8": (call().replace(b"good", b"\xff\xfe"), 400, "malformed", None),
    "10,000 deep": (DEEP + b"}}", 400, "malformed", None),
    "wrong type": (call(input={"key": "k", "n": "many"}), 422, "invalid-call", "input.n"),
    "field missing": (call(input={"n": 1}), 422, "invalid-call", "key"),
    "input no object": (call(input=[1]), 422, "invalid-call", "input"),
    "output of another type": (call(output="yes"), 422, "invalid-call", "output"),
    "unknown method": (call(method="engine.opend"), 422, "unknown-method", "method"),
    "too large": (call(input={"key": "k" * 1_100_000}), 413, "too-large", None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_call_is_refused_with_the_field_named(http: httpx.Client, case: str) -> None:
    content, status, code, field = CASES[case]
    answer = http.post("/v1/calls", content=content)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    if field is not None:
        assert field in json.dumps(problem["errors"])


@pytest.mark.parametrize("case", [case for case in CASES if case != "empty"])
def test_one_bad_call_refuses_its_whole_batch(http: httpx.Client, case: str) -> None:
    content, status, code, _ = CASES[case]
    array = b"[" + call() + b"," + content + b"]"
    answer = http.post("/v1/calls:batch", content=array)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    if status == 422:
        assert {error["item"] for error in answer.json()["errors"]} == {1}
    lines = call() + b"\n" + content + b"\n"
    ndjson = {"Content-Type": "application/x-ndjson"}
    answer = http.post("/v1/calls:batch", content=lines, headers=ndjson)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_body_above_the_limit_is_refused(http: httpx.Client) -> None:
    answer = http.post("/v1/calls:batch", content=b" " * 17_000_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


def test_a_body_that_ends_early_is_dropped(engine: Engine, http: httpx.Client) -> None:
    assert http.get("/health").status_code == 200
    address = urlsplit(engine.endpoint["url"])
    body = call()
    head = (
        f"POST /v1/calls HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {engine.endpoint['token']}\r\n"
        f"Content-Length: {len(body) + 10}\r\n\r\n"
    )
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as connection:
        connection.sendall(head.encode() + body)


def test_an_unknown_parameter_of_a_query_is_refused(http: httpx.Client) -> None:
    answer = http.get("/v1/instances", params={"statsu": "waiting"})
    assert answer.status_code == 422
    assert "statsu" in answer.json()["detail"]


def test_a_repeated_id_is_a_duplicate_and_with_another_body_a_conflict(
    engine: Engine, client: Client
) -> None:
    with engine.http() as http:
        first = http.post("/v1/calls", content=call(id="same id"))
        stored = engine.stored_calls()
        again = http.post("/v1/calls", content=call(id="same id"))
        other = http.post("/v1/calls", content=call(id="same id", input={"key": "good", "n": 2}))
    assert first.status_code == 202
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert (other.status_code, other.json()["code"]) == (409, "duplicate-call")
    assert engine.stored_calls() == stored
    run = started_by(client, "pair", "same id")
    assert run.state().frames[0].locals["total"] == "1"
