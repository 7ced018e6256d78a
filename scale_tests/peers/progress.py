"""How far the instances in a worker have come. Needs only the standard library."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

Stage = Literal["begun", "reached"]
"""`begun`: it is about to wait. `reached`: it is at the line after its wait."""

WAITS = "waits"
PROBES = "probes"
LONG = "long"
"""The groups of instances; the numbers of the last one are the events of its only instance."""


class Progress:
    """When each number of a group came to a stage for the first time in this process.

    Instances tell it from whichever thread they run in; the driver waits for numbers.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._moments: dict[tuple[str, str], dict[int, int]] = {}

    def note(self, stage: Stage, group: str, number: int) -> None:
        """The number is at this stage now, unless it was before: replays change nothing."""
        now = time.monotonic_ns()
        with self._changed:
            self._of(stage, group).setdefault(number, now)
            self._changed.notify_all()

    def commands(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        """What the driver may ask."""
        return {"until": self.until, "moments": self.moments}

    async def until(self, stage: Stage, group: str, count: int, patience_s: float) -> int:
        """How many are at the stage: `count`, or less when none came for `patience_s`."""
        return await asyncio.to_thread(self._until, stage, group, count, patience_s)

    async def moments(self, stage: Stage, group: str, first: int, count: int) -> list[int]:
        """`time.monotonic_ns()` of each number, when it came to the stage."""
        found = self._of(stage, group)
        return [found[number] for number in range(first, first + count)]

    def _of(self, stage: str, group: str) -> dict[int, int]:
        return self._moments.setdefault((stage, group), {})

    def _until(self, stage: Stage, group: str, count: int, patience_s: float) -> int:
        with self._changed:
            found = self._of(stage, group)
            seen, since = len(found), time.monotonic()
            while len(found) < count:
                if len(found) != seen:
                    seen, since = len(found), time.monotonic()
                left = since + patience_s - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return len(found)
