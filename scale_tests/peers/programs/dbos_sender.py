"""The client of DBOS: `dbos_sender.py URL`. Many events go as one transaction (`send_bulk`)."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

from dbos import DBOSClient, SendMessage

from scale_tests.peers.conversation import converse, own_stdout
from scale_tests.peers.progress import LONG

BATCH: Final = 500
POLL_S: Final = 0.02


class Sender:
    """What the driver may ask."""

    def __init__(self, url: str) -> None:
        self._client = DBOSClient(system_database_url=url)

    async def probe(self, group: str, count: int, per_s: float) -> list[int]:
        """One event to each instance, so many in a second; when each was sent."""
        sent: list[int] = []
        for number in range(count):
            await asyncio.sleep(1 / per_s)
            sent.append(time.monotonic_ns())
            await self._client.send_async(f"{group}-{number}", number)
        return sent

    async def send(self, group: str, count: int) -> None:
        """One event to each instance, in batches."""
        await self._send([SendMessage(f"{group}-{number}", number) for number in range(count)])

    async def stream(self, first: int, count: int) -> None:
        """These events to the long instance, in batches."""
        await self._send([SendMessage(LONG, number) for number in range(first, first + count)])

    async def completed(self, group: str, patience_s: float) -> int:
        """How many instances have not ended: 0, or more when they do not in that time."""
        until = time.monotonic() + patience_s
        while True:
            pending = await self._client.list_workflows_async(
                workflow_id_prefix=f"{group}-",
                status=["PENDING", "ENQUEUED"],
                load_input=False,
                load_output=False,
                # Only whether there is one matters, until time is up.
                limit=1 if time.monotonic() < until else None,
            )
            if not pending or time.monotonic() > until:
                return len(pending)
            await asyncio.sleep(POLL_S)

    async def explain(self, group: str) -> None:
        """Nothing is known about a standstill."""

    async def _send(self, messages: list[SendMessage]) -> None:
        for first in range(0, len(messages), BATCH):
            await self._client.send_bulk_async(messages[first : first + BATCH])


async def main(url: str) -> None:
    """Runs until the driver closes its end."""
    answers = own_stdout()
    sender = Sender(url)
    names = ("probe", "send", "stream", "completed", "explain")
    await converse({name: getattr(sender, name) for name in names}, answers)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
