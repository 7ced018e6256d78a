"""Pushed functions behave as before, and publish what went in and came out."""

# ruff: noqa: ARG001 - functions that exist for their signatures
from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import pytest
from pydantic import BaseModel

from raysume import external_call, push_call, registry, wait
from raysume.call import Call
from raysume.durable import turn_scope
from raysume.errors import InvalidCall, UsageError
from raysume.methods import Method, current_sink, method_of
from raysume.records import CallRecord, OutgoingCall


class Order(BaseModel):
    id: int


@contextmanager
def published() -> Generator[list[OutgoingCall]]:
    """Collects what is published inside the block."""
    calls: list[OutgoingCall] = []
    token = current_sink.set(calls.append)
    try:
        yield calls
    finally:
        current_sink.reset(token)


def recorded(method: Method, call: OutgoingCall) -> Call[Any, Any]:
    """The call as a workflow would get it."""
    record = CallRecord(
        call.id, call.method, call.service, 1_000_000, call.input, call.output, call.error
    )
    return Call.of(record, method)


@push_call("methods.submit")
def submit(order: Order, user: str = "nobody", *, urgent: bool = False) -> list[Order]:
    """Submits an order."""
    return [order]


def test_a_decorated_function_runs_as_before_and_publishes_its_call() -> None:
    with published() as calls:
        assert submit(Order(id=1), urgent=True) == [Order(id=1)]
    [sent] = calls
    assert json.loads(sent.input) == {"order": {"id": 1}, "user": "nobody", "urgent": True}
    assert sent.output == b'[{"id":1}]'
    call = recorded(submit, sent)
    assert call.input.order == Order(id=1)
    assert call.output == [Order(id=1)]
    assert submit.__doc__ == "Submits an order."
    assert cast(Any, submit).__name__ == "submit"


def test_an_async_function_publishes_when_it_has_returned() -> None:
    @push_call("methods.later")
    async def later(number: int) -> int:
        await asyncio.sleep(0)
        assert calls == []
        return number + 1

    with published() as calls:
        assert asyncio.run(later(1)) == 2
    assert [call.output for call in calls] == [b"2"]


def test_a_function_that_raises_publishes_nothing() -> None:
    @push_call("methods.failing")
    def failing() -> None:
        raise LookupError("no")

    with published() as calls, pytest.raises(LookupError):
        failing()
    assert calls == []


def test_with_on_error_a_failed_call_is_published_with_its_error() -> None:
    @push_call("methods.audited", on_error=True)
    def audited(number: int) -> int:
        raise LookupError(f"no {number}")

    with published() as calls, pytest.raises(LookupError):
        audited(3)
    [sent] = calls
    assert sent.output is None
    assert sent.error == "LookupError: no 3"
    assert recorded(audited, sent).input.number == 3
    assert recorded(audited, sent).output is None


def test_inside_a_turn_the_call_goes_to_the_turn() -> None:
    @dataclass
    class Turn:
        task: Any = None
        instance: Any = None
        trace: str | None = None
        calls: list[OutgoingCall] = field(default_factory=list[OutgoingCall])

        def has_passed(self, moment: datetime) -> bool:
            raise NotImplementedError(moment)

        def publish(self, call: OutgoingCall) -> None:
            self.calls.append(call)

    turn = Turn()
    with published() as calls, turn_scope(turn):
        submit(Order(id=2))
    assert calls == []
    assert [call.method for call in turn.calls] == ["methods.submit"]


def test_the_input_is_what_went_in_even_when_the_body_changes_it() -> None:
    @push_call("methods.changing")
    def changing(numbers: list[int]) -> int:
        numbers.append(3)
        return len(numbers)

    with published() as calls:
        changing([1, 2])
    assert calls[0].input == b'{"numbers":[1,2]}'


def odd_names(
    copy: int,
    json: int,
    schema: int,
    model_config: int,
    _x: int,
    class_: int,
    model_fields_set: int,
) -> None: ...


def more_odd_names(
    self: int,
    cls: int,
    dict: int,
    model_dump: int,
    _: int,
    __y: int,  # pyright: ignore[reportGeneralTypeIssues] - it takes the name for an old notation
    field_x_1: int,
    input: int,
) -> None: ...


@pytest.mark.parametrize("function", [odd_names, more_odd_names])
def test_a_parameter_may_have_any_name(function: Callable[..., None]) -> None:
    method = push_call(f"methods.{function.__name__}")(function)
    values = {name: number for number, name in enumerate(method.parameters)}
    with published() as calls:
        method(**values)
    assert json.loads(calls[0].input) == values
    call = recorded(method, calls[0])
    for name, number in values.items():
        assert getattr(call.input, name) == number
    given: BaseModel = call.input
    assert type(given).model_validate_json(calls[0].input) == given
    assert list(method.input_schema()["properties"]) == list(values)
    assert call.read(lambda *a: list(a)) == list(values.values())
    assert wait(method).match(**{list(values)[3]: 3}).fields


def test_the_receiver_of_a_method_is_left_out() -> None:
    class Service:
        prefix = "p"

        @push_call("methods.of_instance")
        def handle(self, number: int) -> str:
            return f"{self.prefix}{number}"

        @staticmethod
        @push_call("methods.static_outside")
        def outside(number: int) -> int:
            return number

        @push_call("methods.static_inside")
        @staticmethod
        def inside(number: int) -> int:
            return number

        @classmethod
        @push_call("methods.class_outside")
        def of_class(cls, number: int) -> str:
            return f"{cls.prefix}{number}"

        @push_call("methods.odd_receiver")
        def odd(this, number: int) -> str:
            return f"{this.prefix}{number}"

    service = Service()
    # Type checkers see no static or class method through another decorator.
    plain: Any = service
    kind: Any = Service
    with published() as calls:
        assert service.handle(1) == "p1"
        assert Service.handle(service, 2) == "p2"
        assert plain.outside(3) == kind.outside(3) == 3
        assert plain.inside(4) == kind.inside(4) == 4
        assert plain.of_class(5) == kind.of_class(5) == "p5"
        assert service.odd(6) == "p6"
    numbers = [json.loads(call.input) for call in calls]
    assert numbers == [{"number": n} for n in (1, 2, 3, 3, 4, 4, 5, 5, 6)]
    for value in (service.handle, Service.handle, Service.outside, Service.of_class):
        assert wait(value).match(number=1).fields == (("input.number", 1),)


def test_positional_only_and_keyword_only_parameters_are_read_where_they_belong() -> None:
    @push_call("methods.places")
    def places(a: int, /, b: int, *, c: int) -> None: ...

    with published() as calls:
        places(1, 2, c=3)

    def reading(x: int, b: int, *, c: int) -> tuple[int, int, int]:
        return (x, b, c)

    assert recorded(places, calls[0]).read(reading) == (1, 2, 3)


def test_values_that_pydantic_converts_are_published_converted() -> None:
    @push_call("methods.converting")
    def converting(guid: UUID) -> float:
        return 1

    with published() as calls:
        converting(str(UUID(int=5)))  # type: ignore[arg-type]
    assert recorded(converting, calls[0]).input.guid == UUID(int=5)
    assert recorded(converting, calls[0]).output == 1.0


def test_a_value_of_another_type_is_refused_naming_the_parameter() -> None:
    ran: list[object] = []

    @push_call("methods.strict")
    def strict(number: int) -> None:
        ran.append(number)

    with published() as calls, pytest.raises(InvalidCall, match=r"input\.number"):
        strict("seven")  # type: ignore[arg-type]
    assert ran == ["seven"]
    assert calls == []


def test_wrong_arguments_raise_what_the_function_itself_raises() -> None:
    with published() as calls, pytest.raises(TypeError, match="submit"):
        submit()  # type: ignore[call-arg]
    assert calls == []


def test_bytes_and_infinite_numbers_survive() -> None:
    @push_call("methods.odd_values")
    def odd_values(data: bytes, number: float) -> bytes:
        return data[::-1]

    with published() as calls:
        odd_values(b"\xff\x00", float("inf"))
    call = recorded(odd_values, calls[0])
    assert call.input.data == b"\xff\x00"
    assert call.input.number == float("inf")
    assert call.output == b"\x00\xff"


def test_methods_are_pickled_by_reference() -> None:
    assert pickle.loads(pickle.dumps(submit)) is submit
    data = pickle.dumps(paid)
    assert pickle.loads(data) is paid
    with pytest.raises(UsageError, match="cannot be imported"):
        registry.require("methods.gone", "no_such_module", "gone")


class Payment(BaseModel):
    amount: int


paid = external_call("methods.paid", input=Payment, output=bool)


def test_an_external_method_is_declared_and_never_run() -> None:
    assert paid.external
    assert paid.parameters == ("amount",)
    with pytest.raises(UsageError, match="implemented elsewhere"):
        paid(amount=1)
    call = Call.of(CallRecord("c", "methods.paid", "s", 0, b'{"amount": 3}', b"true"))
    assert call.input == Payment(amount=3)
    assert call.output is True

    def reading(amount: int) -> int:
        return amount + 1

    assert call.read(reading) == 4


def test_what_is_not_a_method_is_refused_by_wait() -> None:
    def plain() -> None: ...

    with pytest.raises(UsageError, match=r"plain is not a method.*@push_call"):
        method_of(plain)


def test_unknown_parameters_are_refused_by_name() -> None:
    with pytest.raises(InvalidCall, match="'usr'"):
        submit.model_of({"order": {"id": 1}, "usr": "x"})
    with pytest.raises(InvalidCall, match=r"input\.order"):
        submit.model_of({})
    schema = submit.input_schema()
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["order"]
