"""Every rule of docs/refusals.md refuses something here, and the code has no other rules."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.conformance.workflows.methods import m1, m2

import raysume
from raysume import (
    Container,
    StepFailed,
    all_of,
    external_call,
    group,
    instance,
    limits,
    push_call,
    sleep,
    step,
    subflow,
    wait,
    workflow,
)
from raysume.compiler import RULES
from raysume.compiler.forewarning import UnmarkedSubflowWarning
from raysume.deployments import deployment
from raysume.errors import UsageError
from raysume.methods import Method
from raysume.schedules import Timetable
from raysume.testing import TestShell

Define = Callable[[], Any]
ROOT = Path(__file__).parents[3]
DOCUMENTED = frozenset(
    re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "refusals.md").read_text(), re.MULTILINE)
)


class Opaque:
    """Has no JSON form."""


async def _plainly() -> None:
    await wait(m1).match_any()


# --- by the decorator ------------------------------------------------------------


def signature_clash() -> Any:
    @push_call("refusals.clash")
    def one(number: int) -> int:
        return number

    @push_call("refusals.clash")
    def two(number: str) -> int:
        return len(number)

    return one, two


def variadic_parameter() -> Any:
    @push_call("refusals.variadic")
    def many(*numbers: int) -> int:
        return sum(numbers)

    return many


def unserialisable_type() -> Any:
    @push_call("refusals.opaque")
    def opaque(thing: Opaque) -> None:
        del thing

    return opaque


def bad_schedule() -> Any:
    return workflow(every="0 9 31 2 *")(_plainly)


def unknown_time_zone() -> Any:
    return workflow(every="0 9 * * *", tz="Europe/Atlantis")(_plainly)


def schedule_without_arguments() -> Any:
    @workflow(every="0 9 * * *")
    async def weekly(report: int) -> int:
        return report

    return weekly


async def helper() -> None:
    """Waits, but is no subflow."""
    await wait(m2).match(id=1)


async def further() -> None:
    """Waits through another one."""
    await helper()


def unmarked_subflow() -> Any:
    with pytest.warns(
        UnmarkedSubflowWarning, match=r"test_every_refusal\.py:\d+:\d+: awaits_it .*"
    ):

        @workflow
        async def awaits_it() -> None:
            await wait(m1).match_any()
            await further()

    TestShell(awaits_it)
    return deployment([awaits_it], [])


def later_wait_without_match() -> Any:
    @workflow
    async def says_nothing() -> None:
        call = await wait(m1)
        if call.output:
            await all_of(wait(m2).match(id=1), wait(m2, "second").exclusive())

    return says_nothing


# --- by the call -----------------------------------------------------------------


def empty_group() -> Any:
    nothing: list[Awaitable[Any]] = []
    return all_of(*nothing)


def member_is_none() -> Any:
    return all_of(sleep(timedelta(days=1)), cast("Awaitable[None]", None))


def group_of_list() -> Any:
    return group(cast(Any, [wait(m1), wait(m2)]))


def member_not_durable() -> Any:
    return all_of(cast(Any, 3))


def member_named_twice() -> Any:
    return group(wait(m1, "one"), wait(m2, "one"))


# --- at deployment ---------------------------------------------------------------


def duplicate_workflow() -> Any:
    twins = [workflow(name="refusals-twin")(_plainly) for _ in range(2)]
    return deployment(twins, [])


def workflow_without_container() -> Any:
    class Desk:
        @workflow
        async def run(self) -> None:
            await wait(m1).match_any()

    return TestShell(Desk.run)


@workflow(name="refusals.raises")
async def raises_at_once() -> None:
    raise LookupError("no configuration")


@workflow(name="refusals.ends")
async def never_waits() -> int:
    return 3


@workflow(name="refusals.step")
async def begins_with_a_step() -> None:
    await step(len, "abc")


_DEPLOYED = {
    "error-before-first-wait": raises_at_once,
    "no-first-wait": never_waits,
    "step-first": begins_with_a_step,
}

# --- in an instance --------------------------------------------------------------

_runs: list[int] = []


@workflow(name="refusals.changes")
async def changes_its_first_wait() -> None:
    _runs.append(1)
    await wait(m1 if len(_runs) == 1 else m2).match_any()


@workflow(name="refusals.unsaved")
async def keeps_a_generator() -> Any:
    await wait(m1).match_any()
    numbers = (number for number in range(3))
    await wait(m2).match_any()
    return list(numbers)


class Hooked(Container):
    """Waits when it has ended."""

    @workflow(name="refusals.hook")
    async def run(self) -> None:
        await wait(m1).match_any()

    async def on_completed(self) -> None:
        """Waits for what never comes."""
        await self.later()

    @subflow
    async def later(self) -> None:
        """Waits."""
        await wait(m2).match_any()


@workflow(name="refusals.long")
async def tags_a_long_text() -> None:
    await wait(m1).match_any()
    instance().tag(text="x" * 257)


@workflow(name="refusals.many")
async def tags_much() -> None:
    await wait(m1).match_any()
    instance().tag(**{f"tag{number}": number for number in range(33)})


def too_much() -> bytes:
    return bytes(limits.STEP_RESULT_BYTES_MAX + 1)


@workflow(name="refusals.large")
async def records_a_large_result() -> None:
    await wait(m1).match_any()
    try:
        await step(too_much)
    except StepFailed as failed:
        raise (failed.__cause__ or failed) from None


@workflow(name="refusals.hidden")
async def waits_for_a_hidden_method() -> None:
    await wait(m1).match_any()
    hidden: Method = sys.modules["tests.conformance.workflows.methods"].__dict__["m2"]
    await wait(hidden).match_any()


_IN_AN_INSTANCE = {
    "step-result-too-large": records_a_large_result,
    "first-wait-changed": changes_its_first_wait,
    "method-not-named": waits_for_a_hidden_method,
    "unsavable-state": keeps_a_generator,
    "wait-in-hook": Hooked.run,
    "tag-too-long": tags_a_long_text,
    "too-many-tags": tags_much,
}
_DEFINED: dict[str, Define] = {
    made.__name__.replace("_", "-"): made
    for made in (
        *(signature_clash, variadic_parameter, unserialisable_type, bad_schedule),
        *(unknown_time_zone, schedule_without_arguments, unmarked_subflow),
        *(later_wait_without_match, empty_group, member_is_none, group_of_list),
        *(member_not_durable, member_named_twice, duplicate_workflow, workflow_without_container),
    )
}


@pytest.mark.parametrize("rule", _DEFINED)
def test_a_definition_or_call_is_refused_by_its_rule(rule: str) -> None:
    with pytest.raises(UsageError) as caught:
        _DEFINED[rule]()
    assert caught.value.details["rule"] == rule
    assert caught.value.message.endswith(f"[{rule}]")


@pytest.mark.parametrize("rule", _DEPLOYED)
async def test_a_workflow_is_not_deployed_by_its_rule(rule: str) -> None:
    with pytest.raises(UsageError) as caught:
        async with TestShell(_DEPLOYED[rule]):
            pass
    assert caught.value.details["rule"] == rule
    assert caught.value.message.endswith(f"[{rule}]")


@pytest.mark.parametrize(
    "rule",
    [pytest.param(rule, marks=pytest.mark.logs_errors(f"[{rule}]")) for rule in _IN_AN_INSTANCE],
)
async def test_an_instance_is_refused_something_by_its_rule(
    rule: str, deploy: Callable[..., TestShell]
) -> None:
    _runs.clear()
    async with deploy(_IN_AN_INSTANCE[rule]) as shell:
        await shell.push(m1, id=1)
        [run] = shell.instances()
        told = [run.error or "", *run.errors]
        assert any(text.endswith(f"[{rule}]") for text in told)


def test_every_documented_rule_refuses_something_here() -> None:
    assert {*_DEFINED, *_DEPLOYED, *_IN_AN_INSTANCE} == DOCUMENTED


def test_the_code_has_the_documented_rules_and_no_others() -> None:
    used: set[str] = set()
    folders = [ROOT / name for name in ("sdk", "storage", "actors", "serve_apps")]
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            first = node.args[0]
            if name in ("by_rule", "_by_rule") and isinstance(first, ast.Constant):
                used.add(str(first.value))
    assert used == DOCUMENTED
    assert not used & set(RULES)


def test_a_helper_that_is_known_only_at_deployment_is_refused_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @workflow(name="refusals.late")
    async def awaits_a_later_helper() -> None:
        await wait(m1).match_any()
        await later_helper()

    deployment([awaits_a_later_helper], [])
    monkeypatch.setitem(globals(), "later_helper", helper)
    with pytest.raises(UsageError, match=r"\[unmarked-subflow\]"):
        deployment([awaits_a_later_helper], [])


later_helper: Callable[[], Awaitable[None]] = lambda: sleep(timedelta(days=1))


async def test_a_helper_that_only_computes_may_be_awaited(
    deploy: Callable[..., TestShell],
) -> None:
    async def doubles(number: int) -> int:
        assert raysume.wait is not None
        return number * 2

    @workflow(name="refusals.computes")
    async def computes() -> int:
        call = await wait(m1).match_any()
        return await doubles(call.input.id)

    async with deploy(computes) as shell:
        await shell.push(m1, id=4)
        assert [run.result for run in shell.instances(computes)] == [8]


def test_a_wait_that_may_be_the_first_one_needs_no_match() -> None:
    @workflow(name="refusals.either")
    async def either() -> None:
        if raysume is None:
            await wait(m1).match_any()
        await wait(m2)

    deployment([either], [])


def test_a_timetable_is_refused_before_anything_is_deployed() -> None:
    with pytest.raises(UsageError, match=r"\[bad-schedule\]"):
        Timetable("often", None, what="workflow 'w'")


def test_one_method_declared_twice_alike_is_no_clash() -> None:
    here = external_call("refusals.alike", input=m1.input_model, output=str)
    there = external_call("refusals.alike", input=m1.input_model, output=str)
    assert deployment([], [here, there]).methods["refusals.alike"] is here
