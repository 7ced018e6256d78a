"""Workflows and subflows: names, parameters, versions, and what a deployment collects."""

# ruff: noqa: ARG001 - functions that exist for their signatures
from __future__ import annotations

import json
import pickle
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from raysume import Container, Retry, external_call, push_call, subflow, wait, workflow
from raysume.compiler import Definition
from raysume.deployments import collect, deployment
from raysume.durable import turn_scope
from raysume.errors import CompileError, UsageError
from raysume.records import OutgoingCall
from raysume.waits import Wait
from raysume.workflows import Workflow


@dataclass
class Turn:
    """A turn in which nothing is published."""

    task: Any = None
    instance: Any = None
    trace: str | None = None

    def has_passed(self, moment: datetime) -> bool:
        raise NotImplementedError(moment)

    def publish(self, call: OutgoingCall) -> None:
        raise NotImplementedError(call)


def first_wait(coroutine: Any) -> Any:
    """The first durable thing that the code awaits."""
    with turn_scope(Turn()):
        leaf = coroutine.send(None)
    coroutine.close()
    return leaf


class Order(BaseModel):
    id: int
    note: str = ""


@push_call("workflows.submitted")
def submit(order: Order) -> bool:
    return True


@subflow
async def decided(order: Order) -> bool:
    call = await wait(submit).match(order__id=order.id)
    return call.output


@workflow
async def approval() -> str:
    """Approves orders."""
    call = await wait(submit).match_if(lambda call: call.output)
    return "yes" if await decided(call.input.order) else "no"


def fulfil_id(order: Order) -> str:
    return f"fulfil-{order.id}"


@workflow(
    name="workflows.fulfil",
    id=fulfil_id,
    active=False,
    version="v7",
    retry=Retry(max_attempts=3),
)
async def fulfil(order: Order, copies: int = 1, *, copy: bool = False) -> Order:
    await wait(submit).match(order=order)
    return order


class Desk(Container):
    @workflow
    async def run(self) -> None:
        await wait(submit).match_any()

    @subflow
    async def ask(self, number: int) -> int:
        await wait(submit).match(order__id=number)
        return number


def test_a_workflow_has_the_name_of_its_function() -> None:
    assert isinstance(approval, Workflow)
    assert approval.name == "approval"
    assert approval.__doc__ == "Approves orders."
    assert approval.active
    assert not approval.has_parameters
    assert isinstance(approval.definition, Definition)
    assert approval.definition.name == "approval"
    assert approval.place.startswith(approval.file)
    assert approval.module == __name__


def test_a_workflow_of_a_class_is_named_after_both() -> None:
    assert Desk.run.name == "Desk.run"
    run: Any = Desk().run
    assert run is Desk.run
    assert Desk.run.parameters == ()


def test_what_is_said_to_the_decorator_is_kept() -> None:
    assert fulfil.name == "workflows.fulfil"
    assert fulfil.version_id() == fulfil.version_label == "v7"
    assert not fulfil.active
    assert fulfil.retry == Retry(max_attempts=3)
    assert fulfil.has_parameters
    assert fulfil.parameters == ("order", "copies", "copy")


def test_arguments_travel_as_json_and_come_back_validated() -> None:
    data = fulfil.encode_arguments(Order(id=7), copy=True)
    assert json.loads(data) == {"order": {"id": 7, "note": ""}, "copies": 1, "copy": True}
    arguments = fulfil.decode_arguments(data)
    assert arguments == {"order": Order(id=7), "copies": 1, "copy": True}
    assert fulfil.instance_id(arguments) == "fulfil-7"
    assert approval.instance_id({}) is None
    assert fulfil.output_adapter.validate_json(b'{"id": 7}') == Order(id=7)
    waiting = first_wait(fulfil.definition.begin(**arguments))
    assert isinstance(waiting, Wait)
    assert waiting.fields == (("input.order", Order(id=7)),)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "order"), ((Order(id=1), 1, 2), "too many"), (("x",), "invalid order")],
    ids=str,
)
def test_a_start_with_wrong_arguments_is_refused(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        fulfil.encode_arguments(*arguments)
    with pytest.raises(UsageError, match=r"order\.id"):
        fulfil.decode_arguments(b'{"order": {"id": "x"}}')


def test_the_version_is_of_what_the_workflow_does() -> None:
    assert approval.version_id() != Desk.run.version_id()
    assert re.fullmatch("[0-9a-f]{6}", approval.version_id())


def test_a_workflow_is_called_to_be_awaited_by_another_with_arguments_that_fit() -> None:
    call: Any = fulfil(Order(id=1))
    assert (call.durable_kind, call.workflow) == ("workflow", fulfil)
    wrong: Any = fulfil
    with pytest.raises(UsageError, match="cannot be started so"):
        wrong()


def test_a_subflow_is_called_and_gives_what_to_await() -> None:
    call: Any = decided(Order(id=3))
    assert isinstance(decided, Definition)
    assert call.durable_kind == "subflow"
    assert first_wait(call.begin()).fields == (("input.order.id", 3),)
    method_call: Any = Desk().ask(4)
    assert first_wait(method_call.begin()).fields == (("input.order.id", 4),)


def test_workflows_and_subflows_of_modules_are_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(approval)) is approval
    assert pickle.loads(pickle.dumps(fulfil)) is fulfil


def test_a_workflow_with_a_wrong_name_in_a_match_is_refused_by_the_decorator() -> None:
    with pytest.raises(UsageError, match=r"test_workflows\.py:\d+: .*Did you mean 'order'"):

        @workflow
        async def wrong() -> None:
            await wait(submit).match(ordre=1)

    with pytest.raises(UsageError, match="Did you mean 'id'"):

        @workflow
        async def also_wrong() -> None:
            await wait(submit).match_if(lambda call: call.input.order.idd == 1)


def test_what_is_not_an_async_function_is_refused() -> None:
    with pytest.raises((CompileError, UsageError), match="async"):
        workflow(lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(UsageError, match="async function"):
        workflow(5)  # type: ignore[call-overload]


def test_variadic_parameters_have_no_names_to_start_with() -> None:
    with pytest.raises(UsageError, match=r"\*orders"):

        @workflow
        async def variadic(*orders: Order) -> None:
            await wait(submit).timeout(timedelta(1)).match_any()


def module_with(**values: Any) -> ModuleType:
    """A module that has these globals."""
    module = ModuleType("collected")
    vars(module).update(values)
    return module


def test_a_deployment_has_what_a_module_defines_or_sees() -> None:
    found = collect(module_with(approval=approval, again=approval, submit=submit, other=3))
    assert dict(found.workflows) == {"approval": approval}
    assert found.methods["workflows.submitted"] is submit


def test_workflows_in_classes_of_the_module_are_collected() -> None:
    desk = Desk
    module = module_with(Desk=desk)
    module.__name__ = __name__
    assert set(collect(module).workflows) == {"Desk.run"}


def test_two_workflows_of_one_name_are_refused_with_both_places() -> None:
    @workflow(name="approval")
    async def another() -> None:
        await wait(submit).match_any()

    with pytest.raises(UsageError, match=r"(?s)'approval'.*test_workflows\.py:\d+.*and at .*:\d+"):
        collect(module_with(first=approval, second=another))


def test_two_methods_of_one_urn_must_have_one_signature() -> None:
    class Input(BaseModel):
        order: Order

    declared = external_call("workflows.other", input=Input, output=bool)

    assert deployment([], [submit, declared]).methods["workflows.other"] is declared

    def define() -> Any:
        @push_call("workflows.submitted")
        def submitted(number: int) -> None: ...

        return submitted

    with pytest.raises(UsageError, match="defined twice with different signatures"):
        deployment([], [submit, define()])
