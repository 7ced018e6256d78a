"""Why a call did or did not meet a wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.conformance.workflows.conftest import Deploy
from tests.conformance.workflows.methods import Sent, m1, m2, m3

from raysume import wait, workflow
from raysume.errors import NotFound


async def test_a_key_with_another_value_is_shown_with_both_values_and_types(
    deploy: Deploy,
) -> None:
    @workflow
    async def keyed(number: int) -> int:
        return (await wait(m1, "the one").match(id=number)).input.id

    async with deploy(keyed) as shell:
        run = await shell.start(keyed, 7)
        call = await shell.push(m1, id=8)
        explained = shell.explain(call, run)
        [found] = explained.waits
        assert (found.stage, found.instance, found.name) == ("key", run.id, "the one")
        [comparison] = found.comparisons
        assert (comparison.call, comparison.wait) == ("8 (int)", "7 (int)")
        assert comparison.holds is False
        assert "the one" in str(explained)
        assert not explained.met


async def test_each_part_of_a_predicate_is_shown_by_itself(deploy: Deploy) -> None:
    @workflow
    async def several(number: int, names: list[str]) -> int:
        call = await wait(m1).match_if(
            lambda call: call.input.id > number and (call.input.text in names or call.output)
        )
        return call.input.id

    async with deploy(several) as shell:
        run = await shell.start(several, 5, ["ann"])
        call = await shell.push(m1, id=6, text="bob")
        [found] = shell.explain(call, run).waits
        assert found.stage == "predicate"
        seen = [(one.expression, one.holds, one.call, one.wait) for one in found.comparisons]
        assert seen == [
            ("call.input.id > number", True, "6 (int)", "5 (int)"),
            ("call.input.text in names", False, "'bob' (str)", "['ann'] (list)"),
            ("call.output", False, "None (NoneType)", None),
        ]


@pytest.mark.logs_errors("ZeroDivisionError")
async def test_a_predicate_that_raises_says_what(deploy: Deploy) -> None:
    @workflow
    async def raising(number: int) -> int:
        call = await wait(m1).match_if(lambda call: number / call.input.id > 0)
        return call.input.id

    async with deploy(raising) as shell:
        run = await shell.start(raising, 1)
        call = await shell.push(m1, id=0)
        [found] = shell.explain(call, run).waits
        assert found.stage == "predicate"
        assert "ZeroDivisionError" in found.reason
        assert found.comparisons[0].holds is None


async def test_calls_that_came_too_early_say_so(deploy: Deploy) -> None:
    @workflow
    async def waits_once(number: int) -> int:
        return (await wait(m1).match(id=number)).input.id

    @workflow
    async def waits_fresh(number: int) -> int:
        return (await wait(m1).match(id=number).since(SINCE[0])).input.id

    async with deploy(waits_once, waits_fresh) as shell:
        call = await shell.push(m1, id=1)
        await shell.advance(timedelta(seconds=1))
        SINCE[0] = shell.now
        first = await shell.start(waits_once, 1)
        second = await shell.start(waits_fresh, 1)
        [early] = shell.explain(call, first).waits
        assert (early.stage, "before the instance started" in early.reason) == ("mailbox", True)
        [stale] = shell.explain(call, second).waits
        assert (stale.stage, "takes calls since" in stale.reason) == ("mailbox", True)


SINCE = [datetime.now(UTC)]


async def test_an_instance_that_is_elsewhere_or_over_says_so(deploy: Deploy) -> None:
    @workflow
    async def elsewhere(number: int) -> None:
        await wait(m2).match(id=number)
        await wait(m1).match(id=number)

    async with deploy(elsewhere) as shell:
        run = await shell.start(elsewhere, 1)
        other = await shell.push(m3, id=1)
        [found] = shell.explain(other, run).waits
        assert (found.stage, "conformance.m2" in found.reason) == ("waiting", True)
        await shell.cancel(run)
        late = await shell.push(m1, id=1)
        [found] = shell.explain(late, run).waits
        assert (found.stage, "cancelled" in found.reason) == ("ended", True)


async def test_the_wait_that_an_instance_had_when_the_call_came_is_explained(
    deploy: Deploy,
) -> None:
    @workflow
    async def moved_on(number: int) -> None:
        await wait(m1, "first").match(id=number)
        await wait(m2).match_any()

    async with deploy(moved_on) as shell:
        run = await shell.start(moved_on, 1)
        wrong = await shell.push(m1, id=2)
        other = await shell.push(m2)
        await shell.push(m1, id=1)
        await shell.advance(timedelta(hours=1))
        assert run.status == "completed"  # m2 was kept for it
        [found] = shell.explain(wrong, run).waits
        assert (found.stage, found.name) == ("key", "first")
        assert "of the wait that it had when the call came" in found.reason
        [comparison] = found.comparisons
        assert (comparison.call, comparison.wait) == ("2 (int)", "1 (int)")
        [found] = shell.explain(other, run).waits
        assert found.stage == "met"
        late = await shell.push(m1, id=2)
        [found] = shell.explain(late, run).waits
        assert (found.stage, "was completed" in found.reason) == ("ended", True)


async def test_what_was_met_comes_first_and_the_nearest_miss_next(deploy: Deploy) -> None:
    @workflow
    async def far(number: int) -> int:
        return (
            await wait(m1).match_if(lambda call: call.input.id == number and call.input.text == "x")
        ).input.id

    async with deploy(far) as shell:
        farthest = await shell.start(far, 9)
        nearest = await shell.start(far, 1)
        call = await shell.push(m1, id=1, text="y")
        explained = shell.explain(call)
        assert [one.instance for one in explained.waits] == [nearest.id, farthest.id]
        met = await shell.push(m1, id=1, text="x")
        explained = shell.explain(met)
        assert [one.stage for one in explained.waits] == ["met", "key"]
        assert explained.met


async def test_a_first_wait_is_explained_too(deploy: Deploy) -> None:
    @workflow
    async def starts() -> None:
        await wait(m1).match(id=1)
        await wait(m2).match_any()

    @workflow(active=False)
    async def asleep() -> None:
        await wait(m1).match(id=2)

    async with deploy(starts, asleep) as shell:
        started = await shell.push(m1, id=1)
        [run] = shell.instances(starts)
        met, inactive = shell.explain(started).waits
        assert (met.instance, met.stage) == (run.id, "met")
        assert (inactive.workflow, inactive.stage) == ("asleep", "key")
        call = await shell.push(m1, id=2)
        stages = {one.workflow: one.stage for one in shell.explain(call).waits}
        assert stages == {"starts": "key", "asleep": "active"}


async def test_a_call_that_nobody_awaits_says_so(deploy: Deploy) -> None:
    @workflow
    async def other() -> None:
        await wait(m1).match_any()

    async with deploy(other) as shell:
        call = await shell.push(m2, input=Sent(id=1))
        assert "no deployed workflow awaits" in shell.explain(call).summary
        with pytest.raises(NotFound, match="nothing"):
            shell.explain("nothing")
