"""Parameters with `Depends`: made anew, never state, replaced by tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.conformance.workflows.methods import m1, m2

from raysume import Depends, WaitTimeout, sleep, step, subflow, wait, workflow
from raysume.testing import TestShell

Deploy = Callable[..., TestShell]


class Clerk:
    """Something that cannot be saved."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.lock = threading.Lock()

    def answer(self, text: str) -> str:
        """What the real one says."""
        return f"{text}, says the clerk"

    def likes(self, text: str) -> bool:
        """Whether the text is liked."""
        return text.startswith("good")


class Double(Clerk):
    """What a test puts in its place."""

    def answer(self, text: str) -> str:
        """What the double says."""
        return f"{text}, says the double"


def get_clerk() -> Clerk:
    """A clerk."""
    return Clerk()


@pytest.mark.runs_again("get_clerk", "__init__", "likes")
async def test_dependencies_are_made_anew_and_are_no_parameters(deploy: Deploy) -> None:
    @workflow
    async def ask(text: str, clerk: Clerk = Depends(get_clerk)) -> list[str]:
        said = [clerk.answer(text)]

        def again(call: Any) -> None:
            said.append(clerk.answer(call.input.text))

        await wait(m1).match_if(lambda call: clerk.likes(call.input.text)).after_match(again)
        said.append(await step(clerk.answer, "step"))
        await sleep(timedelta(days=1))
        said.append(clerk.answer("end"))
        return said

    assert ask.parameters == ("text",)
    async with deploy(ask) as shell:
        run = await shell.start(ask, "hello")
        assert "clerk" not in run.locals
        await shell.push(m1, text="bad")
        await shell.push(m1, text="good one")
        await shell.advance(timedelta(days=2))
        assert run.status == "completed"
        assert run.result == [
            f"{text}, says the clerk" for text in ("hello", "good one", "step", "end")
        ]


@pytest.mark.runs_again("__init__")
async def test_a_test_puts_another_in_the_place_of_a_dependency(deploy: Deploy) -> None:
    Clerk.made = 0

    @subflow
    async def ask(text: str, clerk: Clerk = Depends(get_clerk)) -> str:
        await wait(m2).match_any()
        return clerk.answer(text)

    @workflow
    async def asked(clerk: Clerk = Depends(get_clerk)) -> str:
        call = await wait(m1).match_any()
        return await ask(clerk.answer(call.input.text))

    shell = deploy(asked)
    shell.override(get_clerk, make=Double)
    async with shell:
        await shell.push(m1, text="hello")
        [run] = shell.instances(asked)
        await shell.push(m2)
        assert run.result == "hello, says the double, says the double"
        shell.override(get_clerk, returns=Clerk())
        await shell.push(m1, text="again")
        await shell.push(m2)
        _, second = shell.instances(asked)
        assert second.result == "again, says the clerk, says the clerk"
    assert Clerk.made == 1


@pytest.mark.logs_errors("no connection")
async def test_a_dependency_that_cannot_be_made_fails_its_instance_only(deploy: Deploy) -> None:
    def unlucky() -> int:
        raise OSError("no connection")

    @workflow
    async def needs(number: int, connection: int = Depends(unlucky)) -> int:
        await wait(m1).match_any()
        return number + connection

    async with deploy(needs) as shell:
        run = await shell.start(needs, 1)
        assert (run.status, run.error) == ("failed", "OSError: no connection")


@pytest.mark.runs_again("get_clerk", "__init__")
async def test_a_dependency_is_not_shared_with_what_catches_its_timeout(deploy: Deploy) -> None:
    @workflow
    async def late(number: int, clerk: Clerk = Depends(get_clerk)) -> str:
        try:
            await wait(m1).match_any().timeout(timedelta(hours=1))
        except WaitTimeout:
            await wait(m2).match_any()
        return clerk.answer(str(number))

    async with deploy(late) as shell:
        run = await shell.start(late, 5)
        await shell.advance(timedelta(hours=2))
        await shell.push(m2)
        assert run.result == "5, says the clerk"
