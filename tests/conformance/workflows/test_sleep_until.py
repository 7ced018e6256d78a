"""Which moments may be slept until: those to come by the clock of the turn, a shell's included."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.conformance.workflows.methods import m1

from raysume import instance, sleep, sleep_until, wait, workflow
from raysume.testing import TestShell

Deploy = Callable[..., TestShell]


async def test_a_moment_to_come_by_the_clock_of_the_shell_may_be_slept_until(
    deploy: Deploy,
) -> None:
    @workflow
    async def until() -> str:
        first = await wait(m1).match_any()
        assert instance().now == first.at
        await sleep_until(instance().now + timedelta(hours=5))
        return instance().now.isoformat()

    async with deploy(until) as shell:
        await shell.advance(timedelta(days=400))
        await shell.push(m1)
        due = shell.now + timedelta(hours=5)
        [run] = shell.instances(until)
        await shell.advance(timedelta(hours=4))
        assert run.status == "waiting"
        await shell.advance(timedelta(hours=2))
        assert run.result == due.isoformat()


async def test_a_moment_that_has_passed_by_the_clock_of_the_shell_is_refused(
    deploy: Deploy,
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    @workflow
    async def late() -> str:
        await wait(m1).match_any()
        try:
            await sleep_until(tomorrow)
        except ValueError as error:
            return str(error)
        return "awake"

    async with deploy(late) as shell:
        await shell.push(m1)
        await shell.advance(timedelta(days=2))
        await shell.push(m1)
        in_time, too_late = (run.result for run in shell.instances(late))
        assert in_time == "awake"
        assert too_late is not None
        assert f"{tomorrow.isoformat()} has passed. Compare it with instance().now" in too_late


async def test_a_sleep_kept_until_its_moment_has_passed_ends_at_once(deploy: Deploy) -> None:
    @workflow
    async def patient() -> str:
        await wait(m1).match_any()
        kept = sleep_until(instance().now + timedelta(hours=1))
        await sleep(timedelta(hours=2))
        await kept
        return "awake"

    async with deploy(patient) as shell:
        await shell.push(m1)
        await shell.advance(timedelta(hours=2))
        assert [run.result for run in shell.instances(patient)] == ["awake"]
