"""SCENARIOS section 1 and 2: sequences, groups, loops, subflows."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance.workflows.methods import decide, m1, m2, m3, m4, m5, m6, submit

from raysume import all_of, any_of, group, subflow, wait, workflow
from raysume.testing import Counts, TestShell

Deploy = Callable[..., TestShell]


async def test_a_sequence_goes_on_at_the_same_line(deploy: Deploy) -> None:
    seen: list[str] = []

    @workflow
    async def sequence() -> int:
        x = 1

        def add(_call: object) -> None:
            nonlocal x
            x += 1

        await wait(m1).match_any().after_match(add)
        seen.append(f"after 1: {x}")
        x += 1
        await wait(m2).match_any()
        seen.append(f"after 2: {x}")
        x += 1
        await wait(m3).match_any()
        x += 1
        seen.append(f"after 3: {x}")
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
        assert (run.status, run.result, run.errors) == ("completed", 5, [])
    assert seen == ["after 1: 2", "after 2: 3", "after 3: 5"]


async def test_the_first_wait_is_standing(deploy: Deploy) -> None:
    @workflow
    async def standing() -> int:
        call = await wait(m1).match_if(lambda call: call.input.id >= 0)
        return call.input.id

    async with deploy(standing) as shell:
        for number in range(24):
            await shell.push(m1, id=number)
        assert shell.counts() == Counts(calls=24, waits=24, completed=24)
        assert [run.result for run in shell.instances(standing)] == list(range(24))


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
            assert [view.status for view in run.waits] == ["completed"] * 4


async def test_the_first_of_a_group_at_the_start_cancels_the_others(deploy: Deploy) -> None:
    cancelled: list[str] = []

    @workflow
    async def first() -> str | None:
        winner = await any_of(
            wait(m1, name="one").match_any().when_cancelled(lambda: cancelled.append("one")),
            wait(m2, name="two").match_any().when_cancelled(lambda: cancelled.append("two")),
            wait(m3, name="three").match_any().when_cancelled(lambda: cancelled.append("three")),
        )
        return winner.name

    async with deploy(first) as shell:
        for round_ in (1, 2):
            cancelled.clear()
            await shell.push(m2)
            assert shell.counts() == Counts(calls=round_, waits=4 * round_, completed=round_)
            assert cancelled == ["one", "three"]
        for run in shell.instances(first):
            assert run.result == "two"
            statuses = [view.status for view in run.waits]
            assert statuses.count("completed") == 2
            assert statuses.count("cancelled") == 2


async def test_a_group_ends_when_its_filter_says_so(deploy: Deploy) -> None:
    @workflow
    async def two_of_three() -> tuple[int, list[str | int]]:
        local = 10

        def enough(progress: object) -> bool:
            nonlocal local
            local += 10
            return progress.completed == 2  # type: ignore[attr-defined, no-any-return]

        result = await group(
            wait(m1, name="a").match_any(),
            wait(m2, name="b").match_any(),
            wait(m3, name="c").match_any(),
        ).until(enough)
        return local, list(result.results)

    async with deploy(two_of_three) as shell:
        await shell.push(m2)
        assert shell.counts().completed == 0
        await shell.push(m3)
        [run] = shell.instances(two_of_three)
        assert run.result == (30, ["b", "c"])
        statuses = [view.status for view in run.waits]
        assert (statuses.count("completed"), statuses.count("cancelled")) == (3, 1)


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


async def test_a_loop_waits_three_times(deploy: Deploy) -> None:
    rounds: list[int] = []

    @workflow
    async def loop() -> list[str]:
        start = await wait(submit).match_any()
        answers: list[str] = []
        for number in range(3):
            rounds.append(number)
            call = await wait(decide).match(request=start.input.request)
            answers.append(call.output)
        return answers

    async with deploy(loop) as shell:
        await shell.push(submit, request=7, output=True)
        for answer in ("a", "b", "c"):
            await shell.push(decide, request=8, answer="other", output="other")
            await shell.push(decide, request=7, answer=answer, output=answer)
        assert shell.counts().completed == 1
        [run] = shell.instances(loop)
        assert run.result == ["a", "b", "c"]
        assert len(run.waits) == 4
    assert rounds == [0, 1, 2]


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
        await shell.push(m1, text="b")
        assert [run.result for run in shell.instances(outer)] == ["a", "b"]


async def test_three_levels_of_subflows_keep_their_own_locals(deploy: Deploy) -> None:
    @subflow
    async def third(level: str) -> str:
        call = await wait(m3).match_any()
        return f"{level}{call.input.text}"

    @subflow
    async def second(level: str) -> str:
        call = await wait(m2).match_any()
        below = await third(level + "3")
        return f"{level}{call.input.text} {below}"

    @subflow
    async def first(level: str) -> str:
        one = await wait(m1).match_any()
        four = await wait(m4).match_any()
        below = await second(level + "2")
        return f"{level}{one.input.text}{four.input.text} {below}"

    @workflow
    async def levels() -> str:
        return await first("1")

    async with deploy(levels) as shell:
        for round_ in (1, 2):
            for method, text in ((m1, "a"), (m4, "d"), (m2, "b"), (m3, "c")):
                await shell.push(method, text=text)
            assert shell.counts() == Counts(calls=4 * round_, waits=7 * round_, completed=round_)
        for run in shell.instances(levels):
            assert run.result == "1ad 12b 123c"


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
        assert run.result == 3
