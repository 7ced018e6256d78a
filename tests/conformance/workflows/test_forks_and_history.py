"""Forking an instance, and its history: every turn with its variables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.conformance.workflows.methods import m1, m2, m3

from raysume import WaitTimeout, step, wait, workflow
from raysume.errors import NotRewindable
from raysume.testing import Counts, TestShell

Deploy = Callable[..., TestShell]


def book(name: str) -> str:
    return f"booked {name}"


async def test_a_fork_goes_its_own_way(deploy: Deploy) -> None:
    @workflow
    async def review() -> str:
        price = 10
        await wait(m1).match_any()
        call = await wait(m2, name="offer").match_any()
        await wait(m3).match_any()
        return f"{call.output} for {price}"

    async with deploy(review) as shell:
        await shell.push(m1)
        await shell.push(m2, output="first")
        [run] = shell.instances(review)
        other = await shell.fork(run, at="offer", set={"price": 12}, id="what-if")
        assert (other.id, other.status) == ("what-if", "waiting")
        assert other.locals == {"price": 12}
        await shell.push(m2, output="second")
        await shell.push(m3)
        assert (run.result, other.result) == ("first for 10", "second for 12")
        assert [turn.cause for turn in other.history] == ["fork", "call", "call"]
        assert other.history[0].id == run.id
        assert shell.counts() == Counts(calls=4, waits=5, completed=2)


async def test_a_fork_stands_where_the_instance_stands(deploy: Deploy) -> None:
    @workflow
    async def review() -> object:
        call = await wait(m1).match_any()
        await wait(m2).match_any()
        return call.output

    async with deploy(review) as shell:
        await shell.push(m1, output="x")
        [run] = shell.instances(review)
        other = await shell.fork(run)
        assert other.id != run.id
        await shell.cancel(run)
        await shell.push(m2)
        assert (run.status, other.status, other.result) == ("cancelled", "completed", "x")
        with pytest.raises(NotRewindable, match="already"):
            await shell.fork(run, id=run.id)


async def test_a_fork_undoes_no_step_of_another(deploy: Deploy) -> None:
    undone: list[str] = []

    def cancel_booking(name: str) -> None:
        undone.append(name)

    @workflow
    async def trip() -> None:
        await wait(m1).match_any()
        await step(book, "hotel", compensate=cancel_booking)
        await wait(m2).match_any()

    async with deploy(trip) as shell:
        await shell.push(m1)
        [run] = shell.instances(trip)
        other = await shell.fork(run)
        await shell.cancel(other)
        assert (other.status, undone) == ("cancelled", [])
        await shell.cancel(run)
        assert (run.status, undone) == ("cancelled", ["hotel"])


async def test_history_tells_every_turn_with_its_variables(deploy: Deploy) -> None:
    @workflow
    async def told() -> int:
        count = 0
        await wait(m1).match_any()
        for _ in range(2):
            try:
                await wait(m2, name="again").match_any().timeout(timedelta(hours=1))
            except WaitTimeout:
                count += 10
            count += 1
        await step(book, "table", name="booking")
        return count

    async with deploy(told) as shell:
        first = await shell.push(m1)
        second = await shell.push(m2)
        await shell.advance(timedelta(hours=1))
        [run] = shell.instances(told)
        turns = run.history
        assert [(one.turn, one.cause, one.name) for one in turns] == [
            (1, "started", m1.urn),
            (2, "call", m2.urn),
            (3, "timeout", "again"),
            (4, "step", "booking"),
        ]
        assert [one.id for one in turns[:2]] == [first, second]
        assert [one.locals.get("count") for one in turns] == [0, 1, 12, None]
        assert [one.status for one in turns] == ["waiting", "waiting", "running", "completed"]
        assert turns[2].at - turns[1].at == timedelta(hours=1)


async def test_history_outlives_the_journal(deploy: Deploy) -> None:
    @workflow
    async def long() -> list[object]:
        said: list[object] = []
        await wait(m1).match_any()
        while len(said) < 3:
            call = await wait(m2, name="said").match_any()
            said.append(call.output)
        await wait(m3).match_any()
        return said

    async with deploy(long) as shell:
        await shell.push(m1)
        [run] = shell.instances(long)
        for number in range(3):
            await shell.push(m2, output=str(number))
            await shell.advance(timedelta(days=20))
        other = await shell.fork(run)  # whatever it is: a turn, and with it a checkpoint
        assert other.status == "waiting"
        assert [one.locals.get("said") for one in run.history] == [
            [],
            ["0"],
            ["0", "1"],
            ["0", "1", "2"],
        ]
        await shell.rewind(run, to=2)
        assert run.locals["said"] == ["0"]
