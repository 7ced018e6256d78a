"""SCENARIOS section 6: methods and workflows of several services, and of libraries."""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.conformance.workflows.conftest import Deploy
from tests.conformance.workflows.seen import logged_errors

from raysume import Depends, RaysumeError, UsageError, push_call, wait, workflow
from raysume.explanations import Explanation
from raysume.testing import Counts

Load = Callable[[str], Any]
"""From a module's name to the module; each is a service of its own, named as its top package."""


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports modules of tests/services as programs do, by their own names."""
    folder = str(Path(__file__).parents[2] / "services")
    monkeypatch.setattr(sys, "path", [folder, *sys.path])
    return importlib.import_module


# --- one URN in two services -------------------------------------------------------


@pytest.mark.row(57)
async def test_a_stub_wakes_for_calls_of_the_method_that_another_service_implements(
    deploy: Deploy, load: Load
) -> None:
    warehouse, storefront = load("warehouse"), load("storefront")
    assert (warehouse.pack.service, storefront.pack.service) == ("warehouse", "storefront")
    async with deploy(storefront.by_external, storefront.by_function) as shell:
        other = await shell.start(storefront.by_function, "bob")
        same = await shell.start(storefront.by_function, "ann")
        assert warehouse.pack(warehouse.Parcel(number=7, to="ann"), by="eve") is True
        await shell.advance(timedelta(0))
        [started] = shell.instances(storefront.by_external)
        assert (started.result, same.result) == ("7 by eve: True", "7 by eve: True")
        assert other.status == "waiting"
        assert shell.counts() == Counts(calls=1, waits=3, completed=2)
        assert logged_errors(shell) == []


@pytest.mark.row(58)
async def test_an_external_push_wakes_functions_of_two_services_that_its_filter_fits(
    deploy: Deploy, load: Load
) -> None:
    warehouse, storefront = load("warehouse"), load("storefront")
    both = (warehouse.long_names, storefront.long_names)
    async with deploy(*both) as shell:
        await shell.push("services.123", name="Anna", output=4)
        assert shell.instances() == []
        await shell.push("services.123", name="Maria", output=5)
        results = [run.result for each in both for run in shell.instances(each)]
        assert results == ["warehouse Maria", "storefront Maria"]
        assert shell.counts() == Counts(calls=2, waits=2, completed=2)
        assert logged_errors(shell) == []


@pytest.mark.row(59)
async def test_a_push_under_an_unknown_urn_is_refused_and_wakes_nothing(
    deploy: Deploy, load: Load
) -> None:
    storefront = load("storefront")
    async with deploy(storefront.long_names) as shell:
        with pytest.raises(UsageError, match=r"no method 'services\.124' is known here"):
            await shell.push("services.124", name="Maria", output=5)
        assert shell.counts() == Counts(calls=0, waits=0, completed=0)


# --- local only --------------------------------------------------------------------


def stages(explained: Explanation) -> set[tuple[str, str]]:
    """How far the call came with the waits of each workflow."""
    return {(one.workflow, one.stage) for one in explained.waits}


@pytest.mark.row(60)
async def test_a_local_only_call_is_seen_by_workflows_of_its_own_service_alone(
    deploy: Deploy, load: Load
) -> None:
    warehouse, storefront = load("warehouse"), load("storefront")
    async with deploy(warehouse.counting, storefront.curious) as shell:
        first = await shell.push(warehouse.count, shelf=1, output=10)
        second = await shell.push("services.counted", shelf=2, output=20)
        [own] = shell.instances(warehouse.counting)
        assert own.result == [10, 20]
        assert shell.instances(storefront.curious) == []
        assert warehouse.count(3) == 3
        await shell.advance(timedelta(0))
        assert len(shell.instances(warehouse.counting)) == 2
        assert shell.instances(storefront.curious) == []
        for call in (first, second):
            explained = shell.explain(call)
            assert ("warehouse.counting", "met") in stages(explained)
            hidden = explained.waits[-1]
            assert (hidden.workflow, hidden.stage) == ("storefront.curious", "local")
            assert "'services.counted' is local_only" in hidden.reason
            assert "'warehouse'" in hidden.reason
            assert "'storefront'" in hidden.reason


@pytest.mark.row(60)
async def test_a_wait_that_looks_back_does_not_find_local_only_calls_of_another_service(
    deploy: Deploy, load: Load
) -> None:
    warehouse, storefront = load("warehouse"), load("storefront")
    async with deploy(storefront.looking_back) as shell:
        run = await shell.start(storefront.looking_back, 3)
        before = await shell.push(warehouse.count, shelf=3, output=30)
        [early] = shell.explain(before, run).waits
        assert (early.stage, early.instance) == ("local", run.id)
        await shell.push("services.123", name="look", output=4)
        [hidden] = run.waits[1:]
        assert (hidden.name, hidden.status) == ("hidden", "waiting")
        after = await shell.push(warehouse.count, shelf=3, output=31)
        assert hidden.status == "waiting"
        for call in (before, after):
            [explained] = shell.explain(call, run).waits
            assert (explained.stage, explained.name) == ("local", "hidden")
        assert run.status == "waiting"
        assert logged_errors(shell) == []


# --- libraries and interfaces ------------------------------------------------------


@pytest.mark.row(62)
@pytest.mark.parametrize(("begin", "index"), [("greetings.hello", 0), ("services.123", 1)])
async def test_a_workflow_of_a_library_waits_for_its_own_and_for_external_methods(
    deploy: Deploy, load: Load, begin: str, index: int
) -> None:
    visit = load("greetings").visit
    async with deploy(visit) as shell:
        output = "Hello, Maria" if index == 0 else 5
        await shell.push(begin, name="Maria", output=output)
        await shell.push("greetings.goodby", name="Anna", output="Goodby, Anna")
        [run] = shell.instances(visit)
        assert run.status == "waiting"
        await shell.push("greetings.goodby", name="Maria", output="Goodby, Maria")
        assert run.result == f"{index} Goodby, Maria"
        # The first wait is a group of two, and then there is one more.
        assert shell.counts() == Counts(calls=3, waits=4, completed=1)
        assert logged_errors(shell) == []


class Approvals(ABC):
    """An interface with a method whose calls are pushed."""

    @push_call("services.abstract.decide")
    @abstractmethod
    def decide(self, request: int, answer: str) -> bool:
        """Decides."""


class Desk(Approvals):
    """Its implementation."""

    @push_call("services.abstract.decide")
    def decide(  # pyright: ignore[reportIncompatibleVariableOverride]  # its `self` is another
        self, request: int, answer: str
    ) -> bool:
        return answer == "yes" and request > 0


def approvals() -> Approvals:
    """The dependency."""
    return Desk()


class Printing(Protocol):
    """An interface that nobody derives from."""

    @push_call("services.protocol.print")
    def print(self, text: str) -> int:
        """Prints."""
        ...


class Printer:
    """What has the interface's methods."""

    @push_call("services.protocol.print")
    def print(self, text: str) -> int:
        return len(text)


def printing() -> Printing:
    """The dependency."""
    return Printer()


@pytest.mark.row(63)
async def test_a_wait_by_an_interface_wakes_for_calls_of_its_implementation(
    deploy: Deploy,
) -> None:
    @workflow
    async def by_instance(request: int, desk: Approvals = Depends(approvals)) -> bool:
        return (await wait(desk.decide).match(request=request)).output

    @workflow
    async def by_class() -> tuple[str, int]:
        decided = await wait(Approvals.decide).match_any()
        printed = await wait(Printing.print).match(text=decided.input.answer)
        return (decided.input.answer, printed.output)

    async with deploy(by_instance, by_class) as shell:
        run = await shell.start(by_instance, 4)
        desk, printer = approvals(), printing()
        assert desk.decide(5, "no") is False
        assert desk.decide(4, answer="yes") is True
        await shell.advance(timedelta(0))
        assert run.result is True
        assert printer.print("yes") == 3
        await shell.advance(timedelta(0))
        assert [one.result for one in shell.instances(by_class)] == [None, ("yes", 3)]
        assert logged_errors(shell) == []


@pytest.mark.row(63)
async def test_a_wait_by_an_interface_typed_dependency_wakes_when_it_is_the_first(
    deploy: Deploy,
) -> None:
    @workflow
    async def first(desk: Approvals = Depends(approvals), out: Printing = Depends(printing)) -> int:
        decided = await wait(desk.decide).match_if(lambda call: call.output)
        printed = await wait(out.print).match(text=decided.input.answer)
        return printed.output

    async with deploy(first) as shell:
        await shell.push(Desk.decide, request=1, answer="no", output=False)
        assert shell.instances(first) == []
        await shell.push(Approvals.decide, request=1, answer="yes", output=True)
        await shell.push(Printer.print, text="yes", output=3)
        assert [run.result for run in shell.instances(first)] == [3]


def test_an_interface_and_an_implementation_of_another_signature_are_refused() -> None:
    def define() -> None:
        class Interface:
            @push_call("services.differs")
            def act(self, number: int) -> None: ...

        class Implementation(Interface):
            @push_call("services.differs")
            def act(self, number: str) -> None: ...  # type: ignore[override]

        del Implementation

    with pytest.raises(RaysumeError, match=r"(?s)Interface\.act at .*Implementation\.act at"):
        define()
