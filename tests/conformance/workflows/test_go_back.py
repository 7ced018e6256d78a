"""SCENARIOS section 3: going back is an ordinary loop; what runs again is what stands in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.workflows.marks import Marks
from tests.conformance.workflows.methods import m1, m2, m3, m4, submit
from tests.conformance.workflows.seen import statuses

from raysume import any_of, wait, workflow
from raysume.methods import Method
from raysume.testing import Counts, TestShell
from raysume.waits import Wait

Deploy = Callable[..., TestShell]


@pytest.mark.row(23)
async def test_only_the_code_behind_the_wait_runs_again(deploy: Deploy) -> None:
    ran = Marks()

    @workflow
    async def after() -> tuple[int, int]:
        counter, local = 0, 0

        def count() -> None:
            nonlocal counter, local
            counter += 1
            local += 10

        ran("before")
        await wait(m1).match_any()
        while counter < 2:
            ran("behind")
            count()
        return counter, local

    async with deploy(after) as shell:
        before = ran["before"]  # also run at deployment, to learn the first wait
        await shell.push(m1)
        assert shell.counts() == Counts(calls=1, waits=1, completed=1)
        [run] = shell.instances(after)
        assert run.result == (2, 20)
        assert ran == {"before": before + 1, "behind": 2}


@pytest.mark.row(24)
async def test_the_code_before_the_wait_and_the_wait_run_again(deploy: Deploy) -> None:
    ran = Marks()

    @workflow
    async def before() -> tuple[int, int]:
        counter, local = 0, 10

        def add(_call: object) -> None:
            nonlocal local
            local += 10

        await wait(m1).match_any()
        ran("after one")
        while counter < 20:
            counter += 10
            local += 10
            ran(f"before two: {counter}")
            await wait(m2).match_any().after_match(add)
            ran(f"after two: {counter}")
        return counter, local

    async with deploy(before) as shell:
        for round_ in (1, 2):
            for method in (m1, m2, m2):
                await shell.push(method)
            assert shell.counts() == Counts(calls=3 * round_, waits=3 * round_, completed=round_)
        assert [run.result for run in shell.instances(before)] == [(20, 50), (20, 50)]
    assert ran == dict.fromkeys(
        ("after one", "before two: 10", "after two: 10", "before two: 20", "after two: 20"), 2
    )


@pytest.mark.row(25, 52)
async def test_a_wait_that_runs_again_may_match_otherwise(deploy: Deploy) -> None:
    @workflow
    async def again() -> int:
        counter = 0
        await wait(m1).match_any()
        while counter < 20:
            counter += 10
            await (
                wait(m2)
                .match_any()
                .match_if(lambda call: call.input.text == "Back", when=counter == 20)
            )
        return counter

    async with deploy(again) as shell:
        await shell.push(m1)
        await shell.push(m2, text="anything")
        await shell.push(m2, text="other")
        [run] = shell.instances(again)
        assert run.status == "waiting"
        await shell.push(m2, text="Back")
        assert run.result == 20
        assert statuses(run) == {"completed": 3}
        assert shell.counts() == Counts(calls=4, waits=3, completed=1)


@pytest.mark.row(52)
async def test_of_several_conditional_matches_the_last_whose_condition_is_true_wins(
    deploy: Deploy,
) -> None:
    @workflow
    async def conditional(urgent: bool, foreign: bool) -> str:
        call = await (
            wait(m1)
            .match_if(lambda call: call.input.text == "usual")
            .match_if(lambda call: call.input.text == "urgent", when=urgent)
            .match_if(lambda call: call.input.text == "foreign", when=foreign)
        )
        return str(call.input.text)

    async with deploy(conditional) as shell:
        cases = ((False, False), (True, False), (False, True), (True, True))
        runs = [await shell.start(conditional, *case) for case in cases]
        await shell.push(m1, text="none of them")
        assert [run.status for run in runs] == ["waiting"] * 4
        for text in ("foreign", "urgent", "usual"):
            await shell.push(m1, text=text)
        assert [run.result for run in runs] == ["usual", "urgent", "foreign", "foreign"]
        assert shell.counts() == Counts(calls=4, waits=4, completed=4)


@pytest.mark.row(26)
async def test_a_wait_runs_again_without_the_code_before_it(deploy: Deploy) -> None:
    ran = Marks()

    @workflow
    async def to() -> tuple[int, int]:
        counter, local = 0, 0

        def add(_call: object) -> None:
            nonlocal counter, local
            counter += 3
            local += 25

        await wait(m1).match_any()
        counter += 10
        local += 10
        ran("before two")
        while True:
            await wait(m2).match_any().after_match(add)
            ran(f"after two: {counter}")
            if counter >= 16:
                return counter, local

    async with deploy(to) as shell:
        for method in (m1, m2, m2):
            await shell.push(method)
        assert shell.counts() == Counts(calls=3, waits=3, completed=1)
        [run] = shell.instances(to)
        assert run.result == (16, 60)
    assert ran == {"before two": 1, "after two: 13": 1, "after two: 16": 1}


@pytest.mark.row(27, 52)
async def test_a_wait_that_runs_again_matches_with_the_new_values(deploy: Deploy) -> None:
    @workflow
    async def to_new_match() -> int:
        counter, x = 10, 5
        await wait(m1).match_any()
        while counter < 16:
            await wait(m2).match_if(lambda call: call.input.id == x)  # noqa: B023 - the value now
            counter += 3
            x += 5
        return counter

    async with deploy(to_new_match) as shell:
        await shell.push(m1)
        await shell.push(m2, id=5)
        [run] = shell.instances(to_new_match)
        assert run.locals["x"] == 10
        await shell.push(m2, id=10)
        assert run.result == 16
        assert shell.counts() == Counts(calls=3, waits=3, completed=1)


@pytest.mark.row(29)
async def test_a_function_called_again_makes_a_fresh_closure(deploy: Deploy) -> None:
    def counting(method: Method, into: list[int]) -> Wait[Any]:
        counter = 10

        def count(_call: object) -> None:
            nonlocal counter
            into.append(counter)
            counter += 1

        return wait(method).match_any().after_match(count)

    @workflow
    async def fresh() -> list[int]:
        counted: list[int] = []
        await wait(m1).match_any()
        while len(counted) < 2:
            await counting(m2, counted)
        return counted

    async with deploy(fresh) as shell:
        for method in (m1, m2, m2):
            await shell.push(method)
        assert shell.counts() == Counts(calls=3, waits=3, completed=1)
        [run] = shell.instances(fresh)
        assert run.result == [10, 10]


@pytest.mark.row(30)
async def test_a_group_is_waited_for_again_until_one_says_yes(deploy: Deploy) -> None:
    asked = Marks()

    @workflow
    async def managers() -> tuple[int, str | None]:
        start = await wait(submit).match_any()
        request, rounds = start.input.request, 0
        while True:
            rounds += 1
            asked(f"round {rounds}")
            first = await any_of(
                wait(m2, "ann").match(id=request),
                wait(m3, "ben").match(id=request),
                wait(m4, "cem").match(id=request),
            )
            if first.result.input.text == "yes":
                return rounds, first.name

    async with deploy(managers) as shell:
        await shell.push(submit, request=7, output=True)
        for method in (m2, m3, m4):
            await shell.push(method, id=7, text="no")
        [run] = shell.instances(managers)
        assert run.status == "waiting"
        await shell.push(m3, id=7, text="yes")
        assert run.result == (4, "ben")
        assert shell.counts() == Counts(calls=5, waits=17, completed=1)
        assert statuses(run) == {"completed": 9, "cancelled": 8}
    assert asked == {f"round {number}": 1 for number in (1, 2, 3, 4)}
