"""Steps, timers and turns with ordinary awaits: beside the shard, after the commit, through kills."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.cluster.running import Engine, Pipe, begin, calls_of

from raysume import Client, limits
from raysume.errors import InstanceFailed

DEATHS = limits.QUARANTINE_DEATHS + limits.QUARANTINE_TURN_DEATHS
FATAL = 666
"""As in engine_workflows.py: the step that is asked for ends its process."""
Pipes = Callable[[str], Pipe]


def lines(signals: Path, ledger: str) -> list[str]:
    """What stands in the ledger."""
    return (signals / f"{ledger}.txt").read_text(encoding="utf-8").splitlines()


def test_a_step_runs_after_its_commit_and_blocks_nobody(
    client: Client, pipe: Pipes, signals: Path
) -> None:
    one_runs, one_goes = pipe("one-runs"), pipe("one-goes-on")
    two_runs, two_goes = pipe("two-runs"), pipe("two-goes-on")
    one = begin(client, "labour", "engine.work_asked", "one")
    assert one_runs.heard() == "reached"
    assert one.status() == "running"
    assert one.state().frames[0].wait == "step laborious"
    two = begin(client, "labour", "engine.work_asked", "two")
    assert two_runs.heard() == "reached"
    two_goes.tell("done second")
    assert two.result(timeout=30) == "two: done second"
    one_goes.tell("done first")
    assert one.result(timeout=30) == "one: done first"
    assert len(lines(signals, "one-attempts")) == 1


def test_a_failing_step_is_tried_again_under_the_same_key(client: Client, signals: Path) -> None:
    run = begin(client, "labour", "engine.work_asked", "flaky", n=1)
    assert run.result(timeout=30) == "flaky: 3 attempts"
    assert len(lines(signals, "flaky-attempts")) == 3
    assert len(set(lines(signals, "flaky-attempts"))) == 1


def test_a_step_whose_process_was_killed_runs_again_under_the_same_key(
    engine: Engine, client: Client, pipe: Pipes, signals: Path
) -> None:
    runs, goes_on = pipe("killed-runs"), pipe("killed-goes-on")
    run = begin(client, "labour", "engine.work_asked", "killed")
    assert runs.heard() == "reached"
    engine.kill("labour@")
    assert runs.heard() == "reached"
    goes_on.tell("survived")
    assert run.result(timeout=60) == "killed: survived"
    first, second = lines(signals, "killed-attempts")
    assert first == second


def test_a_step_on_ray_outlives_the_process_that_asked_for_it(
    engine: Engine, client: Client, pipe: Pipes, signals: Path
) -> None:
    runs, goes_on = pipe("far-runs"), pipe("far-goes-on")
    run = begin(client, "labour_elsewhere", "engine.far_work_asked", "far")
    assert runs.heard() == "reached"
    engine.kill("labour_elsewhere@")
    goes_on.tell("done elsewhere")
    assert run.result(timeout=60) == "far: done elsewhere"
    assert len(lines(signals, "far-attempts")) == 1


def test_a_step_whose_ray_options_are_refused_fails_with_what_ray_says(client: Client) -> None:
    run = begin(client, "labour_elsewhere", "engine.far_work_asked", "refused", n=1)
    result = run.result(timeout=60)
    assert "Ray refused the options of step 'laborious'" in result
    assert "no_such_option" in result


def test_a_step_that_ends_its_process_again_and_again_fails_and_the_others_go_on(
    client: Client, signals: Path
) -> None:
    run = begin(client, "labour", "engine.work_asked", "deadly", n=FATAL)
    beside = begin(client, "labour", "engine.work_asked", "beside", n=1)
    with pytest.raises(InstanceFailed, match=r"step 'fatal' of instance .* ended the process"):
        run.result(timeout=120)
    assert run.status() == "failed"
    ended = lines(signals, "deadly-pids")
    assert len(ended) == len(set(ended)) == DEATHS, "each was another process, and no more ended"
    assert beside.result(timeout=60) == "beside: 3 attempts"
    later = begin(client, "labour", "engine.work_asked", "afterwards", n=1)
    assert later.result(timeout=60) == "afterwards: 3 attempts"


def test_calls_queue_while_a_turn_awaits_something_ordinary(client: Client, pipe: Pipes) -> None:
    runs, goes_on = pipe("queue-turn-runs"), pipe("queue-turn-goes-on")
    run = begin(client, "talk", "engine.talk_begun", "queue", n=5)
    other = begin(client, "talk", "engine.talk_begun", "chat", n=2)
    client.push_many(calls_of("engine.said", "queue", [1, 0]))
    assert runs.heard() == "reached"
    client.push_many(calls_of("engine.said", "queue", [2, 3, 4]))
    client.push_many(calls_of("engine.said", "chat", [8, 9]))
    assert other.result(timeout=30) == [8, 9]
    goes_on.tell("on")
    assert run.result(timeout=30) == [1, 0, 2, 3, 4]


def test_a_turn_in_whose_middle_the_process_was_killed_runs_again_from_the_saved_point(
    engine: Engine, client: Client, pipe: Pipes, signals: Path
) -> None:
    runs, goes_on = pipe("broken-turn-runs"), pipe("broken-turn-goes-on")
    run = begin(client, "talk", "engine.talk_begun", "broken", n=4)
    client.push_many(calls_of("engine.said", "broken", [7, 0]))
    assert runs.heard() == "reached"
    client.push_many(calls_of("engine.said", "broken", [5, 6]))
    engine.kill("talk@")
    assert runs.heard() == "reached"
    goes_on.tell("on")
    assert run.result(timeout=60) == [7, 0, 5, 6]
    assert lines(signals, "broken-turns") == ["1", "1"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_timer_rings_though_nobody_asks_for_the_pool(
    engine: Engine, client: Client, pipe: Pipes, killed: bool
) -> None:
    name = f"sleeper-{killed}"
    woke = pipe(f"{name}-woke")
    run = begin(client, "nap", "engine.nap_asked", name, n=1_500)
    assert run.status() == "waiting"
    if killed:
        engine.kill("nap@")
    assert woke.heard() == "reached"
    assert run.result(timeout=60) == f"{name} woke"
