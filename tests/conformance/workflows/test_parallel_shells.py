"""Any number of shells in one process at the same time: in one event loop, and in threads."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from tests.conformance.workflows.methods import decide, m1, m2, submit

from raysume import WaitTimeout, all_of, limits, step, subflow, wait, workflow
from raysume.compiler import source
from raysume.testing import Counts, TestShell

SHELLS = 16
DAY = timedelta(days=1)


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@workflow(name="parallel.shared")
async def shared() -> str:
    """The same workflow in every shell; publishes a call itself."""
    call = await wait(m1).match_if(lambda call: call.input.id > 0)
    number = call.input.id
    assert submit(number, "inside")
    answer = await wait(decide).match(request=number).timeout(DAY)
    return answer.output


async def asks(number: int) -> None:
    """One shell's test; others run between its steps."""
    async with TestShell(shared) as shell:
        await shell.push(m1, id=number)
        await asyncio.sleep(0)
        assert decide(number + 1, "not mine")
        assert decide(number, "yes")
        await shell.advance(timedelta(0))
        [run] = shell.instances(shared)
        assert (run.status, run.result) == ("completed", f"{number}: yes")
        assert shell.counts() == Counts(calls=4, waits=2, completed=1)


async def defines(number: int) -> None:
    """One shell's test, with a workflow of its own that has the same name in all of them."""

    def doubled(value: int) -> int:
        return value * 2

    @subflow
    async def second(value: int) -> int:
        call = await wait(m2).match(id=value)
        return call.input.id + number

    @workflow(name="parallel.own")
    async def own() -> list[int]:
        first = await wait(m1).match_if(lambda call: call.input.id == number)
        found = await all_of(second(first.input.id), step(doubled, number))
        try:
            await wait(m2).match(id=-number).timeout(DAY)
        except WaitTimeout:
            return [number, *found]
        return []

    async with TestShell(own) as shell:
        shell.stub(doubled, returns=-number)
        for other in range(number - 1, number + 2):
            await shell.push(m1, id=other)
            await asyncio.sleep(0)
        await shell.push(m2, id=number)
        await asyncio.sleep(0)
        await shell.advance(2 * DAY)
        assert [run.result for run in shell.instances(own)] == [[number, 2 * number, -number]]


async def test_shells_of_one_event_loop_know_nothing_of_each_other() -> None:
    await asyncio.gather(*(asks(number) for number in range(1, SHELLS)))
    await asyncio.gather(*(defines(number) for number in range(1, SHELLS)))


def test_shells_of_several_threads_know_nothing_of_each_other(hurried: None) -> None:
    del hurried
    threads = 4
    begin = threading.Barrier(threads)

    def run(thread: int) -> None:
        begin.wait()
        for number in range(1 + thread, SHELLS, threads):
            asyncio.run(asks(number))
            asyncio.run(defines(number))

    with ThreadPoolExecutor(threads) as pool:
        for ended in [pool.submit(run, thread) for thread in range(threads)]:
            ended.result()


async def test_of_two_open_shells_the_inner_one_has_the_calls_of_the_test() -> None:
    async with TestShell(shared) as outer:
        async with TestShell(shared) as inner:
            await inner.push(m1, id=1)
            await outer.push(m1, id=1)
            decide(1, "inner")
            await inner.advance(timedelta(0))
            await outer.advance(timedelta(0))
            assert [run.status for run in inner.instances()] == ["completed"]
            assert [run.status for run in outer.instances()] == ["waiting"]
        decide(1, "outer")
        await outer.advance(timedelta(0))
        assert [run.result for run in outer.instances()] == ["1: outer"]


def test_a_wide_variety_of_shells_in_threads_shares_the_caches_of_predicates_and_sources(
    hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    del hurried
    monkeypatch.setattr(limits, "PREDICATES_CACHED_MAX", 2)
    monkeypatch.setattr(source, "_MODULES_KEPT", 0)
    with ThreadPoolExecutor(4) as pool:
        tests = [pool.submit(asyncio.run, defines(number)) for number in range(1, SHELLS)]
        for ended in tests:
            ended.result()
