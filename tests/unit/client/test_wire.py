"""Answers as errors, retries, encoding: everything of a client that needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import raysume
from raysume import limits
from raysume.client import operations, questions
from raysume.client.encoding import Batcher, CallBatch, encode_call, encode_like
from raysume.client.retries import Operation, Patience, Pause, backoff_s
from raysume.client.streams import Stream
from raysume.client.wire import Answer, Lost, Outcome, Request, refusal, retry_after_s
from raysume.errors import (
    DuplicateCall,
    InvalidCall,
    InvariantViolated,
    NotFound,
    RaysumeError,
    ResultTimeout,
    Unauthorized,
    Unavailable,
    UsageError,
)
from raysume.records import OutgoingCall


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def drive(operation: Operation[Any], outcomes: Iterable[Outcome], clock: Clock) -> Any:
    """The operation's result over these outcomes; every pause passes on the clock."""
    answers = iter(outcomes)
    outcome: Outcome | None = None
    try:
        while True:
            step = operation.send(outcome)
            outcome = None
            if isinstance(step, Pause):
                clock.now += step.seconds
            else:
                drive_requests.append(step)
                clock.now += step.wait_s
                outcome = next(answers)
    except StopIteration as stop:
        return stop.value


drive_requests: list[Request] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    drive_requests.clear()


def patience(clock: Clock, limit_s: float | None = 60.0) -> Patience:
    return Patience(limit_s=limit_s, clock=clock, chance=lambda: 0.5)


def answer(status: int, **problem: Any) -> Answer:
    return Answer(status=status, body=json.dumps(problem).encode(), is_problem=bool(problem))


def accepted(**body: Any) -> Answer:
    return Answer(status=202, body=json.dumps(body).encode())


# --- answers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, InvalidCall),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (405, UsageError),
        (409, DuplicateCall),
        (413, InvalidCall),
        (415, InvalidCall),
        (422, InvalidCall),
        (429, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
    ],
)
def test_a_refusal_is_the_error_that_says_what_to_do(
    status: int, expected: type[RaysumeError]
) -> None:
    error = refusal(answer(status, code="some-code", detail="Something is wrong"))
    assert type(error) is expected
    assert error.message == "Something is wrong"
    assert error.details["problem"] == "some-code"


def test_a_refusal_carries_item_field_and_message() -> None:
    errors = [{"item": 3, "field": "input.id", "message": "must be a number"}, {"message": "x"}]
    error = refusal(answer(422, detail="A call does not fit", errors=errors))
    assert str(error) == "A call does not fit: input.id: must be a number"
    assert (error.details["item"], error.details["field"]) == (3, "input.id")
    assert len(error.details["errors"]) == 2


def test_a_server_error_is_a_bug_only_when_the_engine_itself_says_so() -> None:
    ours = refusal(answer(500, code="internal", detail="Something went wrong", id="e-17"))
    assert isinstance(ours, InvariantViolated)
    assert "e-17" in str(ours)
    proxy = refusal(Answer(status=500, body=b"<html>oops"))
    assert isinstance(proxy, Unavailable)
    assert "not in raysume's form" in str(proxy)


@given(st.integers(400, 599), st.binary(max_size=50), st.booleans())
def test_any_answer_is_some_error(status: int, body: bytes, is_problem: bool) -> None:
    error = refusal(Answer(status=status, body=body, is_problem=is_problem))
    assert isinstance(error, RaysumeError)
    assert str(error)


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert retry_after_s("3") == 3
    assert retry_after_s("Wed, 01 May 2024 10:00:05 GMT", now=now) == 5
    assert retry_after_s("Wed, 01 May 2024 09:00:00 GMT", now=now) == 0
    assert [retry_after_s(value) for value in (None, "soon", "nan", "inf")] == [None] * 4


# --- retries ---------------------------------------------------------------------


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0, 100))
def test_pauses_grow_within_bounds_and_respect_the_server(
    attempt: int, chance: float, asked: float
) -> None:
    own = backoff_s(attempt, chance=chance)
    assert limits.RETRY_BACKOFF_S_MIN / 2 <= own <= limits.RETRY_BACKOFF_S_MAX
    assert backoff_s(attempt + 1, chance=chance) >= own
    assert backoff_s(attempt, chance=chance, retry_after_s=asked) >= max(own, asked)


def test_a_request_is_repeated_until_there_is_an_answer() -> None:
    clock = Clock()
    busy = Answer(status=429, body=b"", retry_after_s=4.0)
    lost = Lost(reason="reset", sent=True)
    outcomes: list[Outcome] = [busy, lost, answer(503), accepted(id="x")]
    assert drive(operations.push(b"{}", patience(clock)), outcomes, clock) == "x"
    assert clock.now >= 4.0
    assert len({id(request) for request in drive_requests}) == 1


def test_patience_ends() -> None:
    clock = Clock()
    lost = Lost(reason="http://127.0.0.1:1: refused", sent=False)
    with pytest.raises(Unavailable, match="refused"):
        drive(operations.push(b"{}", patience(clock, 10.0)), [lost] * 100, clock)
    assert clock.now <= 10.0
    assert len(drive_requests) > 3


def test_a_batch_is_as_patient_as_the_one_that_has_to_come_first() -> None:
    clock, stream = Clock(), Stream(publisher="p")
    first, second = stream.take(1), stream.take(1)
    batch = CallBatch(body=b"{}", first=1, count=1)
    early, taken = answer(412), accepted(accepted=1, duplicates=0)

    def send() -> Operation[int]:
        usual = patience(clock, 10.0)
        return operations.push_batch(batch, "p", second, stream.patience(usual, second))

    assert drive(send(), [early] * 1_000 + [taken], clock) == 1
    assert clock.now > 20.0
    stream.has_taken(first)
    clock.now = 0.0
    with pytest.raises(Unavailable, match="Gave up"):
        drive(send(), [early] * 1_000, clock)
    assert clock.now <= 10.0


@pytest.mark.parametrize(
    ("outcome", "repeated"),
    [
        (Lost(reason="refused", sent=False), True),
        (Lost(reason="reset", sent=True), False),
        (Answer(status=429, body=b""), True),
        (Answer(status=503, body=b""), False),
    ],
)
def test_what_could_happen_twice_is_repeated_only_if_it_did_not_happen(
    outcome: Outcome, repeated: bool
) -> None:
    clock = Clock()
    operation = operations.start("w", b"{}", None, False, patience(clock))
    outcomes = [outcome, Answer(status=201, body=b'{"id":"a"}')]
    if repeated:
        assert drive(operation, outcomes, clock).id == "a"
    else:
        with pytest.raises(Unavailable, match="twice"):
            drive(operation, outcomes, clock)


def test_a_result_is_asked_for_again_until_its_time_is_over() -> None:
    clock = Clock()
    target = operations.Target(id="a/b", workflow="w")
    waiting = Answer(status=202, body=b'{"status":"waiting"}')
    with pytest.raises(ResultTimeout, match="waiting after 60 s"):
        drive(operations.result(target, patience(clock)), [waiting] * 10, clock)
    assert [request.wait_s for request in drive_requests] == [25, 25, 10]
    assert drive_requests[0].path == "/v1/instances/a%2Fb/result"
    done = Answer(status=200, body=b'{"status":"completed","result":{"n":1}}')
    operation = operations.result(target, patience(clock, None))
    assert drive(operation, [waiting, waiting, done], clock) == b'{"n":1}'


def test_an_answer_that_is_none_of_ours_is_named() -> None:
    clock = Clock()
    html = Answer(status=200, body=b"<html>")
    with pytest.raises(InvariantViolated, match="raysume engine"):
        drive(operations.push(b"{}", patience(clock)), [html], clock)


# --- encoding --------------------------------------------------------------------


class Address(BaseModel):
    street: str


def test_values_are_encoded_as_pydantic_does() -> None:
    body = encode_call(
        "orders.paid",
        input={
            "at": datetime(2024, 5, 1, tzinfo=UTC),
            "amount": Decimal("1.10"),
            "id": UUID(int=7),
            "to": Address(street="Ä"),
            "after": timedelta(hours=1),
            "large": 2**70,
        },
        output=None,
    )
    assert json.loads(body) == {
        "method": "orders.paid",
        "input": {
            "at": "2024-05-01T00:00:00Z",
            "amount": "1.10",
            "id": "00000000-0000-0000-0000-000000000007",
            "to": {"street": "Ä"},
            "after": "PT1H",
            "large": 2**70,
        },
        "output": None,
    }


def test_an_outgoing_call_keeps_its_bytes() -> None:
    call = OutgoingCall(
        id="1", method="m", service="s", input=b'{"a":1.10}', error="ValueError: no", headers={}
    )
    assert (
        encode_like(call) == b'{"method":"m","input":{"a":1.10},"id":"1","error":"ValueError: no"}'
    )
    done = OutgoingCall(id="1", method="m", service="s", input=b"{}", output=b"null")
    assert b'"output":null' in encode_like(done)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"input": {}}, "no 'method'"),
        ({"method": "m"}, "no 'input'"),
        ({"method": "m", "input": {}, "inputs": {}}, "no field 'inputs'"),
        ({"method": "m", "input": 1}, "mapping of parameters"),
        ({"method": "m", "input": {}, "id": 1j}, "not text"),
        ("m", "a call is a mapping"),
    ],
)
def test_what_is_no_call_is_refused_with_the_reason(call: Any, message: str) -> None:
    with pytest.raises(InvalidCall, match=message):
        encode_like(call)


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 10), st.integers(100, 1_000))
def test_batches_hold_all_calls_in_order_within_their_limits(
    sizes: list[int], calls_max: int, bytes_max: int
) -> None:
    batcher = Batcher(calls_max=calls_max, bytes_max=bytes_max)
    given_calls = [{"method": "m", "input": {"x": "y" * size}} for size in sizes]
    batches = [batcher.add(call) for call in given_calls]
    batches.append(batcher.rest())
    found = [batch for batch in batches if batch is not None]
    assert [json.loads(line) for batch in found for line in batch.body.splitlines()] == given_calls
    first = 0
    for batch in found:
        assert (batch.first, batch.count) == (first, len(batch.body.splitlines()))
        assert batch.count <= calls_max
        assert batch.count == 1 or len(batch.body) <= bytes_max + batch.count
        first += batch.count


def test_a_call_that_cannot_be_encoded_is_named_by_its_place() -> None:
    batcher = Batcher()
    batcher.add({"method": "m", "input": {}})
    with pytest.raises(InvalidCall, match="call 1") as caught:
        batcher.add({"method": "m", "input": {"x": object()}})
    assert caught.value.details["item"] == 1


# --- arguments -------------------------------------------------------------------


@raysume.workflow(name="wire.plain")
async def plain(order: int) -> int:
    return order


def test_a_start_without_a_rule_for_its_id_gets_one_that_makes_it_repeatable() -> None:
    start = questions.plan_start(plain, (7,), {}, None)
    assert start.id
    assert start.repeatable
    assert start.input_json == b'{"order":7}'
    by_name = questions.plan_start("wire.plain", (), {"order": 7}, None)
    assert (by_name.id, by_name.repeatable) == (None, False)
    with pytest.raises(UsageError):
        questions.plan_start(test_patience_ends, (), {}, None)  # type: ignore[arg-type]


def test_a_listing_asks_in_utc_and_refuses_naive_times() -> None:
    since = datetime.fromisoformat("2024-05-01T12:00:00+02:00")
    query = questions.listing_query(since=since, workflow="w", status=None, limit=5)
    assert query == {"workflow": "w", "since": "2024-05-01T10:00:00+00:00", "limit": "5"}
    with pytest.raises(UsageError, match="until"):
        questions.listing_query(until=datetime(2024, 5, 1))
