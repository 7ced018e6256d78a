"""Runs seeds of both simulations and says, of one that failed, how to run it again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import structlog
from tests.simulation import cluster as clusters
from tests.simulation import world as worlds
from tests.simulation.checking import check, check_cluster

TRACE_LINES = 60
"""The last lines of what happened, told with a failure."""


@dataclass(slots=True, kw_only=True)
class Ran:
    """What came of one seed."""

    seed: int
    digest: str
    """Equal for equal runs, whatever the process."""
    crashes: Counter[str] = field(default_factory=Counter[str])
    """Crash point -> processes that died there."""
    passed: set[str] = field(default_factory=set[str])
    """Crash points that were passed."""


def replay_command(seed: int) -> str:
    """What runs the seed again, and nothing else."""
    return f"python -m tests.simulation --seeds 1 --from {seed}"


def run_cluster(seed: int, *, has_faults: bool = True) -> Ran:
    """The cluster of the seed kept every promise; a failure says how to replay it."""
    cluster = clusters.Cluster(seed, has_faults=has_faults)
    try:
        cluster.run()
        check_cluster(cluster)
    except Exception as error:
        _explain(error, seed, has_faults, cluster.trace)
        raise
    digest = cluster.loop.fingerprint()
    return Ran(seed=seed, digest=digest, crashes=cluster.crashes, passed=cluster.passed)


def run_world(seed: int, *, has_faults: bool = True) -> worlds.World:
    """The pools of the seed kept every promise; a failure says how to replay it."""
    world = worlds.World(seed, has_faults=has_faults)
    try:
        worlds.run(world)
        check(world)
    except Exception as error:
        _explain(error, seed, has_faults, world.trace)
        raise
    return world


def _explain(error: Exception, seed: int, has_faults: bool, trace: list[str]) -> None:
    last = "\n".join(trace[-TRACE_LINES:])
    error.add_note(
        f"seed {seed}, {'with' if has_faults else 'without'} faults. Run it again with\n"
        f"    {replay_command(seed)}\nWhat happened last:\n{last}"
    )


def be_silent() -> None:
    """What the code under test logs, which is much when much goes wrong, is not shown."""
    structlog.configure(processors=[_drop])


def _drop(_logger: Any, _name: str, _event: Any) -> Any:
    raise structlog.DropEvent
