"""SCENARIOS section 4: timers, cancelling, failures, steps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from tests.conformance.workflows.methods import decide, m1, m2, submit

from raysume import (
    Retry,
    StepFailed,
    WaitTimeout,
    any_of,
    sleep,
    sleep_until,
    step,
    step_key,
    subflow,
    wait,
    workflow,
)
from raysume.testing import TestShell

Deploy = Callable[..., TestShell]


async def test_a_wait_times_out_when_nobody_answers(deploy: Deploy) -> None:
    @workflow
    async def approval() -> str:
        start = await wait(submit).match_if(lambda call: call.output)
        try:
            answer = await (
                wait(decide).match(request=start.input.request).timeout(timedelta(days=3))
            )
        except WaitTimeout:
            return "escalated"
        return answer.output

    async with deploy(approval) as shell:
        await shell.push(submit, request=1, output=True)
        await shell.push(submit, request=2, output=True)
        await shell.push(submit, request=3, output=False)
        await shell.advance(timedelta(days=2))
        await shell.push(decide, request=2, answer="yes", output="yes")
        await shell.advance(timedelta(days=2))
        assert [run.result for run in shell.instances(approval)] == ["escalated", "yes"]


async def test_an_answer_stops_the_timer(deploy: Deploy) -> None:
    asked: list[int] = []

    @workflow
    async def deferred() -> int:
        start = await wait(submit).match_any()
        request = start.input.request
        while True:
            asked.append(request)
            first = await any_of(wait(decide).match(request=request), sleep(timedelta(days=2)))
            if first.index == 0:
                return len(asked)

    async with deploy(deferred) as shell:
        await shell.push(submit, request=5, output=True)
        await shell.advance(timedelta(days=2))
        await shell.push(decide, request=6, answer="", output="")
        await shell.push(decide, request=5, answer="", output="")
        [run] = shell.instances(deferred)
        assert run.result == 2
        assert [view.status for view in run.waits].count("cancelled") == 2
        await shell.advance(timedelta(days=9))
        assert asked == [5, 5]


async def test_a_sleep_resumes_at_every_tick(deploy: Deploy) -> None:
    ready = [False, False, True]

    @workflow
    async def poll() -> int:
        await wait(m1).match_any()
        ticks = 0
        while not ready[ticks]:
            await sleep(timedelta(minutes=1))
            ticks += 1
        return ticks

    async with deploy(poll) as shell:
        await shell.push(m1)
        await shell.advance(timedelta(minutes=1))
        [run] = shell.instances(poll)
        assert run.status == "waiting"
        await shell.advance(timedelta(minutes=1))
        assert run.result == 2


async def test_sleeping_until_a_moment_ends_then(deploy: Deploy) -> None:
    @workflow
    async def until() -> str:
        await wait(m1).match_any()
        await sleep_until(datetime.now(UTC) + timedelta(hours=5))
        return "awake"

    async with deploy(until) as shell:
        await shell.push(m1)
        [run] = shell.instances(until)
        await shell.advance(timedelta(hours=4))
        assert run.status == "waiting"
        await shell.advance(timedelta(hours=2))
        assert run.result == "awake"


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(seconds=-1)])
def test_a_delay_must_be_positive(delay: timedelta) -> None:
    with pytest.raises(ValueError, match="above zero"):
        sleep(delay)


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        sleep_until(datetime(2030, 1, 1))


async def test_an_error_after_the_first_wait_fails_the_instance(deploy: Deploy) -> None:
    @workflow
    async def failing() -> None:
        await wait(m1).match_any()
        await wait(m2).match_any()
        raise RuntimeError("the printer is on fire")

    async with deploy(failing) as shell:
        await shell.push(m1)
        await shell.push(m2)
        [run] = shell.instances(failing)
        assert run.status == "failed"
        assert run.error == "RuntimeError: the printer is on fire"
        assert [view.status for view in run.waits] == ["completed", "waiting"]


async def test_an_error_in_after_match_leaves_the_wait(deploy: Deploy) -> None:
    attempts: list[int] = []

    def once(_call: object) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("not yet")

    @workflow
    async def callback() -> str:
        await wait(m1).match_any()
        call = await wait(m2).match_any().after_match(once)
        return call.input.text

    async with deploy(callback) as shell:
        await shell.push(m1)
        await shell.push(m2, text="first")
        [run] = shell.instances(callback)
        assert run.status == "waiting"
        assert len(run.errors) == 1
        assert "not yet" in run.errors[0]
        await shell.push(m2, text="second")
        assert run.result == "second"


async def test_an_error_in_one_match_does_not_touch_others(deploy: Deploy) -> None:
    @workflow
    async def picky() -> int:
        start = await wait(m1).match_any()
        number = start.input.id
        await wait(m2).match_if(lambda call: 10 / number > 0 and call.input.id == 5)
        return number

    async with deploy(picky) as shell:
        await shell.push(m1, id=0)
        await shell.push(m1, id=1)
        await shell.push(m2, id=5)
        broken, fine = shell.instances(picky)
        assert (broken.status, fine.result) == ("waiting", 1)
        assert "ZeroDivisionError" in broken.errors[0]


async def test_waiting_in_a_function_without_marker_is_refused(deploy: Deploy) -> None:
    async def helper() -> None:
        await wait(m2).match_any()

    @workflow
    async def unmarked() -> None:
        await wait(m1).match_any()
        await helper()

    async with deploy(unmarked) as shell:
        await shell.push(m1)
        [run] = shell.instances(unmarked)
        assert run.status == "failed"
        assert run.error is not None
        assert "helper" in run.error
        assert "@subflow" in run.error


async def test_cancelling_runs_finally_and_its_waits(deploy: Deploy) -> None:
    done: list[str] = []

    @subflow
    async def inner() -> None:
        try:
            await wait(m2).match_any().when_cancelled(lambda: done.append("callback"))
        finally:
            done.append("inner")

    @workflow
    async def cancelled() -> None:
        await wait(m1).match_any()
        try:
            await inner()
        except Exception:
            done.append("swallowed")
        finally:
            done.append("outer")

    async with deploy(cancelled) as shell:
        await shell.push(m1)
        [run] = shell.instances(cancelled)
        await shell.cancel(run)
        assert run.status == "cancelled"
    assert done == ["callback", "inner", "outer"]


async def test_a_step_runs_once_and_its_result_is_kept(deploy: Deploy) -> None:
    ran: list[tuple[int, str]] = []

    def charge(amount: int) -> str:
        ran.append((amount, step_key()))
        return f"receipt-{amount}"

    async def confirm(receipt: str, *, loud: bool) -> str:
        return receipt.upper() if loud else receipt

    @workflow
    async def order() -> str:
        await wait(m1).match_any()
        receipt = await step(charge, 7)
        loud = await step(confirm, receipt, loud=True)
        await wait(m2).match_any()
        return loud

    async with deploy(order) as shell:
        await shell.push(m1)
        await shell.push(m2)
        [run] = shell.instances(order)
        assert run.result == "RECEIPT-7"
    assert [amount for amount, _ in ran] == [7]


async def test_a_step_is_retried_and_then_fails_with_its_cause(deploy: Deploy) -> None:
    keys: list[str] = []

    def flaky() -> None:
        keys.append(step_key())
        raise ConnectionError("refused")

    def hopeless() -> None:
        keys.append("hopeless")
        raise ValueError("never")

    @workflow
    async def retried() -> list[str]:
        await wait(m1).match_any()
        causes: list[str] = []
        for function in (flaky, hopeless):
            try:
                await step(function, retry=Retry(max_attempts=3, give_up_on=(ValueError,)))
            except StepFailed as error:
                causes.append(type(error.__cause__).__name__)
        return causes

    async with deploy(retried) as shell:
        await shell.push(m1)
        [run] = shell.instances(retried)
        assert run.result == ["ConnectionError", "ValueError"]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1


async def test_a_stub_stands_in_for_a_step(deploy: Deploy) -> None:
    def charge(amount: int) -> str:
        raise AssertionError(f"{amount} was charged in a test")

    @workflow(name="stubbed")
    async def order(amount: int) -> str:
        return await step(charge, amount)

    async with deploy(order) as shell:
        shell.stub(charge, returns="stubbed")
        run = await shell.start(order, 3)
        assert run.result == "stubbed"
