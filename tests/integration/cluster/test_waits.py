"""Waits of a running engine: listed, and asked why a call did not meet them."""

from __future__ import annotations

import json

import pytest
from tests.integration.cluster.running import Engine, begin

from raysume import Client
from raysume.errors import NotFound


def test_a_call_that_missed_is_explained_with_both_values(engine: Engine, client: Client) -> None:
    run = begin(client, "pair", "engine.opened", "asked", n=1)
    [open_wait] = client.waits("pair", instance=run.id)
    assert (open_wait.method, open_wait.name, open_wait.key) == (
        "engine.closed",
        "second",
        ["input.key"],
    )
    missed = client.push("engine.closed", input={"key": "askd", "n": 1}, output=True)
    [found] = client.explain(missed, run.id).waits
    assert found.stage == "key"
    [comparison] = found.comparisons
    assert (comparison.call, comparison.wait) == ("'askd' (str)", "'asked' (str)")
    said = engine.command("call", "explain", missed, "--instance", run.id)
    assert said.returncode == 0
    assert "'askd' (str)" in said.stdout
    met = client.push("engine.closed", input={"key": "asked", "n": 1}, output=True)
    assert run.result(timeout=30) == 2
    assert client.explain(met, run.id).met
    [after] = client.explain(missed, run.id).waits
    assert (after.stage, "when the call came" in after.reason) == ("key", True)


def test_waits_are_listed_and_shown_by_the_command_line(engine: Engine, client: Client) -> None:
    run = begin(client, "pair", "engine.opened", "listed", n=1)
    listed = engine.command("-o", "json", "wait", "list", "--instance", run.id)
    [row] = json.loads(listed.stdout)
    shown = engine.command("-o", "json", "wait", "show", run.id, row["id"])
    assert json.loads(shown.stdout)["method"] == "engine.closed"
    assert engine.command("wait", "show", run.id, "9.9").returncode == 3
    assert None in {wait.instance for wait in client.waits("pair")}


def test_an_unknown_call_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        client.explain("nothing")
