"""Calls of `local_only` methods: for workflows of the service whose calls they are, and nobody else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.kernel.bench import Bench, begun, call, delivery, one
from tests.unit.kernel.cases import looking, seeking

from raysume import wait, workflow
from raysume.actors.kernel.commits import LookedBack
from raysume.actors.kernel.deliveries import DeliveredCall
from raysume.actors.kernel.status import Status

ELSEWHERE, HERE = "bench", "tests"
"""The service of other programs, and that of the workflows of these tests."""


def local(item: DeliveredCall, *, service: str) -> DeliveredCall:
    """The call as one of a `local_only` method."""
    record = msgspec.structs.replace(item.call, local_only=True, service=service)
    return msgspec.structs.replace(item, call=record)


@pytest.mark.row(60)
@pytest.mark.parametrize(("service", "instances"), [(ELSEWHERE, 0), (HERE, 1)])
def test_a_delivered_call_starts_something_in_its_own_service_only(
    service: str, instances: int
) -> None:
    @workflow
    async def starting() -> None:
        await wait(begun).match_any()

    bench = Bench(starting)
    commit = bench.apply(delivery(local(call(begun, 0, key="a"), service=service)))
    assert len(bench.instances) == instances
    assert commit.applied_calls == instances
    assert bench.kernel.watermarks == {1: 1}


@pytest.mark.row(60)
@pytest.mark.parametrize(("service", "taken"), [(ELSEWHERE, 3), (HERE, 2)])
def test_what_is_read_from_the_log_is_looked_at_in_the_same_way(service: str, taken: int) -> None:
    bench = Bench(seeking, recent_calls=2)
    order = looking(bench)
    calls = [local(call(one, 2, key="a", n=2), service=service), call(one, 3, key="a", n=3)]
    bench.apply(LookedBack(instance=order.instance, wait=order.wait, calls=calls))
    assert bench.result() == taken


@pytest.mark.row(60)
@pytest.mark.parametrize(("service", "status"), [(ELSEWHERE, "waiting"), (HERE, "completed")])
def test_what_is_remembered_after_a_restart_is_looked_at_in_the_same_way(
    service: str, status: str
) -> None:
    @workflow
    async def early() -> int:
        first = await wait(begun).match_any()
        await wait(begun).match(key="on")
        return (await wait(one).match(key=first.input.key)).input.n

    bench = Bench(early)
    bench.push(begun, key="a")
    seen: list[Any] = [local(call(one, 1, key="a", n=5), service=service)]
    bench.apply(delivery(*seen))
    bench.offset = 2
    bench.restart(remembered=(call(begun, 0, key="a"), *seen))
    bench.kernel.intake.recover({1: 2})
    bench.kernel.newest = (1, 1)
    bench.push(begun, key="on")
    assert bench.only.status is Status(status)
