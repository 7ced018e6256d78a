"""Groups in detail: every kind of member, names, errors, limits, callbacks and filters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.conformance.workflows.marks import Marks
from tests.conformance.workflows.methods import m1, m2, m3, m4
from tests.conformance.workflows.seen import statuses

from raysume import (
    GroupResult,
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

Deploy = Callable[..., TestShell]


def double(number: int) -> int:
    """A step."""
    return 2 * number


def broken() -> None:
    """A step that fails."""
    raise OSError("no disk")


@subflow
async def text_of_two() -> str:
    """A subflow that waits."""
    return (await wait(m2).match_any()).input.text


async def test_a_group_takes_every_kind_of_member_to_any_depth(deploy: Deploy) -> None:
    @workflow
    async def every_kind() -> list[Any]:
        await wait(m4).match_any()
        number, slept, text, (call, (first, nested)) = await all_of(
            step(double, 21),
            sleep(timedelta(hours=1)),
            text_of_two(),
            all_of(
                wait(m1).match_any(),
                all_of(
                    any_of(wait(m3, "three").match_any(), sleep(timedelta(days=1))), step(double, 4)
                ),
            ),
        )
        return [number, slept, text, call.input.text, first.name, nested]

    async with deploy(every_kind) as shell:
        await shell.push(m4)
        await shell.push(m3)
        await shell.push(m2, text="two")
        await shell.push(m1, text="one")
        [run] = shell.instances(every_kind)
        assert run.status == "waiting"
        await shell.advance(timedelta(hours=1))
        assert run.result == [42, None, "two", "one", "three", 8]
        assert statuses(run) == {"completed": 12, "cancelled": 1}


async def test_the_result_of_a_group_is_by_name_else_by_index(deploy: Deploy) -> None:
    seen: list[tuple[int, list[str | int], tuple[str | int, ...]]] = []

    @workflow
    async def named() -> tuple[int, dict[str | int, Any], tuple[str | int, ...]]:
        await wait(m4).match_any()

        def two(progress: GroupResult) -> bool:
            seen.append((progress.completed, list(progress.results), progress.pending))
            return progress.completed == 3

        result = await group(
            wait(m1, "one").match_any(),
            wait(m2).match_any(),
            step(double, 3, name="doubled"),
            wait(m3, "three").match_any(),
        ).until(two)
        values = {name: getattr(one, "output", one) for name, one in result.results.items()}
        return result.completed, values, result.pending

    async with deploy(named) as shell:
        await shell.push(m4)
        await shell.push(m2, output="b")
        await shell.push(m1, output="a")
        [run] = shell.instances(named)
        assert run.result == (3, {"doubled": 6, 1: "b", "one": "a"}, ("three",))
    assert seen == [
        (1, ["doubled"], ("one", 1, "three")),
        (2, ["doubled", 1], ("one", "three")),
        (3, ["doubled", 1, "one"], ("three",)),
    ]


async def test_an_error_of_one_member_cancels_the_others_and_is_raised(deploy: Deploy) -> None:
    cancelled = Marks()

    @subflow
    async def fails() -> None:
        await wait(m2).match_any()
        raise ValueError("second thoughts")

    @workflow
    async def erring() -> str:
        await wait(m4).match_any()
        try:
            await all_of(
                wait(m1).match_any().when_cancelled(lambda: cancelled("one")),
                fails(),
            )
        except ValueError as error:
            await wait(m3).match_any()
            return f"caught {error}"
        return "not caught"

    async with deploy(erring) as shell:
        await shell.push(m4)
        await shell.push(m2)
        [run] = shell.instances(erring)
        assert run.status == "waiting"
        assert [(view.kind, view.status) for view in run.waits] == [
            ("wait", "completed"),
            ("group", "failed"),
            ("wait", "cancelled"),
            ("subflow", "failed"),
            ("wait", "completed"),
            ("wait", "waiting"),
        ]
        await shell.push(m3)
        assert run.result == "caught second thoughts"
    assert cancelled == {"one": 1}


async def test_a_failed_step_in_any_of_counts_as_finished_and_is_raised(deploy: Deploy) -> None:
    @workflow
    async def failing_first() -> str:
        await wait(m4).match_any()
        try:
            await any_of(wait(m1).match_any(), step(broken))
        except StepFailed as error:
            return str(error.__cause__)
        return "not raised"

    async with deploy(failing_first) as shell:
        await shell.push(m4)
        [run] = shell.instances(failing_first)
        assert run.result == "no disk"
        assert statuses(run) == {"completed": 1, "failed": 2, "cancelled": 1}


async def test_the_limit_of_a_group_cancels_its_members(deploy: Deploy) -> None:
    cancelled = Marks()

    @subflow
    async def tidy() -> None:
        try:
            await wait(m2).match_any()
        finally:
            cancelled("subflow")

    @workflow
    async def limited() -> str:
        await wait(m4).match_any()
        try:
            await all_of(
                wait(m1).match_any().when_cancelled(lambda: cancelled("wait")),
                tidy(),
                sleep(timedelta(days=9)),
            ).timeout(timedelta(hours=2))
        except WaitTimeout:
            await wait(m3).match_any()
            return "too late"
        return "in time"

    async with deploy(limited) as shell:
        await shell.push(m4)
        await shell.push(m1)
        await shell.advance(timedelta(hours=1, minutes=59))
        [run] = shell.instances(limited)
        assert cancelled == {}
        await shell.advance(timedelta(minutes=1))
        assert [view.status for view in run.waits if view.kind == "group"] == ["timed-out"]
        await shell.advance(timedelta(days=10))
        await shell.push(m3)
        assert run.result == "too late"
    assert cancelled == {"subflow": 1}


async def test_an_error_in_a_filter_is_raised_at_the_group(deploy: Deploy) -> None:
    @workflow
    async def bad_filter() -> str:
        await wait(m4).match_any()
        try:
            await group(wait(m1).match_any(), wait(m2).match_any()).until(
                lambda progress: progress.results["nobody"]
            )
        except KeyError as error:
            return f"no {error}"
        return "not raised"

    async with deploy(bad_filter) as shell:
        await shell.push(m4)
        await shell.push(m1)
        [run] = shell.instances(bad_filter)
        assert run.result == "no 'nobody'"
        assert statuses(run) == {"completed": 2, "failed": 1, "cancelled": 1}


async def test_callbacks_and_filters_share_the_variables_of_the_workflow(deploy: Deploy) -> None:
    @workflow
    async def sharing() -> list[str]:
        events: list[str] = []
        count = 0

        def matched(call: Any) -> None:
            nonlocal count
            count += 1
            events.append(f"matched {call.input.text} {count}")

        def cancelled() -> None:
            nonlocal count
            count += 1
            events.append(f"cancelled {count}")

        def enough(progress: GroupResult) -> bool:
            nonlocal count
            count += 1
            events.append(f"filter {progress.completed} {count}")
            return progress.completed == 2

        await wait(m4).match_any().after_match(matched)
        count += 10
        await group(
            wait(m1).match_any().after_match(matched),
            wait(m2).match_any().after_match(matched),
            wait(m3).match_any().when_cancelled(cancelled),
        ).until(enough)
        events.append(f"after {count}")
        await wait(m3).match_any()
        events.append(f"end {count}")
        return events

    async with deploy(sharing) as shell:
        await shell.push(m4, text="d")
        await shell.push(m2, text="b")
        await shell.push(m1, text="a")
        await shell.push(m3)
        [run] = shell.instances(sharing)
        assert run.result == [
            "matched d 1",
            "matched b 12",
            "filter 1 13",
            "matched a 14",
            "filter 2 15",
            "cancelled 16",
            "after 16",
            "end 16",
        ]


async def test_waits_in_a_losers_finally_end_before_the_group_does(deploy: Deploy) -> None:
    order: list[str] = []

    @subflow
    async def reluctant() -> None:
        try:
            await wait(m2).match_any()
        finally:
            await wait(m3).match_any()
            order.append("unwound")

    @workflow
    async def patient() -> int:
        await wait(m4).match_any()
        first = await any_of(wait(m1).match_any(), reluctant())
        order.append("went on")
        return first.index

    async with deploy(patient) as shell:
        await shell.push(m4)
        await shell.push(m1)
        [run] = shell.instances(patient)
        assert (run.status, order) == ("waiting", [])
        await shell.push(m3)
        assert run.result == 0
    assert order == ["unwound", "went on"]
