"""Seeded clusters of real hosts and ingresses: crashes, silence, zombies, loss, slow stores.

A failing seed prints the command that runs it again; more seeds with `make simulate`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from tests.simulation.checking import check_cluster
from tests.simulation.cluster import Cluster
from tests.simulation.seeds import be_silent, replay_command, run_cluster

from raysume.crash_points import POINTS

ROOT = Path(__file__).parents[2]
FIRST, LAST = map(int, os.environ.get("RAYSUME_SEEDS", "0:400").split(":"))
GROUP = 10
SEEDS_FOR_A_POINT = 60

ELSEWHERE = {
    "after_outcome_recorded",  # tests/simulation/test_crashes_on_files.py
    "after_retirement_kept",  # the same, as those below
    "after_suspect_noted",  # tests/simulation/test_quarantine.py
    "after_time_begun",
    "after_trial_noted",  # tests/simulation/test_trials.py
    "sql_during_append",
    "sql_during_checkpoint",
    "sql_during_commit",
}
"""Crash points that are not passed here, and where they are tested."""


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    be_silent()
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("first", range(FIRST, LAST, GROUP))
def test_every_accepted_call_is_applied_once_and_nothing_is_stuck(first: int) -> None:
    for seed in range(first, min(first + GROUP, LAST)):
        run_cluster(seed)


def test_without_faults_the_results_are_those_of_the_workload() -> None:
    for seed in range(10):
        run_cluster(seed, has_faults=False)


@pytest.mark.parametrize("point", sorted(POINTS.keys() - ELSEWHERE))
def test_processes_die_at_the_crash_point_and_nothing_is_lost(point: str) -> None:
    for seed in range(SEEDS_FOR_A_POINT):
        cluster = Cluster(seed, has_faults=True)
        cluster.faults = replace(cluster.faults, point=point, favourite=0.5)
        cluster.run()
        check_cluster(cluster)
        if cluster.crashes[point]:
            return
    pytest.fail(f"no process died at {point} in {SEEDS_FOR_A_POINT} seeds")


def test_a_seed_replays_exactly_by_its_command_in_another_process() -> None:
    seed = 7
    first, second = run_cluster(seed), run_cluster(seed)
    assert first.digest == second.digest
    command = replay_command(seed).split()
    assert command[0] == "python"
    printed = subprocess.run(
        [sys.executable, *command[1:], "--digests"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"{seed} {first.digest}\n" in printed


def test_other_seeds_make_other_runs() -> None:
    assert len({run_cluster(seed).digest for seed in range(3)}) == 3
