"""Which conjuncts of a lambda become parts of the key, and when the key alone decides."""

# ruff: noqa: ARG001, ARG005 - functions that exist for their signatures
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from raysume import push_call, wait
from raysume.call import Call
from raysume.matching import Binding, Parsed, bind, evaluate, extractor
from raysume.methods import Method
from raysume.records import CallRecord

TODAY = date(2024, 5, 6)
GUID = UUID(int=77)


class Kind(Enum):
    A = "a"
    B = "b"


class Output(BaseModel):
    T: int = 0
    Date: date = TODAY
    Bytes: bytes = b""
    Enum: Kind = Kind.A
    Guid: UUID = GUID


@push_call("table.event")
def event(Id: int, IsMan: bool = True) -> Output:
    return Output()


@push_call("table.letters")
def letters(A: int, B: bool = False, C: bool = False) -> int:
    return 0


@dataclass
class Self:
    """The instance of the table."""

    I: int = 10
    IsChild: bool = False

    def method(self, number: int) -> int:
        return number


def record(method: Method, output: Any = None, **arguments: Any) -> CallRecord:
    data = method.encode_input(method.model_of(arguments))
    answer = b"null" if output is None else method.encode_output(output)
    return CallRecord("c1", method.urn, "tests", 0, data, answer)


def finds(binding: Binding, method: Method, call: CallRecord) -> bool:
    """Whether the index leads from the call to the wait."""
    if not binding.shape:
        return True
    return extractor(method, binding.shape)(Parsed(call, method)) in binding.keys


def meets(binding: Binding, method: Method, call: CallRecord) -> bool:
    """Whether the call meets the wait."""
    if not finds(binding, method, call):
        return False
    return binding.predicate is None or evaluate(binding.predicate, Call.of(call, method))


def bound(predicate: Callable[[Any], Any], method: Method = event) -> Binding:
    return bind(wait(method).match_if(predicate))


self = Self()
NOBODY: tuple[int, ...] = ()


def local_variable() -> Callable[[Any], Any]:
    number = 10
    return lambda call: call.input.Id == number + 20


def full() -> list[tuple[str, Callable[[Any], Any], tuple[str, ...]]]:
    return [
        ("instance", lambda call: call.input.Id == self.I + 20, ("input.Id",)),
        ("local", local_variable(), ("input.Id",)),
        ("date", lambda call: call.output.Date == TODAY, ("output.Date",)),
        (
            "enum and bool",
            lambda call: call.output.Enum == Kind.B and call.input.IsMan,
            ("input.IsMan", "output.Enum"),
        ),
        (
            "enum and not bool",
            lambda call: call.output.Enum == Kind.B and not call.input.IsMan,
            ("input.IsMan", "output.Enum"),
        ),
        ("guid", lambda call: call.output.Guid == GUID, ("output.Guid",)),
        ("min", lambda call: min(call.input.Id, 100) == self.I, ("min(input.Id, 100)",)),
        ("other side", lambda call: self.I == call.input.Id, ("input.Id",)),  # noqa: SIM300
        ("chain", lambda call: self.I == call.input.Id == 10, ("input.Id",)),
        ("in a tuple", lambda call: call.input.Id in (1, 2, 3), ("input.Id",)),
        (
            "ampersand",
            lambda call: (call.input.Id == 1) & (call.output.T == 2),
            ("input.Id", "output.T"),
        ),
        ("arithmetic", lambda call: call.input.Id % 10 == 3, ("input.Id % 10",)),
        ("header", lambda call: call.headers["tenant"] == "t", ("headers['tenant']",)),
    ]


def partly() -> list[tuple[str, Callable[[Any], Any], tuple[str, ...]]]:
    return [
        (
            "and greater",
            lambda call: call.output.T == self.I + 10 and call.input.Id > 12,
            ("output.T",),
        ),
        (
            "or first",
            lambda call: call.input.IsMan | self.IsChild and call.input.Id == self.I,
            ("input.Id",),
        ),
        (
            "long mix",
            lambda call: (
                call.output.T == 5
                and (call.input.IsMan or self.method(call.input.Id) == 4)
                and call.input.Id == self.I
                and not (call.input.Id > 100 and call.output.Enum == Kind.B)
            ),
            ("input.Id", "output.T"),
        ),
        ("chain", lambda call: 1 <= call.input.Id == self.I, ("input.Id",)),
        ("constant beside", lambda call: call.input.Id == 1 and self.IsChild, ("input.Id",)),
        ("fraction", lambda call: call.input.Id == 0.5, ("input.Id",)),
    ]


def none() -> list[tuple[str, Callable[[Any], Any]]]:
    return [
        (
            "not of a conjunction",
            lambda call: not (call.output.T == self.I + 10 and call.input.Id > 12),
        ),
        ("bytes", lambda call: call.output.Bytes == b"\x01"),
        ("mixed sides", lambda call: call.input.Id + self.I == self.I),
        ("method of the instance", lambda call: self.method(call.input.Id) == self.I),
        ("not a bool alone", lambda call: not call.input.IsMan),
        ("a bool alone", lambda call: call.input.IsMan),
        ("constants", lambda call: 11 + 1 == 12),
        ("or", lambda call: call.input.Id == 1 or call.input.IsMan),
        ("conditional", lambda call: call.input.Id == 1 if self.IsChild else True),
        ("None", lambda call: call.input.Id == None),
        ("raises", lambda call: call.input.Id == self.missing or True),  # type: ignore[attr-defined]
        ("unknown type", lambda call: call.input.Id == object()),
        ("call on both sides", lambda call: call.input.Id == call.output.T),
        ("walrus", lambda call: (x := call) and x.input.Id == 1),
        ("ampersand with more", lambda call: (call.input.Id == 1) & self.I),
        ("in a text", lambda call: str(call.input.Id) in "123"),
        ("in nothing", lambda call: call.input.Id in NOBODY),
        ("too many keys", lambda call: call.input.Id in range(1000)),
    ]


@pytest.mark.parametrize(
    ("predicate", "shape"), [row[1:] for row in full()], ids=[row[0] for row in full()]
)
def test_the_key_alone_decides(predicate: Callable[[Any], Any], shape: tuple[str, ...]) -> None:
    binding = bound(predicate)
    assert binding.shape == shape
    assert binding.keys
    assert binding.predicate is None


@pytest.mark.parametrize(
    ("predicate", "shape"), [row[1:] for row in partly()], ids=[row[0] for row in partly()]
)
def test_the_key_is_a_part_and_the_rest_is_checked(
    predicate: Callable[[Any], Any], shape: tuple[str, ...]
) -> None:
    binding = bound(predicate)
    assert binding.shape == shape
    assert binding.keys
    assert binding.predicate is not None


@pytest.mark.parametrize(
    "predicate", [predicate for _, predicate in none()], ids=[name for name, _ in none()]
)
def test_there_is_no_key(predicate: Callable[[Any], Any]) -> None:
    binding = bound(predicate)
    assert binding.shape == ()
    assert binding.keys == ()
    assert binding.predicate is not None
    assert not binding.matches_any


def disjunctions() -> list[Callable[[Any], Any]]:
    return [
        lambda call: call.input.A == 1 or not call.input.B,
        lambda call: call.input.A == 1 or not (call.input.B and call.input.C),
        lambda call: (call.input.A == 1 and call.input.C) or not call.input.B,
        lambda call: call.input.A == 1 or (call.input.B and not call.input.C),
    ]


@pytest.mark.parametrize("predicate", disjunctions())
def test_no_key_is_taken_from_one_arm_of_an_or(predicate: Callable[[Any], Any]) -> None:
    binding = bound(predicate, letters)
    assert binding.shape == ()
    others = [
        record(letters, A=2, B=b, C=c)
        for b in (False, True)
        for c in (False, True)
        if predicate(Call.of(record(letters, A=2, B=b, C=c), letters))
    ]
    assert others
    assert all(meets(binding, letters, call) for call in others)


def test_several_values_give_several_keys() -> None:
    binding = bound(lambda call: call.input.Id in {1, 2} and call.output.T in [5, 6, 5])
    assert len(binding.keys) == 4
    assert meets(binding, event, record(event, Output(T=6), Id=1))
    assert not meets(binding, event, record(event, Output(T=7), Id=1))


def test_parts_with_too_many_values_are_left_to_the_predicate() -> None:
    many = tuple(range(40))
    binding = bound(lambda call: call.input.Id in many and call.output.T in many)
    assert len(binding.keys) == 40
    assert len(binding.shape) == 1
    assert meets(binding, event, record(event, Output(T=6), Id=1))
    assert not meets(binding, event, record(event, Output(T=99), Id=1))
    assert not meets(binding, event, record(event, Output(T=6), Id=99))


def test_none_as_value_is_not_part_of_the_key_and_still_decides() -> None:
    @push_call("table.optional")
    def optional(owner: str | None, number: int) -> None: ...

    nobody = None
    binding = bind(wait(optional).match(owner=nobody, number=3))
    assert binding.shape == ("input.number",)
    assert meets(binding, optional, record(optional, owner=None, number=3))
    assert not meets(binding, optional, record(optional, owner="ann", number=3))


def test_lambdas_on_one_line_are_told_apart() -> None:
    first: Callable[[Any], Any]
    second: Callable[[Any], Any]
    first, second = (lambda call: call.input.Id == 1), (lambda call: call.input.Id == 2)
    assert bound(first).keys != bound(second).keys
    assert meets(bound(second), event, record(event, Id=2))


def test_values_are_those_at_the_wait() -> None:
    number = 1
    here = self.IsChild
    waiting = wait(event).match_if(lambda call: call.input.Id == number and call.input.Id > here)
    binding = bind(waiting)
    number = 2
    assert meets(binding, event, record(event, Id=1))
    assert not meets(binding, event, record(event, Id=2))
    assert meets(bind(waiting), event, record(event, Id=2))


def test_defaults_of_the_lambda_are_values() -> None:
    made = [
        bound(lambda call, wanted=wanted: call.input.Id == wanted)  # type: ignore[misc]
        for wanted in (1, 2)
    ]
    assert [binding.shape for binding in made] == [("input.Id",)] * 2
    assert meets(made[1], event, record(event, Id=2))
    assert not meets(made[0], event, record(event, Id=2))
