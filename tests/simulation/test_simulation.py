"""Seeded simulation of whole pools: whatever crashes, comes late, twice or not at all.

A failing seed prints the command that runs it again; more seeds with `make simulate`.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from tests.simulation.checking import outcome
from tests.simulation.seeds import run_world

FIRST, LAST = map(int, os.environ.get("RAYSUME_SEEDS", "0:120").split(":"))
GROUP = 10


@pytest.mark.parametrize("first", range(FIRST, LAST, GROUP))
def test_nothing_is_lost_or_doubled_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, min(first + GROUP, LAST)):
        run_world(seed, has_faults=True)


def test_without_faults_the_results_are_those_of_the_workload() -> None:
    for seed in range(FIRST, min(FIRST + 10, LAST)):
        run_world(seed, has_faults=False)


def test_a_seed_replays_exactly() -> None:
    for seed in (1, 2):
        first, second = run_world(seed), run_world(seed)
        assert first.trace == second.trace
        assert outcome(first) == outcome(second)


BORDERS = {
    "before the write",
    "after the write, outcome unknown",
    "after the release",
    "after sending",
    "between two actions",
}


def test_pools_crash_at_every_border() -> None:
    crashes: Counter[str] = Counter()
    for seed in range(150):
        crashes += run_world(seed, has_faults=True).crashes
        if set(crashes) >= BORDERS:
            break
    assert set(crashes) == BORDERS
