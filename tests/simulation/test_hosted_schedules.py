"""Workflows that start by themselves, on a pool's host with real files and a real clock."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.hosting import Hosted

from raysume import instance, sleep, step, workflow
from raysume.actors.kernel.moments import duration_us
from raysume.ids import instance_id_of

BEAT = timedelta(milliseconds=100)
STARTS_MAX = 600
"""More than a test makes: a minute of beats."""

ran: list[str] = []


def leave_trace(id: str) -> str:
    """A step that runs once for an instance, unless it was started twice."""
    ran.append(id)
    return id


@workflow
async def beating() -> str:
    await sleep(BEAT)
    return await step(leave_trace, instance().id)


@workflow(every="* * * * * *")
async def ticking() -> str:
    return await step(leave_trace, instance().id)


class Starts:
    """The starts of a workflow, by what they were due."""

    def __init__(self, workflow: Any, first_us: int, period: timedelta) -> None:
        period_us = duration_us(period)
        self.ids = {
            due_us: instance_id_of(workflow.name, f"schedule:{due_us}")
            for due_us in range(first_us, first_us + STARTS_MAX * period_us, period_us)
        }

    def made(self, hosted: Hosted) -> list[int]:
        """When those were due that have happened, as the host knows."""
        return [due_us for due_us, id in self.ids.items() if hosted.host.kernel.knows(id)]

    async def grown(self, hosted: Hosted, size: int) -> list[int]:
        """So many have happened."""
        await hosted.until(lambda: len(self.made(hosted)) >= size)
        return self.made(hosted)


def next_of(hosted: Hosted) -> int:
    """When the next start is due."""
    due_us = hosted.host.kernel.schedule.due_us
    assert due_us is not None
    return due_us


@pytest.mark.parametrize("is_written", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize(
    ("of", "period"), [(beating, BEAT), (ticking, timedelta(seconds=1))], ids=["sleep", "every"]
)
async def test_a_crash_at_a_start_neither_loses_nor_doubles_it(
    tmp_path: Path, of: Any, period: timedelta, is_written: bool
) -> None:
    ran.clear()
    async with Hosted(tmp_path, of) as first:
        starts = Starts(of, next_of(first), period)
        await starts.grown(first, 2)
        await first.host.flushed()
        before, fatal_us = starts.made(first), next_of(first)
        first.store.writes_before_failing = is_written
        first.store.fails = lambda commit: bool(commit.journal) and next_of(first) != fatal_us
        async with asyncio.timeout(20):
            await first.gave_up.wait()
    async with Hosted(tmp_path, of) as second:
        recovered, due_us = starts.made(second), next_of(second)
        assert recovered[: len(before)] == before
        assert is_written or fatal_us not in recovered
        assert due_us in starts.ids, "it keeps to its beat"
        assert due_us > recovered[-1]
        after = await starts.grown(second, len(recovered) + 3)
        assert due_us in after, "the one that was due is made up for"
        assert fatal_us in after
        for due in after[:-1]:
            assert await second.result(starts.ids[due]) == starts.ids[due]
    assert len(ran) == len(set(ran))
    assert set(ran) >= {starts.ids[due] for due in after[:-1]}
