"""Names in matches are checked against the method's signature."""

# ruff: noqa: ARG001 - functions that exist for their signatures
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from raysume import all_of, push_call, wait
from raysume.errors import UsageError
from raysume.matching import bind
from raysume.matching.checks import check_matches


class Order(BaseModel):
    id: int
    total: int


@dataclass
class Line:
    sku: str


@push_call("names.submitted")
def submit(order: Order, user: str, line: Line, data: dict[str, Any], a__b: int = 0) -> Order:
    return order


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"usr": 1}, "Did you mean 'user'"),
        ({"order__idd": 1}, "names.submitted"),
        ({"line__skus": 1}, "line__skus"),
        ({"nothing": 1}, "order, user, line, data"),
    ],
    ids=str,
)
def test_match_refuses_a_name_that_the_method_does_not_have(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        wait(submit).match(**fields)


def test_match_takes_paths_and_names_that_contain_two_underscores() -> None:
    built = wait(submit).match(order__id=1, line__sku="s", data__any__thing=2, a__b=3)
    assert [path for path, _ in built.fields] == [
        "input.order.id",
        "input.line.sku",
        "input.data['any']['thing']",
        "input.a__b",
    ]


def wrong_names() -> list[tuple[Callable[[Any], Any], str]]:
    return [
        (lambda call: call.input.usr == 1, "Did you mean 'user'"),
        (lambda call: call.input.order.idd == 1, "Order has no 'idd'.*Did you mean 'id'"),
        (lambda call: call.output.totl > 1, "Did you mean 'total'"),
        (lambda call: call.order.id == 1, r"call\.input\.order"),
        (lambda call: call.input.line.skus == 1, "Did you mean 'sku'"),
    ]


@pytest.mark.parametrize(
    ("predicate", "said"),
    wrong_names(),
    ids=["parameter", "field", "output", "envelope", "nested"],
)
def test_match_if_refuses_a_name_that_the_call_does_not_have(
    predicate: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        bind(wait(submit).match_if(predicate))


async def waits_for_a_wrong_field() -> None:
    await wait(submit).match_any()
    await wait(submit, name="second").match(usr="ann")


async def looks_at_a_wrong_field() -> None:
    await wait(submit).timeout(None).match_if(lambda c: c.input.order.idd)  # type: ignore[arg-type]


async def reads_a_wrong_parameter() -> None:
    call = await wait(submit).match(user="ann")
    if call.output:
        print([call.input.usr for _ in range(2)])


async def reads_a_wrong_field_of_the_output() -> None:
    if (call := await wait(submit).match(user="ann")).output.id:
        print(lambda: call.output.totl)  # pyright: ignore


async def is_told_a_wrong_parameter() -> None:
    seen: list[str] = []
    await wait(submit).match(user="ann").after_match(lambda c: seen.append(c.input.usr))


async def nests_a_wrong_field() -> None:
    async def inner() -> None:
        await all_of(wait(submit).match_any(), wait(submit, "b").match(order__idd=1))

    await inner()


async def is_right() -> None:
    mine: Any = None
    call = await wait(submit).match(user="u")
    print(call.input.order.id, call.input.data["any"], call.output.model_dump(), call.at, call.id)
    print(await wait(submit).match_if(lambda call: call.input.user == "u"))
    print([mine for call in mine for mine in call.anything])
    either = await wait(submit).match_any()
    either = await mine
    print(either.anything, sorted(mine, key=lambda call: call.anything))
    await wait(submit).match_if(lambda c: c.input.order.id == 1 and c.output.total).match(user="u")
    await wait(mine).match(anything=1)  # pyright: ignore[reportUnknownMemberType]
    await mine.match(anything=1)


@pytest.mark.parametrize(
    "function",
    [
        *(waits_for_a_wrong_field, looks_at_a_wrong_field, reads_a_wrong_parameter),
        *(reads_a_wrong_field_of_the_output, is_told_a_wrong_parameter, nests_a_wrong_field),
    ],
)
def test_a_workflow_with_a_wrong_name_is_refused_with_its_line(function: Any) -> None:
    with pytest.raises(UsageError, match=r"test_names\.py:\d+: .*Did you mean"):
        check_matches(function)


def test_a_workflow_with_right_or_unknown_names_is_accepted() -> None:
    check_matches(is_right)  # type: ignore[arg-type]
