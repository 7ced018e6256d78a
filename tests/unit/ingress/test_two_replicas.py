"""Two ingress replicas over one call log and one engine: what each knows, both act on."""

from __future__ import annotations

from tests.unit.ingress.fakes import FakeEngine, call, catalogue
from tests.unit.ingress.served import Served, served

from raysume.limits import BACKLOG_CALLS_MAX
from raysume.storage.memory.calls import MemoryCallLog

LAGGING = "approval@v1/0"


async def status_of(replica: Served, method: str) -> int:
    answer = await replica.post("/v1/calls", call(method=method, output=True))
    if answer.status_code == 429:
        assert int(answer.headers["retry-after"]) >= 1
        assert LAGGING in answer.json()["detail"]
    return answer.status_code


async def test_a_pool_that_lags_refuses_its_own_methods_on_every_replica_until_it_has_caught_up() -> (
    None
):
    engine = FakeEngine(MemoryCallLog())
    async with served(engine) as left, served(engine) as right:
        both = (left, right)
        engine.pool(LAGGING).backlog = BACKLOG_CALLS_MAX + 1
        for replica in both:
            assert await status_of(replica, "orders.submitted") == 202
            await replica.ingress.all_delivered()
        for replica in both:
            assert await status_of(replica, "orders.submitted") == 429
            assert await status_of(replica, "orders.paid") == 202
        engine.pool(LAGGING).backlog = 0
        for replica in both:
            dispatcher = replica.ingress._dispatcher  # pyright: ignore[reportPrivateUsage]
            await dispatcher.progress.until(lambda: not dispatcher.lagging({"orders.submitted"}))  # noqa: B023
            assert await status_of(replica, "orders.submitted") == 202


async def test_ids_of_clients_and_publishers_hold_through_any_replica() -> None:
    engine = FakeEngine(MemoryCallLog())
    async with served(engine) as left, served(engine) as right:
        mine = call(id="mine")
        assert (await left.post("/v1/calls", mine)).status_code == 202
        assert (await right.post("/v1/calls", mine)).status_code == 200
        other = await right.post("/v1/calls", call(2, id="mine"))
        assert (other.status_code, other.json()["code"]) == (409, "duplicate-call")
        batch = [call(n) for n in range(4)]
        source = {"Raysume-Publisher": "p", "Raysume-Sequence": "1"}
        first = await left.post("/v1/calls:batch", batch[:2], headers=source)
        again = await right.post("/v1/calls:batch", batch, headers=source)
        last = await left.post("/v1/calls:batch", batch, headers=source)
        assert [one.status_code for one in (first, again, last)] == [202, 202, 200]
        assert [one.json()["accepted"] for one in (first, again, last)] == [2, 2, 0]
        assert len(left.stored()) == 5


async def test_a_deployment_reaches_every_replica() -> None:
    engine = FakeEngine(MemoryCallLog(), catalogue())
    async with served(engine) as left, served(engine) as right:
        bare = catalogue(2, methods={}, workflows=[], pools={})
        engine.deploy(bare)
        for replica in (left, right):
            await replica.ingress.deployed(2)
            assert await status_of(replica, "orders.paid") == 422
