"""Which predicates have a range, and what is read of calls for it."""

# ruff: noqa: ARG001 - functions that exist for their signatures
from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel
from tests.unit.kernel.random_matches import lambda_of

from raysume import push_call, wait
from raysume.call import Call
from raysume.matching import Parsed, bind
from raysume.matching.ranges import ANY, NONE, range_of, range_reader
from raysume.records import CallRecord


class Account(BaseModel):
    level: int
    owner: str = ""

    @property
    def rank(self) -> int:
        return self.level + 1


@push_call("ranges.event")
def event(
    amount: int,
    price: Decimal = Decimal(1),
    share: float = 0.5,
    note: str = "",
    at: datetime | None = None,
    account: Account | None = None,
    urgent: bool = False,
    anything: Any = None,
) -> int:
    return 1


AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
FIRST = Call.of(
    CallRecord("f", event.urn, "tests", 0, b'{"amount": 3, "account": {"level": 4}}', b"5"), event
)
VARIABLES: dict[str, Any] = {
    "limit": 3,
    "half": 0.5,
    "dec": Decimal("1.5"),
    "text": "m",
    "at": AT,
    "day": AT.date(),
    "naive": datetime(2024, 3, 1),
    "zoned": AT.astimezone(ZoneInfo("Europe/Berlin")),
    "nan": float("nan"),
    "dec_nan": Decimal("NaN"),
    "none": None,
    "box": [1],
    "first": FIRST,
    "hour": timedelta(hours=1),
    "account": Account(level=1),
}


def told(expression: str) -> tuple[tuple[Any, ...], tuple[str, ...]] | None:
    """What the range of a lambda is, and its guards."""
    predicate = bind(wait(event).match_if(lambda_of(expression, VARIABLES))).predicate
    assert predicate is not None
    found = range_of(predicate, event)
    if found is None:
        return None
    of, bounds = found
    return (of.part, "".join(of.operators), of.kind, *bounds), of.guards


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("call.input.amount > limit", ("input.amount", ">", "int", 3)),
        ("limit > call.input.amount", ("input.amount", "<", "int", 3)),
        ("half <= call.input.amount < limit", ("input.amount", ">=", "float", 0.5)),
        ("1 <= call.input.amount < limit", ("input.amount", ">=<", "int", 1, 3)),
        (
            "limit > call.input.amount and call.input.amount >= 1 and 1 / 0",
            ("input.amount", "<>=", "int", 3, 1),
        ),
        ("call.input.amount > limit > 1", ("input.amount", ">", "int", 3)),
        ("call.input.amount > 1 and call.input.share < limit", ("input.amount", ">", "int", 1)),
        (
            "call.input.amount > 1 and 1 < 2 and call.input.amount < 5",
            ("input.amount", ">", "int", 1),
        ),
        ("call.input.amount >= limit * 2 - 1", ("input.amount", ">=", "int", 5)),
        ("call.input.amount <= -limit", ("input.amount", "<=", "int", -3)),
        ("call.input.price < dec", ("input.price", "<", "decimal", Decimal("1.5"))),
        ("call.input.note >= text and 1 / 0", ("input.note", ">=", "str", "m")),
        ("call.input.at > at", ("input.at", ">", "aware", AT)),
        ("call.input.at > naive", ("input.at", ">", "naive", datetime(2024, 3, 1))),
        ("call.input.at > day", ("input.at", ">", "date", date(2024, 3, 1))),
        ("call.input.anything > hour", ("input.anything", ">", "timedelta", timedelta(hours=1))),
        ("call.input.account.level > True", ("input.account.level", ">", "int", True)),
        ("call.output > first.output", ("output", ">", "int", 5)),
        ("call.input.amount > first.input.amount", ("input.amount", ">", "int", 3)),
        ("call.input.amount > first.input.account.level", None),  # behind None there is a union
        ("call.input.amount > first.input.anything", None),
        ("call.input.amount > account.level", None),
        ("call.input.amount > box[0]", None),
        ("call.input.amount > UNKNOWN", None),
        ("call.input.amount > dec + dec", None),
        ("call.input.at > zoned", None),
        ("call.input.share > nan", None),
        ("call.input.price > dec_nan", None),
        ("call.input.amount > none", None),
        ("call.input.amount > call.output", None),
        ("call.input.account.rank > limit", None),
        ("call.input.amount > limit or call.input.urgent", None),
        ("not call.input.amount > limit", None),
        ("(call.input.amount > limit) & (1 / call.input.amount > 0)", None),
        ("call.input.amount != limit", None),
        ("call.input.note.upper() and call.input.amount > limit", None),
        ("limit and call.input.amount > limit", None),
    ],
)
def test_a_predicate_that_begins_with_a_comparison_has_a_range(
    expression: str, expected: tuple[Any, ...] | None
) -> None:
    assert told(expression) == (None if expected is None else (expected, ()))


@pytest.mark.parametrize(
    ("guards", "expression"),
    [
        (["call.output is not None"], "call.output is not None and call.output > limit"),
        (["call.input.urgent"], "call.input.urgent and (call.input.amount > limit and 1 / 0)"),
        (
            ["not call.input.urgent", "call.input.note != 'x'"],
            "not call.input.urgent and call.input.note != 'x' and call.input.amount > limit",
        ),
        (
            ["call.input.urgent or -1 < call.input.share"],
            "(call.input.urgent or -1 < call.input.share) and call.input.amount > limit",
        ),
    ],
)
def test_what_comes_before_the_comparison_guards_it(guards: list[str], expression: str) -> None:
    found = told(expression)
    assert found is not None
    assert found[1] == tuple(guards)


def test_further_parameters_of_a_lambda_are_fixed_like_captured_variables() -> None:
    matching = lambda_of("call.input.amount > least", {}, parameters=", least=7")
    predicate = bind(wait(event).match_if(matching)).predicate
    assert predicate is not None
    found = range_of(predicate, event)
    assert found is not None
    assert found[1] == (7,)


def test_equalities_come_before_the_predicate_and_may_raise() -> None:
    waiting = wait(event).match(anything=[1]).match_if(lambda call: call.input.amount > 1)
    bound = bind(waiting)
    assert bound.predicate is not None
    assert not bound.keys
    assert range_of(bound.predicate, event) is None


def reading(expression: str, input: bytes, output: bytes | None = None) -> Any:
    """What is read of a call for a predicate."""
    predicate = bind(wait(event).match_if(lambda_of(expression, VARIABLES))).predicate
    assert predicate is not None
    found = range_of(predicate, event)
    assert found is not None
    record = CallRecord("c", event.urn, "tests", 0, input, output)
    return range_reader(event, found[0])(Parsed(record, event))


INT, OUT = "call.input.amount > limit", "call.output is not None and call.output > limit"


@pytest.mark.parametrize(
    ("expression", "input", "expected"),
    [
        (INT, b'{"amount": 4}', 4),
        (INT, b'{"amount": "4"}', 4),
        (INT, b'{"amount": "x"}', ANY),
        (INT, b'{"amount": null}', ANY),
        (INT, b"{}", ANY),
        (INT, b'{"amount": 4, "share": "x"}', ANY),
        ("call.input.account.level > limit", b'{"amount": 1}', ANY),
        ("call.input.account.level > limit", b'{"amount": 1, "account": {"level": 2}}', 2),
        ("call.input.share > limit", b'{"amount": 1, "share": "NaN"}', NONE),
        ("call.input.share > dec", b'{"amount": 1, "share": 1.5}', ANY),
        ("call.input.price > half", b'{"amount": 1, "price": "1.5"}', ANY),
        ("call.input.price > limit", b'{"amount": 1, "price": "1.5"}', Decimal("1.5")),
        ("call.input.anything > limit", b'{"amount": 1, "anything": true}', True),
        ("call.input.anything > limit", b'{"amount": 1, "anything": "x"}', ANY),
        ("call.input.at > at", b'{"amount": 1, "at": "2024-03-01T12:00:00"}', ANY),
        ("call.input.at > at", b'{"amount": 1, "at": "2024-03-01T13:00:00+01:00"}', AT),
        ("call.input.at > day", b'{"amount": 1, "at": "2024-03-01T12:00:00"}', ANY),
        (OUT, b'{"amount": 1}', NONE),
        ("call.input.anything < 1 and call.input.amount > limit", b'{"amount": 1}', ANY),
    ],
)
def test_a_call_for_which_evaluation_may_raise_is_read_as_anything(
    expression: str, input: bytes, expected: Any
) -> None:
    read = reading(expression, input)
    assert (read is expected) if expected in (ANY, NONE) else (read == expected)
