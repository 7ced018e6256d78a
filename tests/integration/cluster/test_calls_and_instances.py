"""What users do with a running engine: push, wait for results, look at instances, start some."""

from __future__ import annotations

import json
import stat

import httpx
import pytest
from tests.integration.cluster.running import Engine, begin, started_by, until

from raysume import Client
from raysume.errors import InstanceFailed, UsageError


def test_a_call_starts_an_instance_and_a_second_one_completes_it(client: Client) -> None:
    run = begin(client, "pair", "engine.opened", "a", n=1)
    assert run.status() == "waiting"
    [wait] = run.facts.waits
    assert (wait["name"], wait["method"]) == ("second", "engine.closed")
    assert [one.id for one in client.instances("pair", tag={"key": "a"})] == [run.id]
    [frame] = run.state().frames
    assert (frame.definition, frame.wait) == ("pair", "wait for engine.closed")
    assert frame.file.endswith("engine_workflows.py")
    assert frame.locals["total"] == "1"
    client.push("engine.closed", input={"key": "another", "n": 5}, output=True)
    client.push("engine.closed", input={"key": "a", "n": 2}, output=True)
    assert run.result(timeout=30) == 3
    assert run.status() == "completed"
    assert run.id in {one.id for one in client.instances("pair", status="completed")}
    assert run.id not in {one.id for one in client.instances("pair", status="waiting")}


def test_a_result_is_awaited_by_long_poll(engine: Engine, client: Client) -> None:
    path = f"/v1/instances/{begin(client, 'pair', 'engine.opened', 'poll', n=1).id}/result"
    with engine.http() as http:
        assert http.get(path, params={"wait": 0.2}).status_code == 202
        client.push("engine.closed", input={"key": "poll", "n": 1}, output=True)
        answer = http.get(path, params={"wait": 30})
    assert (answer.status_code, answer.json()) == (200, {"status": "completed", "result": 2})


def test_every_workflow_is_listed_with_its_version(client: Client) -> None:
    facts = {one.name: one for one in client.workflows()}
    assert {"pair", "counting", "labour", "talk", "nap", "engine.sum"} <= facts.keys()
    assert facts["engine.sum"].has_parameters
    assert not facts["pair"].has_parameters
    versions = {one.name: one.version for one in facts.values()}
    assert len({versions[name] for name in ("pair", "counting", "engine.sum")}) == 3
    assert "engine.closed" in facts["pair"].subscribes


def test_an_explicit_start_of_one_id_twice_gives_the_same_instance(client: Client) -> None:
    one = client.start("engine.sum", label="twice", numbers=[1, 2], id="mine")
    two = client.start("engine.sum", label="twice", numbers=[1, 2], id="mine")
    assert (one.id, two.id) == ("mine", "mine")
    assert len([run for run in client.instances("engine.sum") if run.id == "mine"]) == 1
    client.push("engine.closed", input={"key": "twice", "n": 4}, output=True)
    assert two.result(timeout=30) == 7
    three = client.start("engine.sum", label="twice", numbers=[1, 2], id="mine")
    assert (three.id, three.status()) == ("mine", "completed")


def test_the_id_made_of_the_parameters_starts_one_instance_only(client: Client) -> None:
    one = client.start("engine.sum", label="ruled", numbers=[1])
    assert one.id == "sum-ruled"
    assert client.start("engine.sum", label="ruled", numbers=[1]).id == "sum-ruled"
    client.push("engine.closed", input={"key": "ruled", "n": 0}, output=True)
    assert one.result(timeout=30) == 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"label": "x"}, "numbers"),
        ({"label": "x", "numbers": [1, "two"]}, "input.numbers.1"),
        ({"label": 5, "numbers": []}, "input.label"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_with_the_field_named(
    engine: Engine, given: dict[str, object], field: str
) -> None:
    with engine.http() as http:
        answer = http.post("/v1/workflows/engine.sum/instances", json={"input": given})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid-input")
    assert field in json.dumps(problem["errors"])


def test_a_workflow_started_by_calls_cannot_be_started_by_clients(client: Client) -> None:
    with pytest.raises(UsageError, match=r"engine\.opened"):
        client.start("pair")


def test_a_failed_instance_tells_its_error_and_the_next_one_runs(client: Client) -> None:
    run = begin(client, "troubled", "engine.trouble", "me", n=1)
    with pytest.raises(InstanceFailed, match="told to fail by me"):
        run.result(timeout=30)
    error = run.describe().error
    assert error is not None
    assert error["type"] == "RuntimeError"
    spared = begin(client, "troubled", "engine.trouble", "you", n=0)
    assert spared.result(timeout=30) == "no trouble"


def test_a_call_made_by_a_workflow_starts_another(client: Client) -> None:
    asked = begin(client, "shouting", "engine.shout_asked", "hello")
    assert asked.result(timeout=30) == "HELLO"
    heard = until(lambda: next(client.calls("engine.shouted"), None))
    assert started_by(client, "hearing", heard.id).result(timeout=30) == "heard HELLO"


def test_the_address_and_every_secret_are_for_the_user_only(engine: Engine) -> None:
    for name in ("endpoint.json", "token", "ray_token", "seal.key"):
        mode = stat.S_IMODE((engine.data_dir / name).stat().st_mode)
        assert (name, oct(mode)) == (name, "0o600")


def test_health_and_documentation_need_no_token_and_the_rest_does(engine: Engine) -> None:
    with httpx.Client(base_url=engine.endpoint["url"], trust_env=False) as http:
        assert http.get("/health").status_code == 200
        assert http.get("/docs").status_code == 200
        assert http.get("/openapi.json").json()["paths"]["/v1/calls"]
        assert http.get("/v1/instances").status_code == 401
        assert http.post("/v1/calls", json={}).status_code == 401


def test_actors_are_named_for_what_they_do_in_the_ray_dashboard(
    engine: Engine, client: Client
) -> None:
    actors = engine.actors()
    workflows = client.workflows()
    assert workflows
    for facts in workflows:
        actor = actors[f"{facts.name}@{facts.version}/0"]
        assert actor["repr_name"].startswith(f"{facts.name}@{facts.version}/0")
        assert "engine_workflows" in actor["repr_name"]
        assert actor["class_name"] == "Pool"
    assert str(engine.data_dir) in actors["raysume-directory"]["repr_name"]
