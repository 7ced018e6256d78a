"""Exclusive waits: one call goes to the one instance that waits longest."""

from __future__ import annotations

from tests.conformance.workflows.conftest import Deploy
from tests.conformance.workflows.methods import m1, m2

from raysume import step, wait, workflow


@workflow
async def worker(name: str, jobs: int) -> list[str]:
    """Takes as many jobs as it is told to."""
    done: list[str] = []
    while len(done) < jobs:
        job = await wait(m1).match_any().exclusive()
        done.append(f"{name}{job.input.id}")
    return done


async def test_only_the_instance_waiting_longest_gets_the_call(deploy: Deploy) -> None:
    async with deploy(worker) as shell:
        runs = [await shell.start(worker, name, 2) for name in "abc"]
        for number in range(6):
            await shell.push(m1, id=number)
        assert [run.result for run in runs] == [["a0", "a3"], ["b1", "b4"], ["c2", "c5"]]


async def test_an_early_call_goes_to_one_exclusive_wait_only(deploy: Deploy) -> None:
    @workflow
    async def early(_name: str) -> int:
        await wait(m2).match_any()
        return (await wait(m1).match_any().exclusive()).input.id

    async with deploy(early) as shell:
        first = await shell.start(early, "first")
        second = await shell.start(early, "second")
        await shell.push(m1, id=1)
        await shell.push(m2)
        assert (first.result, second.status) == (1, "waiting")
        await shell.push(m1, id=2)
        assert second.result == 2


async def test_a_taken_call_is_not_found_by_an_exclusive_wait_that_comes_later(
    deploy: Deploy,
) -> None:
    @workflow
    async def late(_name: str) -> int:
        await wait(m2).match_any()
        return (await wait(m1).match_any().exclusive()).input.id

    async with deploy(worker, late) as shell:
        quick = await shell.start(late, "quick")
        await shell.push(m2)
        slow = await shell.start(late, "slow")
        await shell.push(m1, id=1)
        assert quick.result == 1
        await shell.push(m2)
        assert slow.status == "waiting"
        await shell.push(m1, id=2)
        assert slow.result == 2


async def test_waits_that_are_not_exclusive_all_get_the_call(deploy: Deploy) -> None:
    @workflow
    async def watcher(alone: bool) -> int:
        one = wait(m1).match_any()
        return (await (one.exclusive() if alone else one)).input.id

    async with deploy(watcher) as shell:
        runs = [await shell.start(watcher, alone) for alone in (True, False, True, False)]
        await shell.push(m1, id=7)
        assert [run.status for run in runs] == ["completed", "completed", "waiting", "completed"]


async def test_an_exclusive_wait_only_gets_calls_that_match(deploy: Deploy) -> None:
    @workflow
    async def picky(wanted: int) -> int:
        return (await wait(m1).match(id=wanted).exclusive()).input.id

    async with deploy(picky) as shell:
        one = await shell.start(picky, 1)
        two = await shell.start(picky, 2)
        also_two = await shell.start(picky, 2)
        await shell.push(m1, id=2)
        assert (one.status, two.status, also_two.status) == ("waiting", "completed", "waiting")


def never() -> None:
    """Nothing to do."""


async def test_a_step_does_not_change_who_waits_longest(deploy: Deploy) -> None:
    @workflow
    async def stepping(name: str) -> str:
        await wait(m2).match(text=name)
        await step(never)
        job = await wait(m1).match_any().exclusive()
        return f"{name}{job.input.id}"

    async with deploy(stepping) as shell:
        late = await shell.start(stepping, "late")
        soon = await shell.start(stepping, "soon")
        await shell.push(m2, text="soon")
        await shell.push(m2, text="late")
        await shell.push(m1, id=1)
        await shell.push(m1, id=2)
        assert (soon.result, late.result) == ("soon1", "late2")
