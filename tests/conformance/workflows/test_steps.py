"""Steps: functions that run outside the turn, once recorded, with retries and limits."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.conformance.workflows.methods import m1, m2

from raysume import Retry, StepFailed, limits, step, step_key, wait, workflow
from raysume.testing import TestShell
from raysume.testing.calls import ShellCalls

Deploy = Callable[..., TestShell]


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


async def test_an_attempt_that_takes_too_long_fails_and_is_tried_again(deploy: Deploy) -> None:
    attempts: list[str] = []

    async def slow_once(order: int) -> int:
        attempts.append(step_key())
        if len(attempts) == 1:
            await asyncio.Event().wait()
        return order

    @workflow
    async def limited() -> int:
        call = await wait(m1).match_any()
        return await step(
            slow_once,
            call.input.id,
            timeout=timedelta(milliseconds=250),  # enough for a busy machine to return a number
            retry=Retry(max_attempts=2),
        )

    async with deploy(limited) as shell:
        await shell.push(m1, id=7)
        [run] = shell.instances(limited)
        assert run.result == 7
    assert len(attempts) == 2
    assert len(set(attempts)) == 1


async def test_a_timeout_without_retry_is_the_cause_of_the_failure(deploy: Deploy) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    @workflow
    async def timed_out() -> str:
        await wait(m1).match_any()
        try:
            await step(never, timeout=timedelta(milliseconds=5))
        except StepFailed as error:
            return type(error.__cause__).__name__
        return "in time"

    async with deploy(timed_out) as shell:
        await shell.push(m1)
        [run] = shell.instances(timed_out)
        assert run.result == "TimeoutError"


async def test_a_step_for_ray_runs_in_place_in_a_shell(deploy: Deploy) -> None:
    @workflow
    async def on_ray() -> int:
        await wait(m1).match_any()
        return await step(os.getpid, ray={"num_gpus": 4})

    async with deploy(on_ray) as shell:
        await shell.push(m1)
        [run] = shell.instances(on_ray)
        assert run.result == os.getpid()


async def test_arguments_are_the_values_at_the_step_whatever_the_step_does_to_them(
    deploy: Deploy,
) -> None:
    def greedy(items: list[int]) -> int:
        items.clear()
        return 1

    @workflow
    async def keeps_its_own() -> list[int]:
        await wait(m1).match_any()
        items = [1, 2, 3]
        await step(greedy, items)
        return items

    async with deploy(keeps_its_own) as shell:
        await shell.push(m1)
        [run] = shell.instances(keeps_its_own)
        assert run.result == [1, 2, 3]


async def test_a_result_that_cannot_be_saved_fails_the_step_with_its_name(deploy: Deploy) -> None:
    def locked() -> object:
        return {"lock": threading.Lock()}

    @workflow
    async def unsavable_result() -> str:
        await wait(m1).match_any()
        try:
            await step(locked)
        except StepFailed as error:
            return str(error.__cause__)
        return "saved"

    async with deploy(unsavable_result) as shell:
        await shell.push(m1)
        [run] = shell.instances(unsavable_result)
        assert run.result is not None
        assert "the result of step" in run.result
        assert "locked" in run.result
        assert "lock" in run.result
        assert "[unsavable-state]" in run.result


async def test_a_result_that_is_too_large_to_be_recorded_fails_the_step_at_once(
    deploy: Deploy,
) -> None:
    sizes: list[int] = []

    def make() -> bytes:
        sizes.append(limits.STEP_RESULT_BYTES_MAX + 1)
        return bytes(sizes[-1])

    @workflow
    async def hoarding() -> str:
        await wait(m1).match_any()
        try:
            await step(make, retry=Retry(max_attempts=3))
        except StepFailed as failed:
            return str(failed.__cause__)
        return "kept"

    async with deploy(hoarding) as shell:
        await shell.push(m1)
        [run] = shell.instances(hoarding)
        told = run.result
        assert told is not None
        assert re.match(r"the result of step '.*make' has 128,\d{3},\d{3} bytes when saved", told)
        assert "128,000,000 are allowed" in told
        assert "return where it is. [step-result-too-large]" in told
    assert len(sizes) == 1, "it would be too large again"


@pytest.mark.logs_errors("UnsavableState")
async def test_an_argument_that_cannot_be_saved_is_named_with_its_line(deploy: Deploy) -> None:
    def takes(_lock: object) -> None:
        raise AssertionError("it must not run")

    @workflow
    async def unsavable_argument() -> None:
        await wait(m1).match_any()
        await step(takes, threading.Lock())

    async with deploy(unsavable_argument) as shell:
        await shell.push(m1)
        [run] = shell.instances(unsavable_argument)
        assert run.status == "failed"
        assert run.error is not None
        assert re.search(r"test_steps\.py:\d+", run.error)
        assert "argument 1" in run.error
        assert "lock" in run.error


async def test_the_pause_before_the_next_attempt_survives_a_restart() -> None:
    attempts: list[str] = []

    def flaky() -> int:
        attempts.append(step_key())
        if len(attempts) < 3:
            raise ConnectionError("refused")
        return len(attempts)

    @workflow
    async def patient() -> int:
        await wait(m1).match_any()
        pauses = Retry(
            max_attempts=5,
            initial=timedelta(minutes=10),
            backoff=10,
            maximum=timedelta(minutes=30),
            jitter=False,
        )
        return await step(flaky, retry=pauses)

    async with TestShell(patient, reload=False) as shell:
        [pool] = shell._pools.values()  # pyright: ignore[reportPrivateUsage]
        for minutes, expected in ((9, 1), (1, 2), (29, 2), (1, 3)):
            pool.kernel.hurries = False  # as in a pool: each attempt has its pause before it
            if not attempts:
                await shell.push(m1)
            pool.restart(ShellCalls(), int(shell.now.timestamp() * 1_000_000))
            pool.kernel.hurries = False
            await shell.advance(timedelta(minutes=minutes))
            assert len(attempts) == expected
        [run] = shell.instances(patient)
        assert run.result == 3
    assert len(set(attempts)) == 1
