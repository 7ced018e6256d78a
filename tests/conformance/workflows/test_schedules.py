"""Starts that nobody asks for: timetables and first sleeps, on the virtual clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.conformance.workflows.conftest import Deploy
from tests.conformance.workflows.methods import m1

from raysume import instance, sleep, sleep_until, wait, workflow
from raysume.errors import UsageError
from raysume.schedules import Timetable
from raysume.testing import Counts


@workflow(every="0 9 * * *")
async def daily() -> str:
    """Says when it started."""
    return instance().started_at.isoformat()


def nine(moment: datetime, days: int) -> str:
    at = moment.replace(hour=9, minute=0, second=0, microsecond=0)
    at += timedelta(days=days if at > moment else days + 1)
    return at.isoformat()


async def test_a_timetable_starts_an_instance_at_each_of_its_moments(deploy: Deploy) -> None:
    async with deploy(daily) as shell:
        began = shell.now
        assert shell.instances(daily) == []
        await shell.advance(timedelta(days=3))
        results = [run.result for run in shell.instances(daily)]
        assert results == [nine(began, days) for days in range(3)]


async def test_a_scheduled_instance_may_wait_for_calls(deploy: Deploy) -> None:
    @workflow(every="0 * * * *")
    async def hourly(wanted: int = 3) -> int:
        return (await wait(m1).match(id=wanted)).input.id

    async with deploy(hourly) as shell:
        await shell.push(m1, id=3)
        assert shell.instances(hourly) == []
        await shell.advance(timedelta(hours=1))
        [run] = shell.instances(hourly)
        assert run.status == "waiting"
        await shell.push(m1, id=3)
        assert run.result == 3


@pytest.mark.row(33)
async def test_a_first_sleep_starts_an_instance_each_time_it_ends(deploy: Deploy) -> None:
    @workflow
    async def recurring() -> str:
        await sleep(timedelta(days=2))
        began = instance().started_at
        await sleep(timedelta(hours=1))
        return began.isoformat()

    async with deploy(recurring) as shell:
        began = shell.now
        await shell.advance(timedelta(days=4, hours=1))
        results = [run.result for run in shell.instances(recurring)]
        assert results == [(began + timedelta(days=days)).isoformat() for days in (2, 4)]
        assert shell.counts() == Counts(calls=0, waits=4, completed=2)
        await shell.advance(timedelta(days=2))
        assert len(shell.instances(recurring)) == 3


async def test_a_first_moment_starts_once_for_each_moment_that_it_gives(deploy: Deploy) -> None:
    moments = [datetime.now(UTC).replace(microsecond=0) + timedelta(days=n) for n in (1, 5)]
    asked: list[int] = []

    @workflow
    async def twice() -> str:
        asked.append(1)
        await sleep_until(moments[min(len(asked), len(moments)) - 1])
        return instance().started_at.isoformat()

    async with deploy(twice) as shell:
        await shell.advance(timedelta(days=30))
        results = [run.result for run in shell.instances(twice)]
        assert results == [one.isoformat() for one in moments]


async def test_an_inactive_workflow_does_not_start_by_itself(deploy: Deploy) -> None:
    @workflow(every="* * * * *", active=False)
    async def resting() -> None:
        """Never runs."""

    async with deploy(resting) as shell:
        await shell.advance(timedelta(minutes=5))
        assert shell.instances(resting) == []


def test_a_timetable_keeps_its_local_time_when_clocks_change() -> None:
    mornings = Timetable("0 9 * * MON", "Europe/Paris", what="it")
    winter = mornings.after(datetime(2026, 3, 17, tzinfo=UTC))
    assert winter == datetime(2026, 3, 23, 8, tzinfo=UTC)
    assert mornings.after(winter) == datetime(2026, 3, 30, 7, tzinfo=UTC)


def test_a_time_that_the_clocks_skip_or_repeat_comes_once() -> None:
    nightly = Timetable("30 2 * * *", "Europe/Paris", what="it")
    spring = [nightly.after(datetime(2026, 3, 28, 12, tzinfo=UTC))]
    spring.append(nightly.after(spring[0]))
    assert [one.date().isoformat() for one in spring] == ["2026-03-29", "2026-03-30"]
    autumn = nightly.after(datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert autumn == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert nightly.after(autumn) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("every", ["never", "0 9 * *", "61 * * * *", "0 0 30 2 *"])
def test_what_is_no_timetable_is_refused_by_the_decorator(every: str) -> None:
    with pytest.raises(UsageError, match="names no moment"):

        @workflow(every=every)
        async def wrong() -> None:  # pyright: ignore[reportUnusedFunction]
            """Refused."""


def test_an_unknown_time_zone_is_refused_by_the_decorator() -> None:
    with pytest.raises(UsageError, match="no known time zone"):

        @workflow(every="0 9 * * MON", tz="Europe/Atlantis")
        async def wrong() -> None:  # pyright: ignore[reportUnusedFunction]
            """Refused."""


def test_a_timetable_needs_a_default_for_every_parameter() -> None:
    with pytest.raises(UsageError, match="'order' has no default"):

        @workflow(every="0 9 * * *")
        async def wrong(order: int) -> None:  # pyright: ignore[reportUnusedFunction]
            """Refused."""
