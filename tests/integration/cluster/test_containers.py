"""A workflow as a class, on a whole engine: its fields, hooks and queries."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.cluster.running import Engine, until

from raysume import Client
from raysume.errors import NotFound, UsageError


def _started(client: Client, tag: str) -> Any:
    """The instance with this tag, once it is there."""
    return until(lambda: next(iter(client.instances("Desk.serve", tag={"desk": tag})), None))


def _has_noted(client: Client, run: Any, count: int) -> None:
    until(lambda: True if client.query(run, "count") == count else None)


def test_a_container_is_asked_while_it_waits_and_when_it_has_ended(
    engine: Engine, client: Client
) -> None:
    client.push("engine.opened", input={"key": "desk", "n": 7}, output=True)
    run = _started(client, "desk-7")
    assert client.query(run, "count") == 0
    client.push("engine.said", input={"key": "desk-7", "n": 5}, output=True)
    _has_noted(client, run, 1)
    state = run.state()
    assert state.container == {"key": "desk-7", "noted": ["**5**"]}
    assert [frame.definition for frame in state.frames] == ["Desk.serve", "Desk.heard"]
    with engine.http() as http:
        path = f"/v1/instances/{run.id}/query/count"
        assert http.get(path, params={"doubled": "true"}).json() == {"result": 2}
    with pytest.raises(UsageError, match="invalid doubled"):
        client.query(run, "count", doubled="perhaps")
    with pytest.raises(NotFound, match="its queries are: count"):
        client.query(run, "counted")
    client.push("engine.said", input={"key": "desk-7", "n": 0}, output=True)
    assert run.result(timeout=30) == ["**5**"]
    assert client.query(run.id, "count") == 2
    assert run.state().container == {"key": "desk-7", "noted": ["**5**", "closed"]}


def test_a_container_is_as_it_was_after_its_pool_was_killed(engine: Engine, client: Client) -> None:
    client.push("engine.opened", input={"key": "desk", "n": 8}, output=True)
    run = _started(client, "desk-8")
    client.push("engine.said", input={"key": "desk-8", "n": 1}, output=True)
    _has_noted(client, run, 1)
    engine.kill("Desk.serve")
    client.push("engine.said", input={"key": "desk-8", "n": 2}, output=True)
    client.push("engine.said", input={"key": "desk-8", "n": 0}, output=True)
    assert run.result(timeout=60) == ["**1**", "**2**"]
