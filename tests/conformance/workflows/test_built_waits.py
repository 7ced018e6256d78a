"""SCENARIOS rows 10 to 12: waits that ordinary functions build, with closures of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.workflows.methods import decide, m1, m2, m3, submit

from raysume import all_of, wait, workflow
from raysume.methods import Method
from raysume.testing import Counts, TestShell
from raysume.waits import Wait

Deploy = Callable[..., TestShell]


@pytest.mark.row(10)
async def test_a_wait_built_by_a_function_is_awaited_again_after_a_rejection(
    deploy: Deploy,
) -> None:
    def approval(request: int) -> Wait[Any]:
        return wait(decide, "approval").match(request=request)

    @workflow
    async def asked_again() -> str:
        start = await wait(submit).match_any()
        answer = await approval(start.input.request)
        while answer.input.answer == "reject":
            answer = await approval(start.input.request)
        return str(answer.input.answer)

    async with deploy(asked_again) as shell:
        await shell.push(submit, request=3, output=True)
        await shell.push(decide, request=3, answer="reject", output="no")
        [run] = shell.instances(asked_again)
        assert run.status == "waiting"
        await shell.push(decide, request=3, answer="approve", output="yes")
        assert run.result == "approve"
        assert [view.name for view in run.waits] == [None, "approval", "approval"]
        assert shell.counts() == Counts(calls=3, waits=3, completed=1)


class Left:
    """Builds a wait with callbacks over what it was given."""

    @staticmethod
    def helper(method: Method, start: int, into: list[str]) -> Wait[Any]:
        """A wait that counts from `start` as it matches."""
        counter = start

        def count(_call: object) -> None:
            nonlocal counter
            counter += 1
            into.append(f"left {counter}")

        return wait(method).match_if(lambda call: call.input.id == start).after_match(count)


class Right:
    """As `Left`, with a function of the same name."""

    @staticmethod
    def helper(method: Method, start: int, into: list[str]) -> Wait[Any]:
        """A wait that counts down from `start` as it matches."""
        counter = start

        def count(_call: object) -> None:
            nonlocal counter
            counter -= 1
            into.append(f"right {counter}")

        return wait(method).match_if(lambda call: call.input.id == start).after_match(count)


@pytest.mark.row(11)
async def test_functions_of_one_name_keep_their_own_closures_in_a_sequence(
    deploy: Deploy,
) -> None:
    @workflow
    async def closures() -> list[str]:
        counted: list[str] = []
        await wait(m1).match_any()
        await Left.helper(m2, 10, counted)
        await Right.helper(m3, 20, counted)
        return counted

    async with deploy(closures) as shell:
        await shell.push(m1)
        assert shell.counts() == Counts(calls=1, waits=2, completed=0)
        await shell.push(m2, id=10)
        assert shell.counts() == Counts(calls=2, waits=3, completed=0)
        await shell.push(m3, id=20)
        assert shell.counts() == Counts(calls=3, waits=3, completed=1)
        [run] = shell.instances(closures)
        assert run.result == ["left 11", "right 19"]


@pytest.mark.row(12)
async def test_functions_of_one_name_keep_their_own_closures_in_a_group(deploy: Deploy) -> None:
    @workflow
    async def closures_together() -> list[str]:
        counted: list[str] = []
        await all_of(Left.helper(m1, 10, counted), Right.helper(m2, 20, counted))
        await wait(m3).match_any()
        return counted

    async with deploy(closures_together) as shell:
        await shell.push(m2, id=20)
        await shell.push(m1, id=10)
        await shell.push(m3)
        assert shell.counts() == Counts(calls=3, waits=4, completed=1)
        [run] = shell.instances(closures_together)
        assert run.result == ["right 19", "left 11"]
