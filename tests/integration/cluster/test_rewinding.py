"""Rewinding, forking and history of instances in a whole engine, through kills of their pool."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from tests.integration.cluster.running import Engine, begin, calls_of

from raysume import Client
from raysume.errors import NotFound, UsageError

CLOSED = "engine.closed"


def test_an_ended_instance_goes_back_to_its_wait_and_on_from_there(
    engine: Engine, client: Client, signals: Path
) -> None:
    run = begin(client, "printing", "engine.print_asked", "rewound", n=1)
    client.push_many(calls_of(CLOSED, "rewound", [1]))
    assert run.result(timeout=30) == "rewound: printed"
    engine.kill("printing@")
    with pytest.raises(NotFound, match=r"never stood at 'opened'.*'engine.closed'"):
        run.rewind("opened")
    with pytest.raises(UsageError, match="no variable 'price'"):
        run.rewind(CLOSED, set={"price": 3})
    assert run.rewind(CLOSED, reason="another paper").status == "waiting"
    engine.kill("printing@")
    assert run.status() == "waiting"
    client.push_many(calls_of(CLOSED, "rewound", [2]))
    assert run.result(timeout=30) == "rewound: printed"
    turns = list(run.history())[::-1]
    assert [(one.cause, one.status) for one in turns] == [
        ("started", "running"),
        ("step", "waiting"),
        ("call", "completed"),
        ("rewind", "waiting"),
        ("call", "completed"),
    ]
    assert turns[3].name == "another paper"
    assert turns[1].state.frames[0].locals == {"key": "'rewound'"}
    assert (signals / "rewound-paper.txt").read_text().splitlines() == ["ordered"]


def test_a_fork_has_variables_of_its_own(engine: Engine, client: Client) -> None:
    run = begin(client, "printing", "engine.print_asked", "forked")
    made = run.fork(CLOSED, set={"key": "copy"}, id="copy-1")
    assert run.fork(CLOSED, set={"key": "copy"}, id="copy-1").id == made.id
    client.push_many(calls_of(CLOSED, "forked", [1]))  # what the wait was made from stays
    assert made.result(timeout=30) == "copy: printed"
    assert run.result(timeout=30) == "forked: printed"
    with engine.http() as http:
        path = f"/v1/instances/{run.id}:fork"
        refused = http.post(path, json={"at": "1", "set": {"key": 5}})
        assert (refused.status_code, "is a str there" in refused.json()["detail"]) == (422, True)
        answer = http.post(path, json={"at": "1", "set": {"key": "third"}})
        assert (answer.status_code, answer.json()["status"]) == (201, "waiting")
        page = http.get(f"/v1/instances/{answer.json()['id']}/history").json()
        assert [turn["id"] for turn in page["items"]] == [run.id]


def test_the_past_is_there_on_the_command_line(engine: Engine, client: Client) -> None:
    run = begin(client, "printing", "engine.print_asked", "told")
    client.push_many(calls_of(CLOSED, "told", [1]))
    run.result(timeout=30)
    listed = engine.command("instance", "history", run.id, "-o", "json", "--limit", "1")
    assert [row["cause"] for row in json.loads(listed.stdout)] == ["call"]
    watched = engine.command("instance", "watch", run.id, "-o", "jsonl")
    assert [json.loads(line)["cause"] for line in watched.stdout.splitlines()] == [
        "started",
        "call",
    ]
    unsure = engine.command("instance", "rewind", run.id, "--to", CLOSED)
    assert (unsure.returncode, "--yes" in unsure.stderr) == (2, True)
    done = engine.command(
        "instance", "rewind", run.id, "--to", CLOSED, "--set", "key=other", "--yes", "-o", "json"
    )
    assert json.loads(done.stdout)["status"] == "waiting"
    nowhere = engine.command("instance", "rewind", run.id, "--to", "nowhere", "--yes")
    assert (nowhere.returncode, "never stood" in nowhere.stderr) == (3, True)
    forked = engine.command(
        "instance", "fork", run.id, "--id", "told-2", "--set", "key=x", "--yes", "-o", "json"
    )
    assert json.loads(forked.stdout)["id"] == "told-2"
    client.push_many(calls_of(CLOSED, "told", [2]))
    assert run.result(timeout=30) == "other: printed"
    assert client.instance("told-2").result(timeout=30) == "x: printed"
    assert len(list(islice(run.history(), 10))) == 4
