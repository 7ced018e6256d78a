"""SCENARIOS section 2: subflows wait inside their caller's instance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.conformance.workflows.marks import Marks
from tests.conformance.workflows.methods import m1, m2, m3, m4
from tests.conformance.workflows.seen import index_of, statuses

from raysume import all_of, any_of, subflow, wait, workflow
from raysume.compiler.forewarning import UnmarkedSubflowWarning
from raysume.testing import Counts, TestShell

Deploy = Callable[..., TestShell]


@pytest.mark.row(14)
async def test_a_subflow_at_the_start_keeps_the_first_wait_standing(deploy: Deploy) -> None:
    @subflow
    async def inner() -> str:
        call = await wait(m1).match_any()
        return call.input.text

    @workflow
    async def outer() -> str:
        return await inner()

    async with deploy(outer) as shell:
        await shell.push(m1, text="a")
        assert shell.counts() == Counts(calls=1, waits=2, completed=1)
        await shell.push(m1, text="b")
        assert shell.counts() == Counts(calls=2, waits=4, completed=2)
        assert [run.result for run in shell.instances(outer)] == ["a", "b"]
        assert len(index_of(shell)) == 1, "the standing first wait is no longer one"
        assert statuses(*shell.instances(outer)) == {"completed": 4}


@pytest.mark.row(15)
async def test_a_subflow_has_arguments_and_variables_of_its_own(deploy: Deploy) -> None:
    @subflow
    async def sub(argument: int) -> tuple[int, str]:
        message = "Input: "

        def add(_call: object) -> None:
            nonlocal argument, message
            argument += 5
            message += "m3, Output: "

        call = await wait(m3).match_any().after_match(add)
        return argument, message + call.output

    @workflow
    async def outer() -> tuple[int, str]:
        await wait(m1).match_any()
        return await sub(155)

    async with deploy(outer) as shell:
        await shell.push(m1)
        assert shell.counts() == Counts(calls=1, waits=3, completed=0)
        await shell.push(m3, text="m3", output="m3M3")
        assert shell.counts() == Counts(calls=2, waits=3, completed=1)
        [run] = shell.instances(outer)
        assert run.result == (160, "Input: m3, Output: m3M3")


@pytest.mark.row(16)
async def test_two_subflows_may_be_the_first_wait_together(deploy: Deploy) -> None:
    @subflow
    async def one() -> str:
        return (await wait(m1).match_any()).input.text

    @subflow
    async def two() -> str:
        return (await wait(m2).match_any()).input.text

    @workflow
    async def both() -> tuple[str, str]:
        return await all_of(one(), two())

    async with deploy(both) as shell:
        for round_, order in enumerate([(m1, m2), (m2, m1)], 1):
            for method in order:
                await shell.push(method, text=method.urn[-2:])
            assert shell.counts() == Counts(calls=2 * round_, waits=5 * round_, completed=round_)
        assert [run.result for run in shell.instances(both)] == [("m1", "m2")] * 2
        assert len(index_of(shell)) == 2, "the standing first wait has two members"
        assert statuses(*shell.instances(both)) == {"completed": 10}
        await shell.push(m1)
        assert [run.status for run in shell.instances(both)] == [
            "completed",
            "completed",
            "waiting",
        ]


@pytest.mark.row(18)
async def test_three_levels_of_subflows_keep_their_own_locals(deploy: Deploy) -> None:
    ran = Marks()

    @subflow
    async def third(level: str) -> str:
        local = level + "c"
        call = await wait(m3).match_any()
        ran(f"third: {local}")
        return f"{level}{call.input.text}"

    @subflow
    async def second(level: str) -> str:
        local = level + "b"
        call = await wait(m2).match_any()
        ran(f"second: {local}")
        below = await third(level + "3")
        ran(f"second again: {local}")
        return f"{level}{call.input.text} {below}"

    @subflow
    async def first(level: str) -> str:
        local = level + "a"
        one = await wait(m1).match_any()
        ran(f"first: {local}")
        four = await wait(m4).match_any()
        below = await second(level + "2")
        ran(f"first again: {local}")
        return f"{level}{one.input.text}{four.input.text} {below}"

    @workflow
    async def levels() -> str:
        local = "entry"
        result = await first("1")
        ran(local)
        return result

    async with deploy(levels) as shell:
        for round_ in (1, 2):
            for method, text in ((m1, "a"), (m4, "d"), (m2, "b"), (m3, "c")):
                await shell.push(method, text=text)
            assert shell.counts() == Counts(calls=4 * round_, waits=7 * round_, completed=round_)
        for run in shell.instances(levels):
            assert run.result == "1ad 12b 123c"
            assert statuses(run) == {"completed": 7}
    statements = ("first: 1a", "second: 12b", "third: 123c", "second again: 12b", "first again: 1a")
    assert ran == dict.fromkeys((*statements, "entry"), 2)


@pytest.mark.row(19)
async def test_one_call_meets_the_first_of_two_equal_waits_in_parent_and_subflow(
    deploy: Deploy,
) -> None:
    @subflow
    async def sub() -> str:
        return (await wait(m1).match_any()).input.text

    @workflow
    async def shared() -> tuple[str, str]:
        inner, own = await all_of(sub(), wait(m1).match_any())
        return inner, own.input.text

    async with deploy(shared) as shell:
        await shell.push(m1, text="first")
        [run] = shell.instances(shared)
        waits = [view for view in run.waits if view.kind == "wait"]
        assert [view.status for view in waits] == ["completed", "waiting"]
        await shell.push(m1, text="second")
        assert [run.result for run in shell.instances(shared)] == [("first", "second")]
        assert shell.counts() == Counts(calls=2, waits=4, completed=1)


@pytest.mark.row(20)
async def test_the_first_of_two_subflows_cancels_the_whole_other_one(deploy: Deploy) -> None:
    cancelled = Marks()

    @subflow
    async def slow() -> None:
        await all_of(
            wait(m1, "one").match_any().when_cancelled(lambda: cancelled("one")),
            wait(m2, "two").match_any().when_cancelled(lambda: cancelled("two")),
        )

    @subflow
    async def quick() -> str:
        return (await wait(m3, "three").match_any()).input.text

    @workflow
    async def race() -> tuple[int, object]:
        first = await any_of(slow(), quick())
        return first.index, first.result

    async with deploy(race) as shell:
        await shell.push(m1)
        await shell.push(m3, text="quick")
        [run] = shell.instances(race)
        assert run.result == (1, "quick")
        assert shell.counts() == Counts(calls=2, waits=7, completed=1)
        ended = {view.name: view.status for view in run.waits if view.name}
        assert ended == {
            "slow": "cancelled",
            "quick": "completed",
            "one": "completed",
            "two": "cancelled",
            "three": "completed",
        }
        assert [view.status for view in run.waits if view.kind == "group"] == [
            "completed",
            "cancelled",
        ]
        await shell.push(m2)
        assert run.result == (1, "quick")
    assert cancelled == {"two": 1}


@pytest.mark.row(21)
@pytest.mark.logs_errors("@subflow")
async def test_a_function_without_marker_is_refused_where_it_waits(deploy: Deploy) -> None:
    async def helper() -> None:
        await wait(m2).match_any()

    with pytest.warns(UnmarkedSubflowWarning, match=r"helper .*@subflow"):

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


@pytest.mark.row(21)
@pytest.mark.logs_errors("@subflow")
async def test_a_function_without_marker_is_refused_as_a_member(deploy: Deploy) -> None:
    async def helper() -> None:
        await wait(m2).match_any()

    @workflow
    async def grouped() -> None:
        await wait(m1).match_any()
        await all_of(wait(m3).match_any(), helper())

    async with deploy(grouped) as shell:
        await shell.push(m1)
        [run] = shell.instances(grouped)
        assert run.status == "failed"
        assert run.error is not None
        assert "helper" in run.error
        assert "Decorate" in run.error
        assert "@subflow" in run.error


@pytest.mark.row(22)
async def test_a_subflow_that_waits_for_nothing_goes_on_at_once(deploy: Deploy) -> None:
    @subflow
    async def empty() -> int:
        return 3

    @workflow
    async def outer() -> int:
        await wait(m1).match_any()
        return await empty()

    async with deploy(outer) as shell:
        await shell.push(m1)
        [run] = shell.instances(outer)
        assert (run.status, run.result) == ("completed", 3)
