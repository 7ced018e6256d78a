"""Seeded simulation of whole pools: whatever crashes, comes late, twice or not at all.

A failing seed is run again with `RAYSUME_SEEDS=<seed>:<seed + 1>`; more seeds with
`RAYSUME_SEEDS=0:10000`.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from tests.simulation.checking import check, outcome
from tests.simulation.world import World, simulate

FIRST, LAST = map(int, os.environ.get("RAYSUME_SEEDS", "0:120").split(":"))
GROUP = 10


def run(seed: int, *, has_faults: bool) -> World:
    """The run of the seed is checked; a failure names the seed."""
    try:
        world = simulate(seed, has_faults=has_faults)
        check(world)
    except Exception as error:
        error.add_note(
            f"seed {seed}, with faults: {has_faults}. Run it with RAYSUME_SEEDS={seed}:{seed + 1}"
        )
        raise
    return world


@pytest.mark.parametrize("first", range(FIRST, LAST, GROUP))
def test_nothing_is_lost_or_doubled_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, min(first + GROUP, LAST)):
        run(seed, has_faults=True)


def test_without_faults_the_results_are_those_of_the_workload() -> None:
    for seed in range(FIRST, min(FIRST + 10, LAST)):
        run(seed, has_faults=False)


def test_a_seed_replays_exactly() -> None:
    for seed in (1, 2):
        first, second = run(seed, has_faults=True), run(seed, has_faults=True)
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
        crashes += run(seed, has_faults=True).crashes
        if set(crashes) >= BORDERS:
            break
    assert set(crashes) == BORDERS
