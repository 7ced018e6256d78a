"""Failed and cancelled instances, through the client, HTTP and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.integration.cluster.running import Engine, begin, calls_of, until

from raysume import Client
from raysume.errors import InstanceFailed, UsageError


def test_a_failed_instance_is_retried_after_its_process_was_killed(
    engine: Engine, client: Client, signals: Path
) -> None:
    fire = signals / "retried-fire"
    fire.touch()
    run = begin(client, "printing", "engine.print_asked", "retried")
    with pytest.raises(UsageError, match="is waiting: only a failed instance"):
        run.retry()
    client.push_many(calls_of("engine.closed", "retried", [1]))
    with pytest.raises(InstanceFailed, match="on fire"):
        run.result(timeout=30)
    assert run.describe().failures == 1
    engine.kill("printing@")
    assert run.retry("perhaps it is out").status == "failed"
    assert run.describe().failures == 2
    with engine.http() as http:
        path = f"/v1/instances/{run.id}:retry"
        assert http.post(path, json={"reason": "still?"}).json()["failures"] == 3
        fire.unlink()
        assert http.post(path).json()["status"] == "completed"
        refused = http.post(path)
        assert (refused.status_code, refused.json()["code"]) == (409, "not-retriable")
    assert run.result(timeout=30) == "retried: printed"


def test_cancelling_undoes_the_steps(engine: Engine, client: Client, signals: Path) -> None:
    run = begin(client, "printing", "engine.print_asked", "cancelled", n=1)
    ledger = signals / "cancelled-paper.txt"
    until(lambda: run.describe().waits or None)
    unsure = engine.command("instance", "cancel", run.id)
    assert (unsure.returncode, "--yes" in unsure.stderr) == (2, True)
    tried = engine.command("instance", "cancel", run.id, "--dry-run")
    assert (tried.returncode, "Nothing was changed" in tried.stderr) == (0, True)
    assert run.status() == "waiting"
    words = ("instance", "cancel", run.id, "--yes", "--reason", "no paper", "-o", "json")
    done = engine.command(*words)
    assert json.loads(done.stdout)["id"] == run.id
    with pytest.raises(InstanceFailed, match="is cancelled"):
        run.result(timeout=30)
    assert ledger.read_text().splitlines() == ["ordered", "sent back"]
    again = engine.command("instance", "cancel", run.id, "--yes", "-o", "json")
    assert json.loads(again.stdout)["status"] == "cancelled"
    refused = engine.command("instance", "retry", run.id, "--yes")
    assert (refused.returncode, "only a failed instance" in refused.stderr) == (4, True)
