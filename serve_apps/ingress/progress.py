"""A signal that anybody may wait for: something advanced, look again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Progress:
    """Wakes everybody who waits for a condition, whenever it may have become true."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def advance(self) -> None:
        """Whoever waits looks at its condition again."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """The condition holds."""
        while not condition():
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
