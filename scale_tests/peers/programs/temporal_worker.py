"""The worker of Temporal: `temporal_worker.py ADDRESS CACHED`."""

from __future__ import annotations

import asyncio
import sys

from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from scale_tests.peers.conversation import converse, own_stdout
from scale_tests.peers.programs.temporal_progress import progress
from scale_tests.peers.programs.temporal_workflows import ManyEvents, OneEvent


async def main(address: str, cached: int) -> None:
    """Runs until the driver closes its end.

    Pollers scale by themselves and the cache holds all waiting instances, as the guide to the
    performance of workers recommends.
    """
    answers = own_stdout()
    client = await Client.connect(address)
    async with Worker(
        client,
        task_queue="peers",
        workflows=[OneEvent, ManyEvents],
        max_cached_workflows=max(cached, 1_000),
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
    ):
        await converse(progress.commands(), answers)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
