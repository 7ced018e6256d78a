"""Whoever waits for the end of an instance hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from raysume.actors.kernel.commits import Commit
from raysume.actors.kernel.status import ENDED


class Endings:
    """The questions for results that are under way in one pool."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    async def of(self, instance_id: str, wait_s: float) -> None:
        """The instance ended, failed or left this process, or `wait_s` seconds have passed."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(instance_id, []).append(future)
        try:
            async with asyncio.timeout(wait_s):
                await future
        except TimeoutError:
            pass
        finally:
            waiting = self._waiting.get(instance_id)
            if waiting is not None and future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._waiting[instance_id]

    def tell(self, instance_ids: Iterable[str]) -> None:
        """Whoever waits for these instances looks at them now."""
        for instance_id in instance_ids:
            for waiting in self._waiting.pop(instance_id, ()):
                if not waiting.done():
                    waiting.set_result(None)


def finished_ids(commit: Commit) -> list[str]:
    """The instances of a commit that will never take a turn again."""
    return [
        turn.instance.id
        for turns in commit.turns.values()
        for turn in turns
        if turn.instance.status in ENDED
    ]
