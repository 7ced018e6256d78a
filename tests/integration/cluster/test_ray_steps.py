"""Steps in Ray tasks: cancelled for real, recorded once, through the death of whoever is involved."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.integration.cluster.running import Engine, Pipe, begin, until

from raysume import Client
from raysume.actors.ray_steps import RUNNER_NAME
from raysume.errors import InstanceFailed

FATAL = 666
"""As in engine_workflows.py: the step that is asked for ends its process."""
Pipes = Callable[[str], Pipe]


def lines(signals: Path, ledger: str) -> list[str]:
    """What stands in the ledger."""
    return (signals / f"{ledger}.txt").read_text(encoding="utf-8").splitlines()


def gone(pid: int) -> bool | None:
    """True once there is no such process any more."""
    if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        return None
    return True


def recorded(engine: Engine) -> int | None:
    """How many outcomes are recorded that no pool has taken yet; None when none is."""
    with sqlite3.connect(f"file:{engine.data_dir / 'state.db'}?mode=ro", uri=True) as store:
        [count] = store.execute(
            "SELECT count(*) FROM document WHERE kind = 'step-outcome'"
        ).fetchone()
    store.close()
    return int(count) or None


def test_a_task_whose_group_went_on_without_it_is_interrupted(client: Client, pipe: Pipes) -> None:
    runs, interrupted = pipe("loser-runs"), pipe("loser-interrupted")
    run = client.start("race_elsewhere", key="loser", hears=True)
    assert runs.heard() == "reached"
    client.push("engine.closed", input={"key": "loser"}, output=True)
    assert run.result(timeout=60) == "call"
    assert interrupted.heard() == "reached"


def test_a_synchronous_task_ends_with_its_time_limit(client: Client, pipe: Pipes) -> None:
    runs, interrupted = pipe("limited-runs"), pipe("limited-interrupted")
    run = client.start("race_elsewhere", key="limited", hears=True, limit_s=1.0)
    assert runs.heard() == "reached"
    with pytest.raises(InstanceFailed, match=r"step 'step' failed at attempt 1: TimeoutError"):
        run.result(timeout=60)
    assert interrupted.heard() == "reached"
    run.retry("another attempt, which runs")
    assert runs.heard() == "reached"
    run.cancel()
    assert interrupted.heard() == "reached"


@pytest.mark.parametrize("how", ["group", "cancelled"])
def test_a_cancelled_task_that_hears_of_nothing_is_killed(
    client: Client, pipe: Pipes, signals: Path, how: str
) -> None:
    key = f"deaf-{how}"
    runs = pipe(f"{key}-runs")
    pipe(f"{key}-goes-on")
    run = client.start("race_elsewhere", key=key, hears=False)
    assert runs.heard() == "reached"
    [pid] = map(int, lines(signals, f"{key}-pids"))
    assert not gone(pid)
    if how == "group":
        client.push("engine.closed", input={"key": key}, output=True)
        assert run.result(timeout=60) == "call"
    else:
        run.cancel()
        assert run.status() == "cancelled"
    assert until(lambda: gone(pid))
    assert len(lines(signals, f"{key}-attempts")) == 1, "Ray did not run it again"


def test_a_task_whose_runner_was_killed_runs_again_and_its_result_is_recorded(
    engine: Engine, client: Client, pipe: Pipes, signals: Path
) -> None:
    runs, goes_on = pipe("orphan-runs"), pipe("orphan-goes-on")
    run = begin(client, "labour_elsewhere", "engine.far_work_asked", "orphan")
    assert runs.heard() == "reached"
    engine.kill(RUNNER_NAME)
    assert runs.heard() == "reached"
    first, second = map(int, lines(signals, "orphan-pids"))
    assert first != second
    assert until(lambda: gone(first)), "a task does not outlive its runner"
    goes_on.tell("done again")
    assert run.result(timeout=60) == "orphan: done again"
    [one, other] = lines(signals, "orphan-attempts")
    assert one == other, "under the same key"


def test_a_recorded_result_is_taken_from_the_store_when_its_runner_was_killed(
    engine: Engine, client: Client, pipe: Pipes, signals: Path
) -> None:
    runs, goes_on = pipe("heir-runs"), pipe("heir-goes-on")
    run = begin(client, "labour_elsewhere", "engine.far_work_asked", "heir")
    assert runs.heard() == "reached"
    pool = engine.pid_of("labour_elsewhere@")
    os.kill(pool, signal.SIGSTOP)
    try:
        goes_on.tell("done once")
        assert until(lambda: recorded(engine)) == 1
        engine.kill(RUNNER_NAME)
    finally:
        os.kill(pool, signal.SIGCONT)
    assert run.result(timeout=60) == "heir: done once"
    assert len(lines(signals, "heir-attempts")) == 1


def test_a_task_whose_process_was_killed_runs_again_as_often_as_its_options_say(
    client: Client, pipe: Pipes, signals: Path
) -> None:
    runs, goes_on = pipe("struck-runs"), pipe("struck-goes-on")
    run = begin(client, "labour_elsewhere", "engine.far_work_asked", "struck")
    assert runs.heard() == "reached"
    os.kill(int(lines(signals, "struck-pids")[0]), signal.SIGKILL)
    assert runs.heard() == "reached"
    goes_on.tell("done in spite of it")
    assert run.result(timeout=60) == "struck: done in spite of it"


def test_a_task_that_ends_its_process_fails_with_how_often_it_did(
    client: Client, signals: Path
) -> None:
    run = begin(client, "labour_elsewhere", "engine.far_work_asked", "far-deadly", n=FATAL)
    result = run.result(timeout=60)
    assert (
        f"step 'fatal' of instance '{run.id}' ended the process of its Ray task 2 times" in result
    )
    assert len(lines(signals, "far-deadly-pids")) == 2, "as its max_retries says"


def test_a_large_result_reaches_the_workflow_and_survives_its_pool(
    engine: Engine, client: Client
) -> None:
    size = 3_000_000
    run = client.start("make_elsewhere", size=size)
    until(lambda: run.status() == "waiting" or None)
    engine.kill("make_elsewhere@")
    client.push("engine.closed", input={"key": f"made {size}"}, output=True)
    assert run.result(timeout=60) == size
    assert until(lambda: recorded(engine) is None or None), "nothing is left behind"
