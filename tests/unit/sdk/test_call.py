"""Calls: frozen, validated when looked at, pickled raw."""

# ruff: noqa: ARG001 - functions that exist for their signatures
from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from raysume import push_call
from raysume.call import Call
from raysume.errors import InvalidCall, UsageError
from raysume.records import CallRecord


class Order(BaseModel):
    id: int


@push_call("call.submit")
def submit(order: Order, user: str) -> bool:
    return True


def record(data: bytes = b'{"order":{"id":1},"user":"ann"}', **more: Any) -> CallRecord:
    fields: dict[str, Any] = {"output": b"true", "error": None, "headers": None, **more}
    return CallRecord("c1", "call.submit", "shop", 1_700_000_000_000_001, data, **fields)


def test_a_call_shows_what_was_recorded() -> None:
    call = Call.of(record(headers={"a": "b"}))
    assert (call.id, call.method, call.service) == ("c1", "call.submit", "shop")
    assert call.at == datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)
    assert call.headers == {"a": "b"}
    assert call.error is None
    assert call.input.order.id == 1
    assert call.output is True

    def reading(order: Order, user: str) -> tuple[int, str]:
        return (order.id, user)

    assert call.read(reading) == (1, "ann")


def test_a_call_is_frozen() -> None:
    call = Call.of(record())
    with pytest.raises(AttributeError, match="frozen"):
        call.input = 1  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del call.raw
    call.headers["x"] = "y"
    assert call.headers == {}
    assert copy.deepcopy(call) is call


def test_data_is_validated_only_when_looked_at() -> None:
    call = Call.of(record(b'{"order":{"id":"x"}}', output=b'"maybe"'))
    assert call.id == "c1"
    with pytest.raises(InvalidCall, match=r"input\.order\.id"):
        _ = call.input
    with pytest.raises(InvalidCall, match="output"):
        _ = call.output


def test_a_call_is_pickled_as_its_raw_record() -> None:
    call = Call.of(record(headers={"h": "v"}, local_only=True), submit)
    plain = pickle.dumps(call)
    _ = call.input, call.output
    assert pickle.dumps(call) == plain
    back = pickle.loads(plain)
    assert back == call
    assert back.headers == {"h": "v"}
    assert back.input.order == Order(id=1)
    assert hash(back) == hash(call)


def test_two_references_to_a_call_stay_one() -> None:
    call = Call.of(record(), submit)
    first, second = pickle.loads(pickle.dumps((call, call)))
    assert first is second


def test_a_call_of_an_unknown_method_says_so_when_looked_at() -> None:
    call = Call.of(CallRecord("c", "call.nowhere", "s", 0, b"{}"))
    assert call.method == "call.nowhere"
    with pytest.raises(UsageError, match="import the module"):
        _ = call.input


def test_unknown_fields_of_a_newer_publisher_are_ignored() -> None:
    call = Call.of(record(b'{"order":{"id":1},"user":"ann","added":1}'), submit)
    assert call.input.user == "ann"
