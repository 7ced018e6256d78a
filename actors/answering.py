"""Questions that are answered in a commit: asked with a token, answered once it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from raysume.actors.kernel.commits import Event


class Answers:
    """The questions under way in one pool."""

    def __init__(self, report: Callable[[Event], None]) -> None:
        self._report = report
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._token = 0

    async def ask(self, make: Callable[[int], Event]) -> Any:
        """What was answered to the event that `make` makes with its token; durable when it returns.

        Raises:
            UsageError: what was asked is refused; nothing was changed.
        """
        self._token += 1
        future = self._waiting[self._token] = asyncio.get_running_loop().create_future()
        self._report(make(self._token))
        return await future

    def give(self, answers: Iterable[tuple[int, Any]]) -> None:
        """Whoever asked has the answer; their commit is durable."""
        for token, answer in answers:
            future = self._waiting.pop(token, None)
            if future is None or future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
