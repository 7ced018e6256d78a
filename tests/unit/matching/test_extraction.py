"""Keys of calls: the fast way over raw JSON gives what the validated call gives."""

# ruff: noqa: ARG001 - functions that exist for their signatures
from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from raysume import external_call, push_call, wait
from raysume.call import Call
from raysume.errors import UsageError
from raysume.matching import MatchAnyWarning, Parsed, bind, evaluate, extractor
from raysume.methods import Method
from raysume.records import CallRecord


class Plain(BaseModel):
    id: int
    name: str = "nobody"


class Aliased(BaseModel):
    number: int = Field(alias="no")


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    name: str


class Validated(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()


class WithProperty(BaseModel):
    id: int

    @property
    def double(self) -> int:
        return 2 * self.id


@push_call("extraction.event")
def event(
    plain: Plain,
    aliased: Aliased,
    stripped: Stripped,
    validated: Validated,
    prop: WithProperty,
    trimmed: Annotated[str, StringConstraints(strip_whitespace=True)],
    number: int,
    ratio: float,
    day: date,
    guid: UUID,
    data: dict[str, Any],
    copy: str = "c",
) -> Plain:
    return plain


INPUT: dict[str, Any] = {
    "plain": {"id": 7},
    "aliased": {"no": 8},
    "stripped": {"name": " ann "},
    "validated": {"name": "ANN"},
    "prop": {"id": 4},
    "trimmed": " x ",
    "number": "12",
    "ratio": 3,
    "day": "2024-01-02",
    "guid": str(UUID(int=5)),
    "data": {"k": [1, 2]},
}


def parsed(values: dict[str, Any], method: Method = event, output: bytes | None = None) -> Parsed:
    data = json.dumps(values).encode()
    return Parsed(CallRecord("c", method.urn, "s", 0, data, output, None, {"a-b": "x"}), method)


@pytest.mark.parametrize(
    "fields",
    [
        {"plain__id": 7},
        {"plain__name": "nobody"},
        {"aliased__number": 8},
        {"stripped__name": "ann"},
        {"validated__name": "ann"},
        {"trimmed": "x"},
        {"number": 12},
        {"ratio": 3},
        {"day": date(2024, 1, 2)},
        {"guid": UUID(int=5)},
        {"copy": "c"},
        {"plain__id": 7, "number": 12, "guid": UUID(int=5)},
    ],
    ids=str,
)
def test_a_call_is_found_by_its_key(fields: dict[str, Any]) -> None:
    binding = bind(wait(event).match(**fields))
    assert binding.predicate is None
    key = extractor(event, binding.shape)(parsed(INPUT))
    assert key in binding.keys
    other = bind(wait(event).match(**dict.fromkeys(fields, -1)))
    assert key not in other.keys


@pytest.mark.parametrize(
    ("fields", "matches"),
    [({"prop__double": 8}, True), ({"data__k": [1, 2]}, True), ({"data__k": [1]}, False)],
    ids=str,
)
def test_what_cannot_be_a_key_is_left_to_the_predicate(
    fields: dict[str, Any], matches: bool
) -> None:
    binding = bind(wait(event).match(**fields))
    assert binding.shape == ()
    assert binding.predicate is not None
    assert evaluate(binding.predicate, parsed(INPUT).call) is matches


def test_json_is_parsed_at_most_once() -> None:
    call = parsed(INPUT)
    extractor(event, ("input.plain.id",))(call)
    first = call.input
    extractor(event, ("input.copy",))(call)
    assert call.input is first


def test_plain_values_are_read_without_validating_the_call() -> None:
    broken = parsed({"plain": {"id": 7}, "number": "not a number"})
    assert extractor(event, ("input.plain.id",))(broken) is not None
    assert extractor(event, ("input.number",))(broken) is None


@pytest.mark.parametrize("data", [b"{", b"[]", b"null", b"\xff", b"{}", b"[" * 5000])
def test_a_call_whose_json_is_not_of_the_method_has_no_key(data: bytes) -> None:
    record = CallRecord("c", event.urn, "s", 0, data)
    assert extractor(event, ("input.plain.id",))(Parsed(record, event)) is None


def test_a_call_without_output_has_no_key_of_its_output() -> None:
    assert extractor(event, ("output.id",))(parsed(INPUT)) is None
    found = extractor(event, ("output.id",))(parsed(INPUT, output=b'{"id": 3}'))
    assert found == extractor(event, ("input.plain.id",))(parsed({"plain": {"id": 3}}))


def test_headers_and_service_can_be_in_a_key() -> None:
    binding = bind(
        wait(event).match_if(lambda call: call.headers["a-b"] == "x" and call.service == "s")
    )
    assert binding.predicate is None
    assert extractor(event, binding.shape)(parsed(INPUT)) in binding.keys


def test_integers_that_do_not_fit_64_bits_have_the_key_of_their_value() -> None:
    big = 2**70
    binding = bind(wait(event).match(number=big))
    assert extractor(event, binding.shape)(parsed({**INPUT, "number": big})) in binding.keys
    assert extractor(event, binding.shape)(parsed({**INPUT, "number": big + 1})) not in binding.keys


class Payment(BaseModel):
    amount: int
    payer: str | None = None


paid = external_call("extraction.paid", input=Payment, output=bool)


def test_an_external_call_is_matched_by_the_fields_of_its_model() -> None:
    binding = bind(wait(paid).match(amount=5).match_if(lambda call: call.output))
    assert binding.shape == ("input.amount", "output")
    call = parsed({"amount": 5}, paid, b"true")
    assert extractor(paid, binding.shape)(call) in binding.keys
    assert extractor(paid, binding.shape)(parsed({"amount": 5}, paid, b"false")) not in binding.keys


def test_a_first_wait_without_match_means_every_call_and_warns() -> None:
    with pytest.warns(MatchAnyWarning, match="match_any"):
        binding = bind(wait(event), first=True)
    assert binding.matches_any
    assert bind(wait(event).match_any(), first=True) == binding


def test_a_later_wait_without_match_is_refused_with_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"match_any"):
        bind(wait(event))


def test_an_aware_moment_matches_in_any_zone() -> None:
    @push_call("extraction.moment")
    def moment(at: datetime) -> None: ...

    binding = bind(wait(moment).match(at=datetime(2024, 1, 1, 12, tzinfo=UTC)))
    call = parsed({"at": "2024-01-01T14:00:00+02:00"}, moment)
    assert extractor(moment, binding.shape)(call) in binding.keys


def test_a_predicate_raises_what_the_user_code_raises() -> None:
    def predicate() -> Callable[[Any], Any]:
        return lambda call: 1 / (call.input.number - 12)

    binding = bind(wait(event).match_if(predicate()))
    assert binding.predicate is not None
    with pytest.raises(ZeroDivisionError):
        evaluate(binding.predicate, Call.of(parsed(INPUT).record, event))
