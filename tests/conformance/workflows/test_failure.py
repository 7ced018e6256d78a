"""SCENARIOS 39 and 79: failure as a state, retries, cancelling."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.conformance.workflows.methods import m1, m2, m3

from raysume import Retry, any_of, sleep, step, step_key, wait, workflow
from raysume.errors import NotRetriable
from raysume.testing import TestShell

Deploy = Callable[..., TestShell]


@pytest.mark.row(39, 78)
@pytest.mark.logs_errors("the printer is on fire")
async def test_a_failed_instance_goes_on_where_it_failed_with_the_same_call(deploy: Deploy) -> None:
    broken = [True]
    ran: list[str] = []

    @workflow
    async def fragile() -> str:
        first = await wait(m1).match_any()
        ran.append("before")
        second = await wait(m2).match(id=first.input.id)
        if broken:
            raise RuntimeError("the printer is on fire")
        third = await wait(m3).match_any()
        return f"{first.input.text}{second.input.text}{third.input.text}"

    async with deploy(fragile) as shell:
        await shell.push(m1, id=1, text="a")
        await shell.push(m2, id=1, text="b")
        [run] = shell.instances(fragile)
        assert (run.status, run.failures) == ("failed", 1)
        assert run.errors == ["instance failed: RuntimeError: the printer is on fire"]
        await shell.retry(run)
        assert (run.status, run.failures) == ("failed", 2)
        broken.clear()
        await shell.retry(run)
        assert (run.status, run.error, run.failures) == ("waiting", None, 0)
        await shell.push(m3, text="c")
        assert run.result == "abc"
    assert ran == ["before"]


@pytest.mark.logs_errors("RuntimeError: not now")
async def test_calls_that_come_while_an_instance_is_failed_are_found_after_a_retry(
    deploy: Deploy,
) -> None:
    broken = [True]

    @workflow
    async def fragile() -> str:
        await wait(m1).match_any()
        members = (wait(m2).match_any(), wait(m3).match_any())
        first = await any_of(*members)
        if broken:
            raise RuntimeError("not now")
        rest = await members[1 - first.index]
        return first.result.input.text + rest.input.text

    async with deploy(fragile) as shell:
        await shell.push(m1)
        await shell.push(m2, text="a")
        await shell.push(m3, text="b")
        [run] = shell.instances(fragile)
        assert run.status == "failed"
        broken.clear()
        await shell.retry(run)
        assert run.result == "ab"


@pytest.mark.logs_errors("RuntimeError: not yet")
async def test_an_instance_that_failed_before_its_first_saved_point_is_retried(
    deploy: Deploy,
) -> None:
    broken = [True]

    @workflow
    async def early() -> str:
        call = await wait(m1).match_any()
        if broken:
            raise RuntimeError("not yet")
        await sleep(timedelta(hours=1))
        return call.input.text

    async with deploy(early) as shell:
        await shell.push(m1, text="x")
        [run] = shell.instances(early)
        assert run.status == "failed"
        broken.clear()
        await shell.retry(run)
        await shell.advance(timedelta(hours=1))
        assert run.result == "x"


@pytest.mark.logs_errors("RuntimeError: not now")
async def test_timers_that_were_due_meanwhile_ring_after_a_retry(deploy: Deploy) -> None:
    broken = [True]

    @workflow
    async def late() -> str:
        await wait(m1).match_any()
        first = await any_of(wait(m2).match_any(), sleep(timedelta(hours=1)))
        if first.index == 0 and broken:
            raise RuntimeError("not now")
        return "timer" if first.index else "call"

    async with deploy(late) as shell:
        await shell.push(m1)
        await shell.push(m2)
        [run] = shell.instances(late)
        assert run.status == "failed"
        await shell.advance(timedelta(hours=2))
        assert run.status == "failed"
        broken.clear()
        await shell.retry(run)
        assert run.result == "call"


@pytest.mark.logs_errors("ConnectionError: refused")
async def test_a_step_that_failed_for_good_runs_once_more_at_a_retry(deploy: Deploy) -> None:
    attempts: list[str] = []
    broken = [True]

    def charge() -> str:
        attempts.append(step_key())
        if broken:
            raise ConnectionError("refused")
        return "receipt"

    @workflow
    async def order() -> str:
        await wait(m1).match_any()
        return await step(charge, retry=Retry(max_attempts=2))

    async with deploy(order) as shell:
        await shell.push(m1)
        [run] = shell.instances(order)
        assert (run.status, len(attempts)) == ("failed", 2)
        broken.clear()
        await shell.retry(run)
        assert (run.result, len(attempts)) == ("receipt", 3)
    assert len(set(attempts)) == 1


@pytest.mark.logs_errors("ConnectionError: refused")
async def test_a_workflow_retries_by_itself_with_pauses(deploy: Deploy) -> None:
    tries: list[int] = []

    @workflow(retry=Retry(max_attempts=3, initial=timedelta(minutes=1), jitter=False))
    async def stubborn() -> str:
        await wait(m1).match_any()
        await wait(m2).match_any()
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("refused")
        return "at last"

    async with deploy(stubborn) as shell:
        await shell.push(m1)
        await shell.push(m2)
        [run] = shell.instances(stubborn)
        assert run.status == "failed"
        assert run.retry_at == shell.now + timedelta(minutes=1)
        await shell.advance(timedelta(minutes=1))
        assert (run.failures, len(tries)) == (2, 2)
        await shell.advance(timedelta(minutes=2))
        assert run.result == "at last"
        assert shell.instances(stubborn)[0].retry_at is None


@pytest.mark.logs_errors("ValueError: never", "KeyError: 'never'")
async def test_a_workflow_gives_up_after_its_last_attempt_or_at_once(deploy: Deploy) -> None:
    tries: list[str] = []

    @workflow(retry=Retry(max_attempts=2, initial=timedelta(minutes=1), give_up_on=(ValueError,)))
    async def hopeless() -> None:
        call = await wait(m1).match_any()
        tries.append(call.input.text)
        raise ValueError("never") if call.input.text == "at once" else KeyError("never")

    async with deploy(hopeless) as shell:
        await shell.push(m1, text="at once")
        await shell.push(m1, text="twice")
        await shell.advance(timedelta(hours=9))
        assert [run.status for run in shell.instances(hopeless)] == ["failed", "failed"]
        assert [run.retry_at for run in shell.instances(hopeless)] == [None, None]
    assert tries == ["at once", "twice", "twice"]


async def test_only_a_failed_instance_can_be_retried(deploy: Deploy) -> None:
    @workflow
    async def fine() -> None:
        await wait(m1).match_any()
        await wait(m2).match_any()

    async with deploy(fine) as shell:
        await shell.push(m1)
        [run] = shell.instances(fine)
        with pytest.raises(NotRetriable, match="is waiting: only a failed"):
            await shell.retry(run)
        await shell.push(m2)
        with pytest.raises(NotRetriable, match="is completed"):
            await shell.retry(run)


async def test_cancelling_is_final_and_asked_twice_changes_nothing(deploy: Deploy) -> None:
    done: list[str] = []

    @workflow
    async def patient() -> None:
        await wait(m1).match_any()
        try:
            await wait(m2).match_any().when_cancelled(lambda: done.append("callback"))
        finally:
            await wait(m3).match_any()
            done.append("finally")

    async with deploy(patient) as shell:
        await shell.push(m1)
        [run] = shell.instances(patient)
        await shell.cancel(run, reason="wrong customer")
        await shell.cancel(run)
        assert run.status == "waiting"
        await shell.push(m3)
        assert run.status == "cancelled"
        await shell.cancel(run)
        assert run.status == "cancelled"
    assert done == ["callback", "finally"]


@pytest.mark.logs_errors("RuntimeError: broken")
async def test_a_failed_instance_can_be_cancelled(deploy: Deploy) -> None:
    done: list[str] = []

    @workflow
    async def failing() -> None:
        await wait(m1).match_any()
        try:
            await wait(m2).match_any()
            done.append("went on")
        finally:
            done.append("finally")
            if len(done) == 2:
                raise RuntimeError("broken")

    async with deploy(failing) as shell:
        await shell.push(m1)
        await shell.push(m2)
        [run] = shell.instances(failing)
        assert run.status == "failed"
        await shell.cancel(run)
        assert run.status == "cancelled"
    assert done == ["went on", "finally", "finally"]
