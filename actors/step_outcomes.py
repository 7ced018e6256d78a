"""Outcomes of Ray steps that nobody asks for any more.

The runner keeps an outcome in the store until the pool has committed it and says so. A pool
that dies between the two says nothing: its successor deletes what is left.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from raysume.actors.kernel.kernel import Kernel
from raysume.storage.ports import Store

OUTCOMES: Final = "step-outcome"
"""The kind of document in which the runner keeps outcomes, by "workflow/instance/step/attempt"."""

_log = structlog.get_logger("raysume.pool")


async def delete_left_outcomes(store: Store, kernel: Kernel) -> int:
    """Outcomes are gone whose step the kernel's instances do not await; how many.

    Those of instances that the kernel does not know stay: they are another pool's.
    """
    kept = await asyncio.to_thread(store.documents, OUTCOMES)
    left = [id for id, _ in kept if _is_over(id, kernel)]
    for id in left:
        await asyncio.to_thread(store.delete_document, OUTCOMES, id)
    if left:
        _log.info("step_outcomes_deleted", workflow=kernel.workflow.name, outcomes=len(left))
    return len(left)


def _is_over(id: str, kernel: Kernel) -> bool:
    prefix = f"{kernel.workflow.name}/"
    if not id.startswith(prefix):
        return False
    instance_id, step, _attempt = id.removeprefix(prefix).rsplit("/", 2)
    if not kernel.knows(instance_id):
        return False
    instance = kernel.instances.get(instance_id)
    return instance is None or step not in instance.steps
