"""SCENARIOS section 1: sequences, groups, loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.workflows.marks import Marks
from tests.conformance.workflows.methods import decide, m1, m2, m3, m4, m5, m6, submit
from tests.conformance.workflows.seen import index_of, statuses

from raysume import Container, GroupResult, all_of, any_of, group, subflow, wait, workflow
from raysume.methods import Method
from raysume.testing import Counts, TestShell
from raysume.waits import Wait

Deploy = Callable[..., TestShell]


@pytest.mark.row(1)
async def test_a_sequence_goes_on_at_the_same_line(deploy: Deploy) -> None:
    ran = Marks()

    @workflow
    async def sequence() -> int:
        x = 1

        def add(_call: object) -> None:
            nonlocal x
            x += 1

        await wait(m1).match_any().after_match(add)
        ran(f"after one: {x}")
        x += 1
        ran(f"before two: {x}")
        await wait(m2).match_any()
        x += 1
        ran(f"after two: {x}")
        await wait(m3).match_any()
        x += 1
        ran(f"after three: {x}")
        x += 1
        return x

    async with deploy(sequence) as shell:
        assert shell.counts() == Counts(calls=0, waits=0, completed=0)
        await shell.push(m1)
        assert shell.counts() == Counts(calls=1, waits=2, completed=0)
        await shell.push(m2)
        assert shell.counts() == Counts(calls=2, waits=3, completed=0)
        await shell.push(m3)
        assert shell.counts() == Counts(calls=3, waits=3, completed=1)
        [run] = shell.instances(sequence)
        assert (run.status, run.result, run.errors) == ("completed", 6, [])
    assert ran == {"after one: 2": 1, "before two: 3": 1, "after two: 4": 1, "after three: 5": 1}


@pytest.mark.row(2)
async def test_the_first_wait_is_standing(deploy: Deploy) -> None:
    @workflow
    async def standing() -> int:
        low, high = 0, 100
        call = await wait(m1).match_if(lambda call: low <= call.input.id < high)
        return call.input.id + low

    async with deploy(standing) as shell:
        for number in range(24):
            await shell.push(m1, id=number)
        assert shell.counts() == Counts(calls=24, waits=24, completed=24)
        assert len(index_of(shell)) == 1
        assert [run.result for run in shell.instances(standing)] == list(range(24))
        await shell.push(m1, id=100)
        assert shell.counts() == Counts(calls=25, waits=24, completed=24)
        await shell.push(m1, id=99)
        assert shell.counts() == Counts(calls=26, waits=25, completed=25)


@pytest.mark.row(3)
async def test_a_group_of_all_at_the_start_runs_each_callback_once(deploy: Deploy) -> None:
    @workflow
    async def everyone() -> dict[str, int]:
        matched, cancelled, captured, untouched = 0, 0, 10, 10

        def on_match(_call: object) -> None:
            nonlocal matched, captured
            matched += 1
            captured += 1

        def on_cancel() -> None:
            nonlocal cancelled, untouched
            cancelled += 1
            untouched += 1

        await all_of(
            *(
                wait(method).match_any().after_match(on_match).when_cancelled(on_cancel)
                for method in (m1, m2, m3)
            )
        )
        return {
            "Counter": matched,
            "CancelCounter": cancelled,
            "captured": captured,
            "untouched": untouched,
        }

    async with deploy(everyone) as shell:
        for method in (m1, m2, m3):
            await shell.push(method)
        assert shell.counts() == Counts(calls=3, waits=4, completed=1)
        for method in (m3, m1, m2):
            await shell.push(method)
        assert shell.counts() == Counts(calls=6, waits=8, completed=2)
        for run in shell.instances(everyone):
            assert run.result == {
                "Counter": 3,
                "CancelCounter": 0,
                "captured": 13,
                "untouched": 10,
            }
        assert statuses(*shell.instances(everyone)) == {"completed": 8}


@pytest.mark.row(4)
async def test_the_first_of_a_group_at_the_start_cancels_the_others(deploy: Deploy) -> None:
    @workflow
    async def first() -> tuple[str | None, int, int, int]:
        matched, cancelled, captured = 0, 0, 10

        def on_match(_call: object) -> None:
            nonlocal matched, captured
            matched += 1
            captured += 1

        def on_cancel() -> None:
            nonlocal cancelled, captured
            cancelled += 1
            captured += 1

        def member(method: Method, name: str) -> Wait[Any]:
            return wait(method, name).match_any().after_match(on_match).when_cancelled(on_cancel)

        winner = await any_of(member(m1, "one"), member(m2, "two"), member(m3, "three"))
        return winner.name, matched, cancelled, captured

    async with deploy(first) as shell:
        await shell.push(m1)
        assert shell.counts() == Counts(calls=1, waits=4, completed=1)
        assert statuses(*shell.instances(first)) == {"completed": 2, "cancelled": 2}
        await shell.push(m2)
        assert shell.counts() == Counts(calls=2, waits=8, completed=2)
        assert statuses(*shell.instances(first)) == {"completed": 4, "cancelled": 4}
        one, two = shell.instances(first)
        assert one.result == ("one", 1, 2, 13)
        assert two.result == ("two", 1, 2, 13)


@pytest.mark.row(5)
async def test_a_group_ends_when_its_filter_says_so(deploy: Deploy) -> None:
    @workflow
    async def two_of_three() -> tuple[int, int, list[str | int], tuple[str | int, ...]]:
        local = 10

        def enough(progress: GroupResult) -> bool:
            nonlocal local
            local += 10
            return progress.completed == 2

        result = await group(
            wait(m1, name="a").match_any(),
            wait(m2).match_any(),
            wait(m3, name="c").match_any(),
        ).until(enough)
        return local, result.completed, list(result.results), result.pending

    async with deploy(two_of_three) as shell:
        await shell.push(m2)
        assert shell.counts() == Counts(calls=1, waits=4, completed=0)
        await shell.push(m3)
        assert shell.counts() == Counts(calls=2, waits=4, completed=1)
        assert statuses(*shell.instances(two_of_three)) == {"completed": 3, "cancelled": 1}
        await shell.push(m1)
        await shell.push(m3)
        assert shell.counts() == Counts(calls=4, waits=8, completed=2)
        first, second = shell.instances(two_of_three)
        assert statuses(first, second) == {"completed": 6, "cancelled": 2}
        assert first.result == (30, 2, [1, "c"], ("a",))
        assert second.result == (30, 2, ["a", "c"], (1,))


@pytest.mark.row(6)
async def test_a_match_sees_the_value_at_the_wait_not_what_the_filter_made_of_it(
    deploy: Deploy,
) -> None:
    @workflow
    async def ordered() -> int:
        local = 10

        def enough(progress: GroupResult) -> bool:
            nonlocal local
            local += 10
            return progress.completed == 2

        await group(
            wait(m1).match_if(lambda call: call.input.id >= 0 and local == 10),
            wait(m2).match_any(),
            wait(m3).match_any(),
        ).until(enough)
        return local

    async with deploy(ordered) as shell:
        await shell.push(m3)
        await shell.push(m1)
        [run] = shell.instances(ordered)
        assert (run.status, run.result) == ("completed", 30)
        assert shell.counts() == Counts(calls=2, waits=4, completed=1)


@pytest.mark.row(7)
async def test_a_group_after_the_first_wait_completes_with_all_members(deploy: Deploy) -> None:
    @workflow
    async def after_first() -> tuple[str, str]:
        await wait(m4).match_any()
        five, six = await all_of(wait(m5).match_any(), wait(m6).match_any())
        return five.input.text, six.input.text

    async with deploy(after_first) as shell:
        for round_ in (1, 2):
            await shell.push(m4)
            await shell.push(m6, text="six")
            await shell.push(m5, text="five")
            assert shell.counts() == Counts(calls=3 * round_, waits=4 * round_, completed=round_)
        for run in shell.instances(after_first):
            assert run.result == ("five", "six")
            assert statuses(run) == {"completed": 4}


@pytest.mark.row(8)
async def test_groups_nest_with_subflows(deploy: Deploy) -> None:
    @subflow
    async def fourth() -> str:
        call = await wait(m4).match_any()
        return call.input.text

    @workflow
    async def mixed() -> str:
        first, text, last = await all_of(
            all_of(wait(m1).match_any(), wait(m2).match_any(), wait(m3).match_any()),
            fourth(),
            wait(m5).match_any(),
        )
        return f"{len(first)} {text} {last.input.text}"

    async with deploy(mixed) as shell:
        for method, text in ((m5, "e"), (m3, ""), (m4, "d"), (m1, ""), (m2, "")):
            await shell.push(method, text=text)
        assert shell.counts() == Counts(calls=5, waits=8, completed=1)
        [run] = shell.instances(mixed)
        assert run.result == "3 d e"
        assert statuses(run) == {"completed": 8}


@pytest.mark.row(9)
async def test_a_loop_waits_three_times(deploy: Deploy) -> None:
    ran = Marks()

    @workflow
    async def loop() -> list[str]:
        start = await wait(submit).match_any()
        answers: list[str] = []
        for number in range(3):
            ran(f"round {number}")
            call = await wait(decide).match(request=start.input.request)
            answers.append(call.output)
        return answers

    async with deploy(loop) as shell:
        await shell.push(submit, request=7, output=True)
        for answer in ("a", "b", "c"):
            await shell.push(decide, request=7, answer=answer, output=answer)
        assert shell.counts() == Counts(calls=4, waits=4, completed=1)
        [run] = shell.instances(loop)
        assert run.result == ["a", "b", "c"]
    assert ran == {"round 0": 1, "round 1": 1, "round 2": 1}


@pytest.mark.row(13)
async def test_what_still_waits_when_the_workflow_ends_is_cancelled(deploy: Deploy) -> None:
    ended = Marks()

    @subflow
    async def sibling() -> None:
        try:
            await wait(m2).match_any()
            await wait(m3).match_any()
        finally:
            ended("sibling")

    @workflow
    async def nothing_left() -> str:
        try:
            await any_of(wait(m1).match_any(), sibling())
            return "one"
        finally:
            ended("workflow")

    async with deploy(nothing_left) as shell:
        await shell.push(m2)
        await shell.push(m1)
        [run] = shell.instances(nothing_left)
        assert (run.status, run.result) == ("completed", "one")
        assert statuses(run) == {"completed": 3, "cancelled": 2}
        await shell.push(m3)
        assert shell.counts() == Counts(calls=3, waits=5, completed=1)
    assert ended == {"sibling": 1, "workflow": 1}


class Finishing(Container):
    """A workflow that ends while a member of a group still waits."""

    completed: int = 0

    async def on_completed(self) -> None:
        """Counts itself."""
        self.completed += 1
        FINISHED("on_completed")

    @workflow
    async def run(self) -> str:
        """Ends with the first of two."""
        await any_of(wait(m1).match_any(), wait(m2).match_any())
        return "one"


FINISHED = Marks()


@pytest.mark.row(13)
async def test_the_end_of_a_workflow_is_told_once(deploy: Deploy) -> None:
    FINISHED.clear()
    async with deploy(Finishing.run) as shell:
        await shell.push(m1)
        [run] = shell.instances(Finishing.run)
        assert (run.status, run.result) == ("completed", "one")
        assert statuses(run) == {"completed": 2, "cancelled": 1}
    assert FINISHED == {"on_completed": 1}
