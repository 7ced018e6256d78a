"""Workflows awaited by workflows: instances of their own, whose ends go to who awaits them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.conformance.workflows.conftest import Deploy
from tests.conformance.workflows.methods import m1, m2, m3

from raysume import all_of, any_of, wait, workflow
from raysume.errors import InstanceFailed


@workflow
async def pay(order: int) -> str:
    """Waits for a payment."""
    paid = await wait(m1).match(id=order)
    return f"paid {paid.input.text}"


def parcel(order: int) -> str:
    """The id of the instance that ships an order."""
    return f"parcel-{order}"


@workflow(id=parcel)
async def ship(order: int) -> str:
    """Waits for a parcel; its id is made of the order."""
    await wait(m2).match(id=order)
    if order < 0:
        raise ValueError("no such address")
    return f"shipped {order}"


@workflow
async def handle(order: int) -> str:
    """Both, one after the other."""
    first = await pay(order)
    second = await ship(order)
    return f"{first}, {second}"


async def test_a_child_runs_as_an_instance_and_gives_its_result(deploy: Deploy) -> None:
    async with deploy(handle, pay, ship) as shell:
        run = await shell.start(handle, 7)
        [child] = shell.instances(pay)
        assert (run.status, child.status) == ("waiting", "waiting")
        assert child.id != run.id
        await shell.push(m1, id=7, text="cash")
        assert child.result == "paid cash"
        [parcel] = shell.instances(ship)
        assert parcel.id == "parcel-7"
        await shell.push(m2, id=7)
        assert run.result == "paid cash, shipped 7"


async def test_children_are_members_of_groups(deploy: Deploy) -> None:
    @workflow
    async def several() -> list[str]:
        await wait(m3).match_any()
        return [*await all_of(pay(1), pay(2), ship(3))]

    async with deploy(several, pay, ship) as shell:
        await shell.push(m3)
        [run] = shell.instances(several)
        await shell.push(m2, id=3)
        await shell.push(m1, id=2, text="late")
        assert run.status == "waiting"
        await shell.push(m1, id=1, text="soon")
        assert run.result == ["paid soon", "paid late", "shipped 3"]


async def test_a_child_that_loses_is_cancelled(deploy: Deploy) -> None:
    @workflow
    async def race(order: int) -> int:
        return (await any_of(pay(order), wait(m3).match(id=order))).index

    async with deploy(race, pay) as shell:
        run = await shell.start(race, 1)
        [child] = shell.instances(pay)
        await shell.push(m3, id=1)
        assert (run.result, child.status) == (1, "cancelled")


async def test_cancelling_the_parent_cancels_its_child(deploy: Deploy) -> None:
    async with deploy(handle, pay, ship) as shell:
        run = await shell.start(handle, 1)
        [child] = shell.instances(pay)
        await shell.cancel(run)
        assert (run.status, child.status) == ("cancelled", "cancelled")


async def test_an_instance_that_was_there_before_is_awaited_but_not_cancelled(
    deploy: Deploy,
) -> None:
    @workflow
    async def joins(order: int) -> str:
        return await ship(order)

    async with deploy(joins, ship) as shell:
        own = await shell.start(ship, 5)
        waiting = await shell.start(joins, 5)
        leaving = await shell.start(joins, 5)
        assert len(shell.instances(ship)) == 1
        await shell.cancel(leaving)
        assert own.status == "waiting"
        await shell.push(m2, id=5)
        assert (own.result, waiting.result) == ("shipped 5", "shipped 5")


@pytest.mark.logs_errors("no such address")
async def test_a_child_that_fails_or_is_cancelled_raises_in_the_parent(deploy: Deploy) -> None:
    @workflow
    async def careful(order: int) -> str:
        try:
            return await ship(order)
        except InstanceFailed as error:
            return str(error)

    async with deploy(careful, ship) as shell:
        failing = await shell.start(careful, -1)
        await shell.push(m2, id=-1)
        assert failing.result is not None
        assert "no such address" in failing.result
        stopped = await shell.start(careful, 2)
        [_, child] = shell.instances(ship)
        await shell.cancel(child)
        assert stopped.result is not None
        assert "is cancelled" in stopped.result


@pytest.mark.logs_errors("not in this shell")
async def test_a_child_outside_the_shell_says_what_to_do(deploy: Deploy) -> None:
    async with deploy(handle) as shell:
        run = await shell.start(handle, 1)
        assert run.status == "failed"
        assert run.error is not None
        assert "give it to TestShell" in run.error


async def test_a_workflow_may_await_itself(deploy: Deploy) -> None:
    @workflow
    async def countdown(left: int) -> int:
        await wait(m1).match(id=left).timeout(timedelta(days=9))
        return 0 if left == 0 else 1 + await countdown(left - 1)

    async with deploy(countdown) as shell:
        run = await shell.start(countdown, 2)
        for left in (2, 1, 0):
            await shell.push(m1, id=left)
        assert run.result == 2
