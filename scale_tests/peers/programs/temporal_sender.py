"""The client of Temporal: `temporal_sender.py ADDRESS CACHED`.

The client has no call for many signals; they are sent one by one, many at once.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from scale_tests.peers.conversation import Refused, converse, own_stdout
from scale_tests.peers.programs.temporal_workflows import ManyEvents, OneEvent
from scale_tests.peers.progress import LONG

AT_ONCE: Final = 100
POLL_S: Final = 0.02
QUEUE: Final = "peers"

LEFT: Final = "WorkflowType = 'OneEvent' AND ExecutionStatus = 'Running'"


async def at_once(count: int, one: Callable[[int], Awaitable[object]]) -> None:
    """Done for each number, `AT_ONCE` of them under way at a time."""
    free = asyncio.Semaphore(AT_ONCE)

    async def when_free(number: int) -> None:
        async with free:
            await one(number)

    await asyncio.gather(*(when_free(number) for number in range(count)))


class Sender:
    """What the driver may ask."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._long = client.get_workflow_handle_for(ManyEvents.run, LONG)

    async def start(self, group: str, count: int) -> None:
        """So many instances were started, durably."""

        async def one(number: int) -> None:
            await self._client.start_workflow(
                OneEvent.run, args=[group, number], id=f"{group}-{number}", task_queue=QUEUE
            )

        await at_once(count, one)

    async def start_long(self, events: int) -> None:
        """The instance that waits for many events was started."""
        await self._client.start_workflow(ManyEvents.run, events, id=LONG, task_queue=QUEUE)

    async def probe(self, group: str, count: int, per_s: float) -> list[int]:
        """One event to each instance, so many in a second; when each was sent."""
        sent: list[int] = []
        for number in range(count):
            await asyncio.sleep(1 / per_s)
            sent.append(time.monotonic_ns())
            await self._happen(group, number)
        return sent

    async def send(self, group: str, count: int) -> None:
        """One event to each instance."""
        await at_once(count, lambda number: self._happen(group, number))

    async def stream(self, first: int, count: int) -> None:
        """These events to the long instance.

        Raises:
            Refused: it has as many as an instance may have.
        """

        async def one(number: int) -> None:
            await self._long.signal(ManyEvents.happen, first + number)

        try:
            await at_once(count, one)
        except RPCError as error:
            await self.explain(LONG)
            if error.status in (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.RESOURCE_EXHAUSTED):
                raise Refused(error.message) from error
            raise

    async def completed(self, group: str, patience_s: float) -> int:
        """How many instances have not ended: 0, or more when they do not in that time."""
        _ = group
        until = time.monotonic() + patience_s
        while True:
            left = (await self._client.count_workflows(LEFT)).count
            if not left or time.monotonic() > until:
                return left
            await asyncio.sleep(POLL_S)

    async def explain(self, group: str) -> None:
        """Nothing is known about a standstill, or the long instance was not ended by the server.

        Raises:
            Refused: it was.
        """
        if group != LONG:
            return
        described = await self._long.describe()
        if described.status not in (
            WorkflowExecutionStatus.RUNNING,
            WorkflowExecutionStatus.COMPLETED,
        ):
            async for event in self._long.fetch_history_events(page_size=1_000):
                last = event
            raise Refused(
                f"ended by the server after {described.history_length} events of history: "
                f"{last.workflow_execution_terminated_event_attributes.reason}"
            )

    async def _happen(self, group: str, number: int) -> None:
        handle = self._client.get_workflow_handle(f"{group}-{number}")
        await handle.signal(OneEvent.happen, number)


async def main(address: str) -> None:
    """Runs until the driver closes its end."""
    answers = own_stdout()
    sender = Sender(await Client.connect(address))
    names = ("start", "start_long", "probe", "send", "stream", "completed", "explain")
    await converse({name: getattr(sender, name) for name in names}, answers)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
