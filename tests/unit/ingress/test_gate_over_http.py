"""Who may push what: services their own methods and external ones, operators all; the rest is refused."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.ingress.fakes import as_json, call, catalogue, method
from tests.unit.ingress.served import NDJSON, Served, served

from raysume.records import CallRecord
from raysume.storage.call_ports import CallQuery

OWN, OTHER = "Bearer shop", "Bearer other"


async def push(one: Served, token: str, *calls: dict[str, Any]) -> Any:
    """The answer to these calls, pushed with this token."""
    if len(calls) == 1:
        return await one.post("/v1/calls", calls[0], headers={"Authorization": token})
    return await one.post("/v1/calls:batch", list(calls), headers={"Authorization": token})


async def stored(one: Served) -> list[CallRecord]:
    """What is in the log, oldest first; all of it is delivered."""
    await one.ingress.all_delivered()
    return [found.call for found in one.log.list_calls(CallQuery())]


def woken(one: Served) -> list[str]:
    """The calls that any pool has."""
    return [id for pool in one.engine.pools.values() for id in pool.calls]


@pytest.mark.row(59)
@pytest.mark.parametrize(
    ("token", "urn", "status", "code", "said"),
    [
        (OTHER, "orders.submitted", 403, "not-external", "belongs to service 'shop'"),
        (OTHER, "orders.submitted", 403, "not-external", "the token is of service 'other'"),
        (OWN, "orders.submited", 422, "unknown-method", "did you mean 'orders.submitted'"),
        ("Bearer operator", "nothing.like.it", 422, "unknown-method", "check the name"),
    ],
)
async def test_what_may_not_be_pushed_is_refused_with_a_warning_and_wakes_nothing(
    token: str, urn: str, status: int, code: str, said: str
) -> None:
    async with served() as one:
        allowed, refused = call(1, method="orders.paid"), call(2, method=urn)
        for calls in ([refused], [allowed, refused, refused]):
            with capture_logs() as logs:
                answer = await push(one, token, *calls)
            problem = one.refused(answer, status, code)
            assert problem["errors"][0]["item"] == len(calls) // 2
            assert problem["errors"][0]["field"] == "method"
            assert said in problem["detail"]
            [warning] = [line for line in logs if line["log_level"] == "warning"]
            assert (warning["event"], warning["code"]) == ("call_refused", code)
            assert warning["method"] == urn
            assert warning["by"] in ("service 'other'", "service 'shop'", "an operator")
        await one.ingress.all_delivered()
        assert woken(one) == []


@pytest.mark.row(59)
async def test_lines_are_refused_as_arrays_are() -> None:
    async with served() as one:
        lines = as_json(call(1, method="orders.paid")) + b"\n" + as_json(call(2)) + b"\n"
        headers = {**NDJSON, "Authorization": OTHER}
        one.refused(await one.post("/v1/calls:batch", lines, headers=headers), 403, "not-external")


async def test_a_service_pushes_its_own_methods_and_external_ones_and_an_operator_all() -> None:
    async with served() as one:
        for token, urn in (
            (OWN, "orders.submitted"),
            (OWN, "orders.paid"),
            (OTHER, "orders.paid"),
            ("Bearer operator", "orders.submitted"),
        ):
            assert (await push(one, token, call(method=urn))).status_code == 202
        assert {found.service for found in await stored(one)} == {"shop"}


async def test_what_was_external_is_refused_once_it_is_not_any_more() -> None:
    async with served() as one:
        methods = {"orders.paid": method("orders.paid")}
        one.engine.deploy(catalogue(2, methods=methods))
        await one.ingress.deployed(2)
        one.refused(await push(one, OTHER, call(method="orders.paid")), 403, "not-external")


async def test_a_method_of_several_services_is_each_ones_own() -> None:
    async with served() as one:
        shared = method("shared", other_services=frozenset({"other"}))
        one.engine.deploy(catalogue(2, methods={"shared": shared}))
        await one.ingress.deployed(2)
        for token in (OTHER, OWN, "Bearer operator"):
            assert (await push(one, token, call(method="shared"))).status_code == 202
        assert [found.service for found in await stored(one)] == ["other", "shop", "shop"]


@pytest.mark.row(60)
async def test_calls_of_a_local_only_method_are_marked_as_of_their_service_only() -> None:
    async with served() as one:
        local = method("local", local_only=True)
        both = {"local": local, "orders.paid": method("orders.paid", external=True)}
        one.engine.deploy(catalogue(2, methods=both))
        await one.ingress.deployed(2)
        mine = call(2, method="local", id="mine")
        for given in (call(1, method="local"), mine, call(3, method="orders.paid")):
            assert (await push(one, "Bearer operator", given)).status_code == 202
        found = await stored(one)
        assert [each.local_only for each in found] == [True, True, False]
        assert [each.is_seen_by("shop") for each in found] == [True, True, True]
        assert [each.is_seen_by("other") for each in found] == [False, False, True]
