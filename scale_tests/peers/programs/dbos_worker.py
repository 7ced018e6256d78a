"""The worker of DBOS: `dbos_worker.py URL`. It starts the instances too, as an application does."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from dbos import DBOS, DBOSConfig, SetWorkflowID

from scale_tests.peers.conversation import converse, own_stdout
from scale_tests.peers.progress import LONG, Progress

FOR_EVER_S: Final = 30 * 24 * 3_600.0
STARTED_AT_ONCE: Final = 32

progress = Progress()


@DBOS.workflow()
async def one_event(group: str, number: int) -> int:
    """Waits for one event."""
    progress.note("begun", group, number)
    event: int = await DBOS.recv_async(timeout_seconds=FOR_EVER_S)
    progress.note("reached", group, number)
    return event


@DBOS.workflow()
async def many_events(events: int) -> int:
    """Waits for so many events, one after the other."""
    progress.note("begun", LONG, 0)
    total = 0
    for number in range(events):
        total += await DBOS.recv_async(timeout_seconds=FOR_EVER_S)
        progress.note("reached", LONG, number)
    return total


async def start(group: str, count: int) -> None:
    """So many instances were started."""
    free = asyncio.Semaphore(STARTED_AT_ONCE)

    async def one(number: int) -> None:
        async with free:
            with SetWorkflowID(f"{group}-{number}"):
                await DBOS.start_workflow_async(one_event, group, number)

    await asyncio.gather(*(one(number) for number in range(count)))


async def start_long(events: int) -> None:
    """The instance that waits for many events was started."""
    with SetWorkflowID(LONG):
        await DBOS.start_workflow_async(many_events, events)


async def main(url: str) -> None:
    """Runs until the driver closes its end."""
    answers = own_stdout()
    config: DBOSConfig = {
        "name": "peers",
        "system_database_url": url,
        # One version through all restarts: what was pending goes on.
        "application_version": "1",
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()
    await converse(progress.commands() | {"start": start, "start_long": start_long}, answers)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
