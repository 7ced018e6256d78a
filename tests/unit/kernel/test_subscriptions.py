"""A pool gets the calls of the methods that its workflow names, and says so when it waits for others."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tests.unit.kernel.bench import Bench, begun, one, two

from raysume import wait, workflow
from raysume.actors.deployed_workflows import DeployedWorkflow
from raysume.actors.deploying import described
from raysume.actors.kernel.status import Status
from raysume.actors.loading import Target, load
from raysume.errors import UsageError

DOCUMENTED = (Path(__file__).parents[3] / "docs" / "refusals.md").read_text()

MODULE = """
from pydantic import BaseModel

from raysume import external_call, subflow, wait, workflow

class Thing(BaseModel):
    key: str

begun = external_call("subscribed.begun", input=Thing)
more = external_call("subscribed.more", input=Thing)
other = external_call("subscribed.other", input=Thing)

@subflow
async def asking(key: str) -> None:
    await wait(more).match(key=key)

@workflow(name="subscribed.asks")
async def asks() -> None:
    first = await wait(begun).match_any()
    await asking(first.input.key)

@workflow(name="subscribed.hides")
async def hides() -> None:
    first = await wait(begun).match_any()
    await wait(globals()["other"]).match(key=first.input.key)
"""


def test_a_pool_subscribes_to_what_its_workflow_names_and_to_all_where_names_do_not_tell(
    tmp_path: Path,
) -> None:
    path = tmp_path / "subscribed_module.py"
    path.write_text(MODULE)
    target = Target.of(path)
    workflows, _ = described(load(target), target)
    deployed = [msgspec.msgpack.decode(one, type=DeployedWorkflow) for one in workflows]
    mine = {
        one.pool.workflow: {urn for urn in one.pool.methods if urn.startswith("subscribed.")}
        for one in deployed
    }
    assert mine == {
        "subscribed.asks": {"subscribed.begun", "subscribed.more"},
        "subscribed.hides": {"subscribed.begun", "subscribed.more", "subscribed.other"},
    }


def test_a_wait_for_a_method_whose_calls_do_not_come_fails_where_it_is_made() -> None:
    elsewhere = [two]

    @workflow
    async def surprised() -> None:
        await wait(begun).match_any()
        try:
            await wait(elsewhere[0]).match_any()
        except UsageError as refused:
            said.append(refused)
        await wait(one).match_any()

    said: list[UsageError] = []
    bench = Bench(surprised, keep_live=True, subscribed=frozenset((begun.urn, one.urn)))
    bench.push(begun)
    assert bench.only.status is Status.WAITING
    assert [wait.method for wait in bench.only.waits.values()] == [one.urn]
    [refused] = said
    rule = refused.details["rule"]
    assert rule == "method-not-named"
    assert f"| `{rule}` |" in DOCUMENTED
    assert two.urn in refused.message
