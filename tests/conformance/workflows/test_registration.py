"""SCENARIOS rows 38, 51, 55, 56: what is refused, each with its own rule and message."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import pytest
from tests.conformance.workflows.methods import m1, m2

from raysume import (
    RaysumeError,
    UsageError,
    all_of,
    any_of,
    external_call,
    group,
    push_call,
    step,
    subflow,
    wait,
    workflow,
)
from raysume.deployments import deployment
from raysume.testing import TestShell

Deploy = Callable[..., TestShell]
DOCUMENTED = (Path(__file__).parents[3] / "docs" / "refusals.md").read_text()
COMPILER = (Path(__file__).parents[3] / "docs" / "compiler.md").read_text()


def rule_of(error: RaysumeError) -> str:
    """The rule of the error, which stands in its message and in the documentation."""
    rule = str(error.details["rule"])
    assert error.message.endswith(f"[{rule}]")
    assert f"`{rule}`" in DOCUMENTED + COMPILER
    return rule


def refused(define: Callable[[], object], *, said: str) -> str:
    """The rule by which the definition is refused, with a message that says `said`."""
    with pytest.raises(UsageError, match=said) as caught:
        define()
    return rule_of(caught.value)


def durable(function: Any) -> Any:
    """`workflow`, for functions that type checkers refuse already."""
    return workflow(function)


@pytest.mark.row(55)
def test_an_ordinary_function_is_no_workflow() -> None:
    def ordinary() -> None:
        return None

    assert refused(lambda: durable(ordinary), said="async def") == "not-async"


@pytest.mark.row(55)
def test_a_generator_is_no_workflow() -> None:
    async def yields() -> Any:
        yield 1

    assert refused(lambda: durable(yields), said="Collect the values in a list") == "generator"


@pytest.mark.row(55)
def test_a_wait_inside_with_is_refused_when_it_is_defined() -> None:
    async def inside() -> None:
        with contextlib.nullcontext():
            await wait(m1).match_any()

    assert refused(lambda: durable(inside), said="try/finally") == "wait-in-with"


@pytest.mark.row(55)
def test_a_wait_inside_a_comprehension_is_refused_when_it_is_defined() -> None:
    async def inside() -> list[Any]:
        return [await wait(m1).match_any() for _ in range(3)]

    assert refused(lambda: durable(inside), said="all_of") == "wait-in-comprehension"


@pytest.mark.row(55)
def test_one_urn_with_another_signature_is_refused() -> None:
    def define() -> None:
        @push_call("registration.clash")
        def one(number: int) -> int:
            return number

        @push_call("registration.clash")
        def two(text: str) -> int:
            return len(text)

        del one, two

    assert refused(define, said="defined twice with different signatures") == "signature-clash"


@pytest.mark.row(55)
def test_a_clash_of_two_modules_is_refused_naming_both_places() -> None:
    here = external_call("registration.modules", input=m1.input_model, output=str)
    there = external_call("registration.modules", input=m1.input_model, output=int)
    said = r"(?s)at .*:\d+ and .* at .*:\d+"
    assert refused(lambda: deployment([], [here, there]), said=said) == "signature-clash"


@pytest.mark.row(55)
def test_two_workflows_of_one_name_are_refused_with_both_places() -> None:
    @workflow(name="registration-twin")
    async def one() -> None:
        await wait(m1).match_any()

    @workflow(name="registration-twin")
    async def two() -> None:
        await wait(m1).match_any()

    said = r"(?s)'registration-twin'.*test_registration\.py:\d+ and .*test_registration\.py:\d+"
    assert refused(lambda: TestShell(one, two), said=said) == "duplicate-workflow"


class Opaque:
    """Has no JSON form."""


@pytest.mark.row(55)
def test_a_parameter_without_json_form_is_refused_when_the_workflow_is_defined() -> None:
    async def takes(thing: Opaque) -> None:
        await wait(m1).match(text=str(thing))

    said = "'takes'.*without a JSON form"
    assert refused(lambda: durable(takes), said=said) == "unserialisable-type"


@pytest.mark.row(55)
def test_a_result_without_json_form_is_refused_when_the_workflow_is_defined() -> None:
    async def gives() -> Opaque:
        await wait(m1).match_any()
        return Opaque()

    said = "'gives'.*without a JSON form"
    assert refused(lambda: durable(gives), said=said) == "unserialisable-type"


@pytest.mark.row(55)
def test_a_method_whose_types_have_no_json_form_is_refused_when_it_is_defined() -> None:
    def define() -> None:
        @push_call("registration.opaque")
        def opaque(thing: Opaque) -> None: ...

        del opaque

    assert refused(define, said="without a JSON form") == "unserialisable-type"


@pytest.mark.row(55)
async def test_a_refused_definition_leaves_others_alone(deploy: Deploy) -> None:
    async def inside() -> None:
        with contextlib.nullcontext():
            await wait(m1).match_any()

    @workflow(name="inside")
    async def sound() -> int:
        return (await wait(m1).match_any()).input.id

    refused(lambda: durable(inside), said="try/finally")
    async with deploy(sound) as shell:
        await shell.push(m1, id=3)
        assert [run.result for run in shell.instances(sound)] == [3]


@pytest.mark.row(56)
@pytest.mark.parametrize("make", [all_of, any_of, group])
def test_a_group_needs_members(make: Callable[..., Any]) -> None:
    assert refused(make, said="has no members") == "empty-group"


@pytest.mark.row(56)
@pytest.mark.parametrize("make", [all_of, any_of, group])
def test_none_is_no_member(make: Callable[..., Any]) -> None:
    refusal = refused(lambda: make(wait(m1), None), said="member 1 .* is None")
    assert refusal == "member-is-none"


def test_a_list_of_members_is_refused_with_what_to_write() -> None:
    members = cast(Any, [wait(m1), wait(m2)])
    assert refused(lambda: all_of(members), said=r"all_of\(\*members\)") == "group-of-list"


@pytest.mark.row(56)
@pytest.mark.logs_errors("[member-is-none]")
async def test_a_null_member_fails_the_instance_that_made_it(deploy: Deploy) -> None:
    @workflow
    async def null_member() -> None:
        await wait(m1).match_any()
        nobody = cast("Awaitable[None]", None)
        await all_of(wait(m2).match_any(), nobody)

    async with deploy(null_member) as shell:
        await shell.push(m1)
        [run] = shell.instances(null_member)
        assert run.status == "failed"
        assert run.error is not None
        assert "[member-is-none]" in run.error


@pytest.mark.row(51)
@pytest.mark.logs_errors("[later-wait-without-match]")
async def test_a_later_wait_without_a_match_fails_the_instance_with_the_remedy(
    deploy: Deploy,
) -> None:
    @workflow
    async def unmatched() -> None:
        await wait(m1).match_any()
        built = wait(m2)
        await built

    async with deploy(unmatched) as shell:
        await shell.push(m1)
        [run] = shell.instances(unmatched)
        assert run.status == "failed"
        assert run.error is not None
        assert "match_any" in run.error
        assert "[later-wait-without-match]" in run.error


async def test_a_workflow_may_not_begin_with_a_step() -> None:
    @workflow
    async def step_first() -> None:
        await step(len, "abc")

    with pytest.raises(UsageError, match="begins with a step") as caught:
        await TestShell(step_first).__aenter__()
    assert rule_of(caught.value) == "step-first"


async def test_a_workflow_without_parameters_must_wait() -> None:
    @workflow
    async def never_waits() -> int:
        return 3

    with pytest.raises(UsageError, match="nothing could ever start it") as caught:
        await TestShell(never_waits).__aenter__()
    assert rule_of(caught.value) == "no-first-wait"


def _generator() -> Any:
    return (number for number in range(3))


def _local_class() -> Any:
    class Local:
        """Cannot be found by its name."""

    return Local()


@pytest.fixture
def opened() -> Iterator[IO[str]]:
    """An open file."""
    with open(__file__) as file:
        yield file


@pytest.mark.logs_errors("variable 'kept'")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_generator, "generator"),
        (None, "Close the file before the wait"),
        (threading.Lock, "lock"),
        (_local_class, "Define the class in the module"),
    ],
    ids=["generator", "file", "lock", "local class"],
)
async def test_a_value_that_cannot_be_saved_is_named_with_its_place_and_remedy(
    deploy: Deploy, make: Callable[[], Any] | None, said: str, opened: IO[str]
) -> None:
    @workflow
    async def keeps() -> None:
        await wait(m1).match_any()
        kept = opened if make is None else make()
        await wait(m2).match_any()
        del kept

    async with deploy(keeps) as shell:
        await shell.push(m1)
        [run] = shell.instances(keeps)
        assert run.status == "failed"
        assert run.error is not None
        assert "variable 'kept'" in run.error
        assert re.search(r"test_registration\.py:\d+", run.error)
        assert said in run.error
        assert "[unsavable-state]" in run.error


@pytest.mark.logs_errors("variable 'held'")
async def test_a_value_in_a_subflow_that_cannot_be_saved_names_the_subflow(
    deploy: Deploy,
) -> None:
    @subflow
    async def inner() -> None:
        held = threading.Lock()
        await wait(m2).match_any()
        del held

    @workflow
    async def outer() -> None:
        await wait(m1).match_any()
        await inner()

    async with deploy(outer) as shell:
        await shell.push(m1)
        [run] = shell.instances(outer)
        assert run.error is not None
        assert "variable 'held'" in run.error
        assert "inner" in run.error
