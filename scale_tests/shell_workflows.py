"""Cases of the kind that the conformance tests are, each with workflows of its own, for shell_cases.

The module is loaded anew for every case, so each compiles what it defines, as the tests of a
suite do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from pydantic import Field

from raysume import (
    Container,
    Retry,
    StepFailed,
    WaitTimeout,
    all_of,
    any_of,
    group,
    sleep,
    step,
    subflow,
    wait,
    workflow,
)
from raysume.testing import TestShell
from scale_tests.shell_methods import decided, signed, submitted

DAY = timedelta(days=1)


def ticket(request: int) -> str:
    """A step."""
    return f"T-{request}"


def reject(request: int) -> str:
    """A step that fails."""
    raise ValueError(f"{request} is not wanted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is pushed in a case of the approval."""

    amount: int = 0
    accepted: bool = True
    answers: int = 0
    days: int = 0
    signatures: tuple[int, ...] = ()
    result: str | None


async def _approval(said: Said) -> None:
    """An approval with a ticket, a limit of three days, and a second opinion."""

    @subflow
    async def second_opinion(request: int) -> str:
        one, two = await all_of(
            wait(signed, "one").match(id=request, amount=1),
            wait(signed, "two").match(id=request, amount=2),
        )
        return f"{one.output}+{two.output}"

    @workflow(name="shell_cases.approval")
    async def approval() -> str:
        call = await wait(submitted).match_if(lambda call: call.output)
        request = call.input.id
        number = await step(ticket, request)
        try:
            answer = await wait(decided).match(id=request).timeout(3 * DAY)
        except WaitTimeout:
            return f"{number} escalated"
        if call.input.amount < 1000:
            return f"{number} {answer.output}"
        opinion = await any_of(second_opinion(request), sleep(DAY))
        return f"{number} {answer.output} {opinion.result}"

    async with TestShell(approval) as shell:
        await shell.push(submitted, id=1, amount=said.amount, output=said.accepted)
        await shell.push(decided, id=2, output="yes")
        await shell.advance(said.days * DAY)
        for _ in range(said.answers):
            await shell.push(decided, id=1, output="yes")
        for amount in said.signatures:
            await shell.push(signed, id=1, amount=amount, output=f"s{amount}")
        assert [run.result for run in shell.instances(approval)] == (
            [said.result] if said.accepted else []
        )


async def approves() -> None:
    """A small request is approved."""
    await _approval(Said(amount=5, answers=1, result="T-1 yes"))


async def escalates() -> None:
    """Nobody answers."""
    await _approval(Said(days=4, result="T-1 escalated"))


async def asks_for_a_second_opinion() -> None:
    """A large request needs two signatures."""
    said = Said(amount=5000, answers=1, signatures=(2, 1), result="T-1 yes s1+s2")
    await _approval(said)


async def ignores() -> None:
    """A request that was not accepted starts nothing."""
    await _approval(Said(accepted=False, result=None))


async def counts() -> None:
    """A loop over waits, with try/finally around them."""

    @workflow(name="shell_cases.counting")
    async def counting(request: int, times: int) -> list[int]:
        amounts: list[int] = []
        try:
            while len(amounts) < times:
                call = await wait(signed).match_if(lambda call: call.input.id == request)
                amounts.append(call.input.amount)
        finally:
            amounts.append(-1)
        return amounts

    async with TestShell(counting) as shell:
        run = await shell.start(counting, 5, times=5)
        for amount in range(5):
            await shell.push(signed, id=5, amount=amount, output="")
        assert run.result == [0, 1, 2, 3, 4, -1]


async def _family(*, is_cancelled: bool) -> None:
    """A child workflow with a group, then a step that is tried twice and fails."""

    @workflow(name="shell_cases.quorum")
    async def quorum(request: int) -> int:
        found = await group(
            *(wait(signed, f"s{n}").match(id=request, amount=n) for n in (1, 2, 3))
        ).until(lambda progress: progress.completed >= 2)
        return found.completed

    @workflow(name="shell_cases.parent")
    async def parent(request: int) -> str:
        count = await quorum(request)
        try:
            await step(reject, request, retry=Retry(2, jitter=False))
        except StepFailed as error:
            return f"{count} {error.details['attempts']}"
        return "accepted"

    async with TestShell(parent, quorum) as shell:
        run = await shell.start(parent, 6)
        if is_cancelled:
            await shell.cancel(run)
            assert [each.status for each in shell.instances()] == ["cancelled", "cancelled"]
            return
        await shell.push(signed, id=6, amount=3, output="")
        await shell.push(signed, id=6, amount=1, output="")
        await shell.advance(DAY)
        assert run.result == "2 2"


async def has_a_child() -> None:
    """A child workflow ends first."""
    await _family(is_cancelled=False)


async def is_cancelled() -> None:
    """Cancelled with its child while that waits."""
    await _family(is_cancelled=True)


async def onboards() -> None:
    """A container's fields are its state."""

    class Onboarding(Container):
        """Three signatures, one by one."""

        seen: list[int] = Field(default_factory=list)

        @workflow(name="shell_cases.onboarding")
        async def run(self) -> int:
            """Runs."""
            first = await wait(submitted).match_any()
            for amount in (1, 2):
                await self.takes(first.input.id, amount)
            return len(self.seen)

        @subflow
        async def takes(self, request: int, amount: int) -> None:
            """One signature."""
            call = await wait(signed).match(id=request, amount=amount)
            self.seen.append(call.input.amount)

    async with TestShell(Onboarding.run) as shell:
        await shell.push(submitted, id=8, output=True)
        await shell.push(signed, id=8, amount=1, output="")
        await shell.push(signed, id=8, amount=2, output="")
        [run] = shell.instances(Onboarding.run)
        assert (run.result, run.container.seen) == (2, [1, 2])


CASES: tuple[Callable[[], Awaitable[None]], ...] = (
    *(approves, escalates, asks_for_a_second_opinion, ignores),
    *(counts, has_a_child, is_cancelled, onboards),
)
