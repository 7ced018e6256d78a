"""The client of Restate: `restate_sender.py INGRESS_PORT ADMIN_PORT WORKER_PORT`.

Single events go to the ingress (`/restate/awakeables/.../resolve`). Many go through a handler that
resolves a batch of them in one invocation, several such calls at once.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Final

import httpx

from scale_tests.peers.conversation import converse, own_stdout

BATCH: Final = 500
CALLS_AT_ONCE: Final = 4
STARTS_AT_ONCE: Final = 64
POLL_S: Final = 0.02
ANSWER_S_MAX: Final = 600.0

LEFT: Final = (
    "SELECT count(*) AS found FROM sys_invocation_status"
    " WHERE target_service_name = 'Waits' AND status <> 'completed'"
)


class Sender:
    """What the driver may ask."""

    def __init__(self, ingress: int, admin: int) -> None:
        self._ingress = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{ingress}", timeout=ANSWER_S_MAX, trust_env=False
        )
        self._admin = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{admin}", timeout=ANSWER_S_MAX, trust_env=False
        )
        self._names: dict[str, list[str]] = {}
        self._long = ""

    async def start(self, group: str, count: int) -> None:
        """So many instances were started, durably."""
        free = asyncio.Semaphore(STARTS_AT_ONCE)

        async def one(number: int) -> None:
            async with free:
                await self._call("/Waits/one_event/send", {"group": group, "number": number})

        await asyncio.gather(*(one(number) for number in range(count)))

    async def start_long(self, events: int) -> None:
        """The instance that waits for many events was started."""
        started = await self._call("/Long/many_events/send", events)
        self._long = started["invocationId"]

    async def learn(self, group: str, names: list[str]) -> None:
        """The awakeables of the instances are known."""
        self._names[group] = names

    async def probe(self, group: str, count: int, per_s: float) -> list[int]:
        """One event to each instance, so many in a second; when each was sent."""
        sent: list[int] = []
        for number, name in enumerate(self._names[group][:count]):
            await asyncio.sleep(1 / per_s)
            sent.append(time.monotonic_ns())
            await self._call(f"/restate/awakeables/{name}/resolve", number)
        return sent

    async def send(self, group: str, count: int) -> None:
        """One event to each instance, in batches."""
        names = self._names[group][:count]
        free = asyncio.Semaphore(CALLS_AT_ONCE)

        async def one(batch: list[str]) -> None:
            async with free:
                await self._call("/Events/deliver", batch)

        starts = range(0, len(names), BATCH)
        await asyncio.gather(*(one(names[start : start + BATCH]) for start in starts))

    async def stream(self, first: int, count: int) -> None:
        """These events to the long instance, in batches, one after the other."""
        end = first + count
        for start in range(first, end, BATCH):
            asked = {"invocation": self._long, "first": start, "count": min(BATCH, end - start)}
            await self._call("/Events/stream", asked)

    async def completed(self, group: str, patience_s: float) -> int:
        """How many instances have not ended: 0, or more when they do not in that time."""
        _ = group
        until = time.monotonic() + patience_s
        while True:
            answer = await self._admin.post(
                "/query", json={"query": LEFT}, headers={"Accept": "application/json"}
            )
            left = int(answer.raise_for_status().json()["rows"][0]["found"])
            if not left or time.monotonic() > until:
                return left
            await asyncio.sleep(POLL_S)

    async def explain(self, group: str) -> None:
        """Nothing is known about a standstill."""

    async def _call(self, path: str, content: Any) -> Any:
        answer = await self._ingress.post(path, json=content)
        if answer.is_error:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None


async def main(ingress: int, admin: int) -> None:
    """Runs until the driver closes its end."""
    answers = own_stdout()
    sender = Sender(ingress, admin)
    names = ("start", "start_long", "learn", "probe", "send", "stream", "completed", "explain")
    await converse({name: getattr(sender, name) for name in names}, answers)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
