"""How long a suite of TestShell cases takes: `python -m scale_tests.shell_cases [CASES]`.

Each case is what a user's test does: open a shell, push calls, let time pass, look at results;
state is saved and reloaded after every step. The cases are those of an approval with an
escalation, a step, a group and a subflow.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from pydantic import BaseModel

from raysume import (
    WaitTimeout,
    all_of,
    any_of,
    external_call,
    sleep,
    step,
    subflow,
    wait,
    workflow,
)
from raysume.testing import TestShell

CASES = 500
GOAL_S = 20.0


class Request(BaseModel):
    """What is submitted and decided."""

    id: int
    amount: int = 0


submitted = external_call("shell_cases.submitted", input=Request, output=bool)
decided = external_call("shell_cases.decided", input=Request, output=str)
signed = external_call("shell_cases.signed", input=Request, output=str)


def ticket(request: int) -> str:
    """A step."""
    return f"T-{request}"


@subflow
async def second_opinion(request: int) -> str:
    """Two signatures."""
    one, two = await all_of(
        wait(signed, "one").match(id=request, amount=1),
        wait(signed, "two").match(id=request, amount=2),
    )
    return f"{one.output}+{two.output}"


@workflow(name="shell_cases.approval")
async def approval() -> str:
    """An approval with a ticket, a limit of three days, and a second opinion."""
    call = await wait(submitted).match_if(lambda call: call.output)
    request = call.input.id
    number = await step(ticket, request)
    try:
        answer = await wait(decided).match(id=request).timeout(timedelta(days=3))
    except WaitTimeout:
        return f"{number} escalated"
    if call.input.amount < 1000:
        return f"{number} {answer.output}"
    opinion = await any_of(second_opinion(request), sleep(timedelta(days=1)))
    return f"{number} {answer.output} {opinion.result}"


async def approves() -> None:
    """A small request is approved."""
    async with TestShell(approval) as shell:
        await shell.push(submitted, id=1, amount=5, output=True)
        await shell.push(decided, id=1, output="yes")
        [run] = shell.instances(approval)
        assert run.result == "T-1 yes"


async def escalates() -> None:
    """Nobody answers."""
    async with TestShell(approval) as shell:
        await shell.push(submitted, id=2, output=True)
        await shell.advance(timedelta(days=2))
        await shell.push(decided, id=3, output="yes")
        await shell.advance(timedelta(days=2))
        [run] = shell.instances(approval)
        assert run.result == "T-2 escalated"


async def asks_for_a_second_opinion() -> None:
    """A large request needs two signatures."""
    async with TestShell(approval) as shell:
        await shell.push(submitted, id=3, amount=5000, output=True)
        await shell.push(decided, id=3, output="yes")
        await shell.push(signed, id=3, amount=2, output="ben")
        [run] = shell.instances(approval)
        assert run.status == "waiting"
        await shell.push(signed, id=3, amount=1, output="ann")
        assert run.result == "T-3 yes ann+ben"


async def ignores() -> None:
    """A request that was not accepted starts nothing."""
    async with TestShell(approval) as shell:
        await shell.push(submitted, id=4, output=False)
        assert shell.instances(approval) == []


KINDS: tuple[Callable[[], Awaitable[None]], ...] = (
    approves,
    escalates,
    asks_for_a_second_opinion,
    ignores,
)


async def _run(case: Callable[[], Awaitable[None]]) -> None:
    await case()


def main() -> int:
    """Runs the cases, each in an event loop of its own, and prints how long they took."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else CASES
    began, used = time.perf_counter(), time.process_time()
    for number in range(cases):
        asyncio.run(_run(KINDS[number % len(KINDS)]))
    took, cpu = time.perf_counter() - began, time.process_time() - used
    print(
        f"{cases} cases: {took:.1f} s, {1000 * took / cases:.1f} ms each ({cpu:.1f} s CPU); "
        f"goal {CASES} in {GOAL_S:.0f} s"
    )
    return 0 if took / cases <= GOAL_S / CASES else 1


if __name__ == "__main__":
    sys.exit(main())
