"""Figures of one pool, and what can be learnt of its workflow before it runs."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any

import psutil

from raysume.actors.hosting import PoolHost
from raysume.actors.kernel import driving
from raysume.actors.kernel.standing import Standing, learning_turn
from raysume.actors.kernel.status import Status
from raysume.storage.moments import wall_clock_us
from raysume.workflows import Workflow


def figures_of(host: PoolHost) -> dict[str, Any]:
    """Instances by status and by how they are kept, waits, calls and turns so far, CPU (seconds) and
    memory (bytes)."""
    instances = host.kernel.instances
    counted = Counter(one.status for one in instances.loaded)
    counted[Status.WAITING] += instances.packed + len(instances.cold)
    return {
        "pid": os.getpid(),
        "shards": sorted(host.kernel.shards),
        "instances": {status.value: counted[status] for status in Status},
        "kept": {
            "loaded": len(instances.loaded),
            "packed": instances.packed,
            "cold": len(instances.cold),
        },
        "waits": len(host.kernel.index),
        "applied_calls": host.meters.applied,
        "turns": host.turns,
        "cpu_s": time.process_time(),
        "rss_bytes": psutil.Process().memory_info().rss,
    }


async def first_methods(workflow: Workflow[..., Any], version: str) -> list[str]:
    """The URNs of the methods for which the workflow waits first.

    Raises:
        UsageError: it cannot be deployed; says why.
    """
    if workflow.has_parameters:
        return []
    turn = learning_turn(workflow, version, wall_clock_us())
    standing = Standing(workflow)
    await driving.run_as_task(turn, standing.learning(turn))
    return sorted({wait.method for wait in standing.waits})
