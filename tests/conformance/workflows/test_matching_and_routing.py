"""SCENARIOS section 5: who gets a call, and which earlier calls still count."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from pydantic import BaseModel
from tests.conformance.workflows.methods import decide, m1, m2, m3, submit
from tests.conformance.workflows.seen import index_of

from raysume import Depends, all_of, external_call, instance, push_call, wait, workflow
from raysume.testing import Counts, TestShell

Deploy = Callable[..., TestShell]


@pytest.mark.row(47)
async def test_two_workflows_each_get_the_call_once(deploy: Deploy) -> None:
    @workflow
    async def left() -> int:
        return (await wait(m1).match_any()).input.id

    @workflow
    async def right() -> int:
        return (await wait(m1).match_any()).input.id

    async with deploy(left, right) as shell:
        await shell.push(m1, id=4)
        assert [run.result for run in shell.instances(left)] == [4]
        assert [run.result for run in shell.instances(right)] == [4]


@pytest.mark.row(48)
async def test_a_running_instance_comes_before_a_new_one(deploy: Deploy) -> None:
    @workflow
    async def twice() -> list[int]:
        first = await wait(m1).match_any()
        second = await wait(m1).match_any()
        return [first.input.id, second.input.id]

    async with deploy(twice) as shell:
        await shell.push(m1, id=1)
        assert shell.counts() == Counts(calls=1, waits=2, completed=0)
        await shell.push(m1, id=2)
        [run] = shell.instances(twice)
        assert run.result == [1, 2]
        await shell.push(m1, id=3)
        assert len(shell.instances(twice)) == 2


@pytest.mark.row(49)
async def test_a_call_meets_one_wait_of_an_instance(deploy: Deploy) -> None:
    @workflow
    async def both() -> list[int]:
        await wait(m2).match_any()
        one, two = await all_of(wait(m1).match_any(), wait(m1).match_any())
        return [one.input.id, two.input.id]

    async with deploy(both) as shell:
        await shell.push(m2)
        await shell.push(m1, id=1)
        [run] = shell.instances(both)
        assert run.status == "waiting"
        await shell.push(m1, id=2)
        assert run.result == [1, 2]


@pytest.mark.row(50)
async def test_a_call_that_came_early_is_found_by_its_wait(deploy: Deploy) -> None:
    @workflow
    async def early() -> str:
        start = await wait(submit).match_any()
        await wait(m1).match(id=start.input.request)
        answer = await wait(decide).match(request=start.input.request)
        return answer.output

    async with deploy(early) as shell:
        await shell.push(decide, request=1, answer="too early", output="too early")
        await shell.push(submit, request=1, output=True)
        await shell.push(decide, request=2, answer="other", output="other")
        await shell.push(decide, request=1, answer="kept", output="kept")
        await shell.push(decide, request=1, answer="later", output="later")
        await shell.push(m1, id=1)
        [run] = shell.instances(early)
        assert run.result == "kept"


@pytest.mark.row(50)
async def test_from_now_ignores_what_came_before(deploy: Deploy) -> None:
    @workflow
    async def fresh() -> str:
        start = await wait(submit).match_any()
        await wait(m1).match(id=start.input.request)
        answer = await wait(decide).match(request=start.input.request).from_now()
        return answer.output

    async with deploy(fresh) as shell:
        await shell.push(submit, request=1, output=True)
        await shell.push(decide, request=1, answer="early", output="early")
        await shell.advance(timedelta(seconds=1))
        await shell.push(m1, id=1)
        [run] = shell.instances(fresh)
        assert run.status == "waiting"
        await shell.push(decide, request=1, answer="later", output="later")
        assert run.result == "later"


async def test_early_calls_are_received_oldest_first_and_once(deploy: Deploy) -> None:
    @workflow
    async def drain() -> list[int]:
        await wait(m1).match_any()
        await wait(m3).match_any()
        found = await all_of(wait(m2).match_any(), wait(m2).match_any())
        return [call.input.id for call in found]

    async with deploy(drain) as shell:
        await shell.push(m1)
        for number in (1, 2, 3):
            await shell.push(m2, id=number)
        await shell.push(m3)
        [run] = shell.instances(drain)
        assert run.result == [1, 2]


class Addressed(BaseModel):
    """What may have an address."""

    number: int
    address: str | None = None


addressed = external_call("conformance.addressed", input=Addressed, output=str)


@pytest.mark.row(53)
async def test_none_is_not_a_key_but_still_decides(deploy: Deploy) -> None:
    @workflow
    async def by_address(address: str | None) -> int:
        call = await wait(addressed).match_if(lambda call: call.input.address == address)
        return call.input.number

    async with deploy(by_address) as shell:
        nowhere = await shell.start(by_address, None)
        assert index_of(shell).shapes_of(addressed.urn) == []
        home = await shell.start(by_address, "home")
        assert index_of(shell).shapes_of(addressed.urn) == [("input.address",)]
        await shell.push(addressed, number=1, address="away")
        assert (nowhere.status, home.status) == ("waiting", "waiting")
        await shell.push(addressed, number=2)
        assert (nowhere.result, home.status) == (2, "waiting")
        await shell.push(addressed, number=3, address="home")
        assert home.result == 3


@push_call("conformance.noticed")
def notice(request: int) -> str:
    """Something noticed, published by a workflow."""
    return f"noticed {request}"


async def test_a_call_made_in_a_workflow_is_published_once(deploy: Deploy) -> None:
    @workflow
    async def speaker() -> str:
        call = await wait(m1).match_any()
        return notice(call.input.id)

    @workflow
    async def listener() -> str:
        call = await wait(notice).match_any()
        return call.output

    async with deploy(speaker, listener) as shell:
        await shell.push(m1, id=9)
        assert [run.result for run in shell.instances(speaker)] == ["noticed 9"]
        assert [run.result for run in shell.instances(listener)] == ["noticed 9"]
        assert shell.counts().calls == 2


@pytest.mark.row(54)
async def test_an_inactive_workflow_takes_no_new_instances_and_ends_those_it_has(
    deploy: Deploy,
) -> None:
    @workflow(active=False)
    async def retired() -> None:
        await wait(m1).match_any()

    @workflow
    async def retiring() -> int:
        first = await wait(m1).match_any()
        second = await wait(m2).match_any()
        return first.input.id + second.input.id

    async with deploy(retired, retiring) as shell:
        await shell.push(m1, id=1)
        retiring.active = False  # what deploying it again with active=False changes
        await shell.push(m1, id=2)
        await shell.push(m2, id=10)
        assert shell.instances(retired) == []
        assert [run.result for run in shell.instances(retiring)] == [11]
        assert shell.counts() == Counts(calls=3, waits=2, completed=1)


async def test_an_instance_knows_itself_and_can_be_tagged(deploy: Deploy) -> None:
    @workflow
    async def tagged() -> str:
        call = await wait(m1).match_any()
        instance().tag(customer=call.input.id)
        before = instance().id
        await wait(m2).match_any()
        assert before == instance().id
        return instance().workflow

    async with deploy(tagged) as shell:
        await shell.push(m1, id=12)
        [run] = shell.instances(tagged)
        assert run.tags == {"customer": "12"}
        await shell.push(m2)
        assert run.result == "tagged"


class Rule:
    """What a workflow asks whether a call matters."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def accepts(self, number: int) -> bool:
        """Whether the number is at most the limit."""
        return number <= self.limit

    def one_hundred_and_ten(self) -> int:
        """110."""
        return 110

    @staticmethod
    def is_even(number: int) -> bool:
        """Whether the number is even."""
        return number % 2 == 0


def get_strict_rule() -> Rule:
    """A dependency: made again whenever the instance is loaded."""
    return Rule(5)


@pytest.mark.row(43)
@pytest.mark.runs_again("accepts")
async def test_a_match_may_mix_literals_methods_and_functions(deploy: Deploy) -> None:
    @workflow
    async def complex_match() -> int:
        rule, names = Rule(50), ["a", "bc"]
        await wait(m2).match_any()
        call = await wait(m1).match_if(
            lambda call: (
                call.input.text == "now"
                and rule.accepts(call.input.id)
                and (rule.one_hundred_and_ten() == 110 or max(map(len, names)) > 1)
            )
        )
        return call.input.id

    async with deploy(complex_match) as shell:
        await shell.push(m2)
        await shell.push(m1, text="later", id=1)
        await shell.push(m1, text="now", id=51)
        [run] = shell.instances(complex_match)
        assert run.status == "waiting"
        await shell.push(m1, text="now", id=50)
        assert run.result == 50
        assert shell.counts() == Counts(calls=4, waits=2, completed=1)


@pytest.mark.row(44)
@pytest.mark.runs_again("accepts", "is_even", "get_strict_rule", "__init__")
async def test_a_match_may_use_literals_and_every_kind_of_method(deploy: Deploy) -> None:
    @workflow
    async def use_cases(strict: Rule = Depends(get_strict_rule)) -> list[int]:
        rule = Rule(10)
        await wait(m2).match_any()
        literal = await wait(m1).match_if(lambda call: call.input.id == 12)
        method = await wait(m1).match_if(lambda call: rule.accepts(call.input.id))
        given = await wait(m1).match_if(lambda call: strict.accepts(call.input.id))
        static = await wait(m1).match_if(lambda call: Rule.is_even(call.input.id))
        return [call.input.id for call in (literal, method, given, static)]

    async with deploy(use_cases) as shell:
        await shell.push(m2)
        for number in (11, 12, 13, 10, 7, 5, 13, 14):
            await shell.push(m1, id=number)
        [run] = shell.instances(use_cases)
        assert run.result == [12, 10, 5, 14]
        assert shell.counts() == Counts(calls=9, waits=5, completed=1)


@pytest.mark.row(49)
async def test_one_call_meets_only_one_of_two_waits_in_sequence(deploy: Deploy) -> None:
    @workflow
    async def twice_the_same() -> None:
        await wait(m1).match_any()
        await wait(m1).match_any()

    async with deploy(twice_the_same) as shell:
        await shell.push(m1)
        assert shell.counts() == Counts(calls=1, waits=2, completed=0)


@pytest.mark.row(65)
async def test_an_entry_of_the_index_goes_with_the_last_wait_of_its_shape(
    deploy: Deploy,
) -> None:
    @workflow
    async def comes_and_goes() -> None:
        start = await wait(submit).match_any()
        await wait(decide).match(request=start.input.request)

    async with deploy(comes_and_goes) as shell:
        index = index_of(shell)
        assert (len(index), index.shapes_of(decide.urn)) == (1, [])
        for request in (1, 2, 3):
            await shell.push(submit, request=request, output=True)
            index = index_of(shell)
            assert (len(index), index.shapes_of(decide.urn)) == (2, [("input.request",)])
            await shell.push(decide, request=request, answer="", output="")
            index = index_of(shell)
            assert (len(index), index.shapes_of(decide.urn)) == (1, [])
        assert shell.counts() == Counts(calls=6, waits=6, completed=3)
