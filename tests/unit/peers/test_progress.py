"""How far instances have come, as the driver asks it."""

from __future__ import annotations

import asyncio

from scale_tests.peers.progress import WAITS, Progress

PATIENCE_S = 30.0


async def test_the_driver_waits_for_instances_in_other_threads() -> None:
    progress = Progress()
    waiting = asyncio.create_task(progress.until("reached", WAITS, 2, PATIENCE_S))
    for number in range(2):
        await asyncio.to_thread(progress.note, "reached", WAITS, number)
    assert await waiting == 2


async def test_a_replay_changes_no_moment() -> None:
    progress = Progress()
    progress.note("reached", WAITS, 0)
    [before] = await progress.moments("reached", WAITS, 0, 1)
    progress.note("reached", WAITS, 0)
    assert await progress.moments("reached", WAITS, 0, 1) == [before]
    assert await progress.until("reached", WAITS, 1, PATIENCE_S) == 1


async def test_stages_are_counted_apart_and_a_standstill_is_told() -> None:
    progress = Progress()
    progress.note("begun", WAITS, 0)
    assert await progress.until("reached", WAITS, 1, 0.0) == 0
