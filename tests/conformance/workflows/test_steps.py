"""Steps: functions that run outside the turn, once recorded, with retries and limits."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance.workflows.methods import m1, m2

from raysume import Retry, StepFailed, step, step_key, wait, workflow
from raysume.testing import TestShell

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
