"""Workflows of a running engine that await workflows in other pools."""

from __future__ import annotations

from tests.integration.cluster.running import Engine, until

from raysume import Client
from raysume.client import InstanceFacts


def facts_of(client: Client, id: str) -> InstanceFacts | None:
    return next((run.facts for run in client.instances("engine.sum") if run.id == id), None)


def test_a_child_in_another_pool_gives_its_result_also_after_kills(
    engine: Engine, client: Client
) -> None:
    run = client.start("outer", key="child")
    assert until(lambda: facts_of(client, "sum-child")).status == "waiting"
    engine.kill("outer@")
    engine.kill("engine.sum@")
    client.push("engine.closed", input={"key": "child", "n": 4}, output=True)
    assert run.result(timeout=60) == "child 7"
    assert client.instance("sum-child", "engine.sum").result(timeout=30) == 7


def test_cancelling_a_parent_cancels_its_child_in_another_pool(
    engine: Engine, client: Client
) -> None:
    run = client.start("outer", key="given-up")
    assert until(lambda: facts_of(client, "sum-given-up")).status == "waiting"
    with engine.http() as http:
        assert http.post(f"/v1/instances/{run.id}:cancel").status_code < 300

    def cancelled() -> InstanceFacts | None:
        facts = facts_of(client, "sum-given-up")
        return facts if facts is not None and facts.status == "cancelled" else None

    assert until(cancelled).id == "sum-given-up"
