"""Calls that reach an instance while a turn of it is under way."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from raysume import any_of, external_call, wait, workflow
from raysume.actors.kernel import driving
from raysume.actors.kernel.commits import Commit, Delivered, Event, Started, TurnEnded
from raysume.actors.kernel.deliveries import DeliveredCall, Delivery, StartRequest
from raysume.actors.kernel.kernel import Kernel
from raysume.actors.kernel.records import START_OF_LOG
from raysume.actors.kernel.shards import Shard
from raysume.limits import SHARDS
from raysume.records import CallRecord


class Job(BaseModel):
    """What is to be done."""

    number: int = 0


job = external_call("queued.job", input=Job, output=None)
stop = external_call("queued.stop", input=Job, output=None)
METHODS = {one.urn: one for one in (job, stop)}


@workflow
async def worker(number: int) -> str:
    """Works until it is stopped, or gets one job of its own."""
    stopped = wait(stop).match(number=number)
    first = await any_of(stopped, wait(job).match_any().exclusive())
    return "stopped" if first.index == 0 else f"job {first.result.input.number}"


class Pool:
    """A kernel whose turns run as tasks, when the test says so."""

    def __init__(self) -> None:
        self.kernel = Kernel(worker, "1", methods=METHODS.__getitem__, runs_inline=False)
        for number in range(SHARDS):
            self.kernel.adopt(Shard(number), None)
        self.kernel.remember([], covers_after=START_OF_LOG)
        self.offset = 0
        self.results: dict[str, str] = {}

    def apply(self, event: Event) -> Commit:
        commit = self.kernel.apply([event], now_us=1)
        self.results.update(commit.results)
        return commit

    def push(self, urn: str, number: int) -> Commit:
        body = f'{{"number": {number}}}'.encode()
        call = CallRecord(id=f"c{self.offset}", method=urn, service="", at_us=1, input=body)
        item = DeliveredCall(self.offset, self.offset, call)
        self.offset += 1
        return self.apply(Delivered(delivery=Delivery(0, item.offset, self.offset, 1, [item])))

    async def run(self, commit: Commit) -> None:
        """The turns of the commit, and those that follow from them, have run."""
        for task in commit.tasks:
            await driving.run_as_task(task.turn, task.steps, task.pending)
            await self.run(self.apply(TurnEnded(task=task)))

    async def start(self, id: str, number: int) -> None:
        input = f'{{"number": {number}}}'.encode()
        request = StartRequest(workflow="worker", id=id, input=input, at_us=1)
        await self.run(self.apply(Started(request=request, token=0)))


def test_a_call_queued_for_an_exclusive_wait_that_ended_goes_to_the_next() -> None:
    async def scenario() -> dict[str, str]:
        pool = Pool()
        await pool.start("first", 1)
        await pool.start("second", 2)
        stopping = pool.push(stop.urn, 1)
        queued = pool.push(job.urn, 7)
        assert queued.tasks == []  # the first instance is busy, and waits longest
        await pool.run(stopping)
        return pool.results

    assert asyncio.run(scenario()) == {"first": "stopped", "second": "job 7"}
