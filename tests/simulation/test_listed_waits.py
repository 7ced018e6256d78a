"""Waits of a pool as they are listed, on real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from tests.simulation.hosting import Hosted

from raysume import any_of, external_call, wait, workflow
from raysume.actors import explaining


class Thing(BaseModel):
    """What the calls carry."""

    n: int


begun = external_call("listing.begun", input=Thing)
more = external_call("listing.more", input=Thing)


@workflow
async def watching() -> None:
    first = await wait(begun).match_any()
    n = first.input.n
    if n % 2:
        await wait(more).match(n=n)
    else:
        await any_of(wait(more).match(n=n), wait(more).match_if(lambda call: call.input.n > n))


async def test_a_pool_lists_waits_without_a_key_page_by_page(tmp_path: Path) -> None:
    async with Hosted(tmp_path, watching, begun, more) as pool:
        for n in range(7):
            pool.push(begun, n=n)
        await pool.until(lambda: len(pool.host.kernel.instances) == 7)
        query: dict[str, Any] = {"limit": 3, "keyless": True}
        listed: list[dict[str, Any]] = []
        while page := await explaining.waits(pool.host, query):
            assert len(page) <= 3
            listed += page
            query["after"] = explaining.place_of(page[-1])
        everything = await explaining.waits(pool.host, {"limit": 100})
        assert len(everything) == 12
        assert listed == [row for row in everything if not row["key"]]
        assert [row["instance"] is None for row in listed] == [True, *[False] * 4]
        of_instances = await explaining.waits(
            pool.host, {"limit": 100, "keyless": True, "method": more.urn}
        )
        assert of_instances == listed[1:]
        of_one = {"limit": 100, "keyless": True, "instance": listed[1]["instance"]}
        assert await explaining.waits(pool.host, of_one) == listed[1:2]
