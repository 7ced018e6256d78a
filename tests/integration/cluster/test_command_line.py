"""The installed command `raysume` against a running engine."""

from __future__ import annotations

import json

from tests.integration.cluster.running import Engine, started_by


def test_a_call_is_pushed_and_its_instance_looked_at(engine: Engine) -> None:
    pushed = engine.command(
        *("call", "push", "engine.opened", '{"key": "cli", "n": 20}', "--output", "true")
    )
    assert (pushed.returncode, pushed.stderr) == (0, "")
    with engine.client() as client:
        id = started_by(client, "pair", pushed.stdout.strip()).id
    listed = engine.command("-o", "json", "instance", "list", "--workflow", "pair")
    assert id in {row["id"] for row in json.loads(listed.stdout)}
    shown = json.loads(engine.command("-o", "json", "instance", "show", id).stdout)
    assert (shown["status"], shown["waits"][0]["method"]) == ("waiting", "engine.closed")
    [frame] = json.loads(engine.command("-o", "json", "instance", "state", id).stdout)
    assert (frame["definition"], frame["locals"]["total"]) == ("pair", "20")
    table = engine.command("instance", "list", "--workflow", "pair", "--status", "waiting")
    assert table.returncode == 0
    assert id in table.stdout


def test_workflows_are_listed(engine: Engine) -> None:
    listed = engine.command("workflow", "list", "-o", "json")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["engine.sum"]["started_by"] == "clients"
    assert rows["pair"]["started_by"] == "calls"


def test_a_workflow_is_started_and_its_result_printed(engine: Engine) -> None:
    started = engine.command(
        *("workflow", "start", "engine.sum", '{"label": "cli", "numbers": [4]}', "-o", "json")
    )
    assert json.loads(started.stdout)["id"] == "sum-cli"
    engine.command("call", "push", "engine.closed", '{"key": "cli", "n": 5}', "--output", "true")
    with engine.client() as client:
        assert client.instance("sum-cli", "engine.sum").result(timeout=30) == 9


def test_exit_codes_tell_a_script_what_happened(engine: Engine) -> None:
    push = ("call", "push", "engine.opened")
    assert engine.command("instance", "show", "nobody").returncode == 3
    assert engine.command(*push, "not json").returncode == 2
    assert engine.command(*push, '{"n": 1}').returncode == 1
    assert engine.command(*push, '{"key": "exit"}', "--id", "exit-1").returncode == 0
    conflict = engine.command(*push, '{"key": "another"}', "--id", "exit-1")
    assert conflict.returncode == 4
    assert "exit-1" in conflict.stderr
