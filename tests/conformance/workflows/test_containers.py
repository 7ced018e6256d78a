"""Workflows as classes: state with a schema, hooks, queries."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError
from tests.conformance.workflows.methods import Sent, decide, m1, m2, m3

from raysume import (
    CompileError,
    Container,
    UsageError,
    all_of,
    external_call,
    query,
    subflow,
    wait,
    workflow,
)
from raysume.errors import NotFound
from raysume.testing import TestShell

Deploy = Callable[..., TestShell]

told = external_call("conformance.told", input=Sent, output=str)


class Form(BaseModel):
    """What a client fills in."""

    name: str
    age: int = 0


class Onboarding(Container):
    """The business sample of client onboarding, shortened."""

    form: Form | None = None
    notes: list[str] = Field(default_factory=list)
    asked: int = 0

    @workflow
    async def run(self, name: str) -> str:
        """Waits for the form, and asks the owner until he has decided."""
        self.form = Form(name=name)
        while not await self.ask_owner():
            self.notes.append(f"asked {self.asked} times")
        await wait(m1).match_if(lambda call: call.input.id == self.asked)
        return f"{self.form.name}: {self.asked}"

    @subflow
    async def ask_owner(self) -> bool:
        """Whether the owner says yes, in a wait of its own."""
        self.asked += 1
        call = await wait(decide).match(request=self.asked)
        answered: str = call.input.answer
        return answered == "yes"

    @query
    def progress(self, prefix: str = "", *, shout: bool = False) -> str:
        """What was noted so far."""
        self.asked += 100
        text = prefix + ", ".join(self.notes)
        return text.upper() if shout else text

    @query
    def filled(self) -> Form | None:
        """The form, if there is one."""
        return self.form

    @query
    def broken(self) -> int:
        """A query that raises."""
        return 1 // (self.asked - self.asked)


async def test_fields_are_state_that_frames_and_subflows_share(deploy: Deploy) -> None:
    async with deploy(Onboarding.run) as shell:
        run = await shell.start(Onboarding.run, "ann")
        await shell.push(decide, request=1, answer="no")
        assert run.container.notes == ["asked 1 times"]
        assert run.locals["self"].form == Form(name="ann")
        await shell.push(decide, request=2, answer="yes")
        assert (run.container.asked, run.status) == (2, "waiting")
        await shell.push(m1, id=7)
        assert run.status == "waiting"
        await shell.push(m1, id=2)
        assert (run.status, run.result) == ("completed", "ann: 2")
        assert run.workflow == "Onboarding.run"


async def test_every_instance_has_an_object_of_its_own(deploy: Deploy) -> None:
    async with deploy(Onboarding.run) as shell:
        first = await shell.start(Onboarding.run, "ann")
        second = await shell.start(Onboarding.run, "bob")
        assert first.container.form.name == "ann"
        assert second.container.form.name == "bob"
        assert Onboarding().notes == []


async def test_queries_answer_at_any_time_and_change_nothing(deploy: Deploy) -> None:
    async with deploy(Onboarding.run) as shell:
        run = await shell.start(Onboarding.run, "ann")
        assert shell.query(run, Onboarding.filled) == Form(name="ann")
        assert shell.query(run, Onboarding.progress) == ""
        await shell.push(decide, request=1, answer="no")
        assert shell.query(run, Onboarding.progress, "so far: ", shout=True) == (
            "SO FAR: ASKED 1 TIMES"
        )
        assert run.container.asked == 2
        await shell.push(decide, request=2, answer="yes")
        await shell.push(m1, id=2)
        assert run.status == "completed"
        assert shell.query(run, Onboarding.progress) == "asked 1 times"
        assert run.container.form == Form(name="ann")


async def test_a_question_that_cannot_be_answered_says_why(deploy: Deploy) -> None:
    @workflow
    async def plain(text: str) -> str:
        await wait(m1).match_any()
        return text

    async with deploy(Onboarding.run, plain) as shell:
        run = await shell.start(Onboarding.run, "ann")
        with pytest.raises(UsageError, match="raised ZeroDivisionError"):
            shell.query(run, Onboarding.broken)
        with pytest.raises(UsageError, match="cannot be asked so: too many"):
            shell.query(run, Onboarding.filled, 1)  # type: ignore[call-arg]
        other = await shell.start(plain, "x")
        with pytest.raises(NotFound, match="'plain' has no query 'filled'; its queries are: none"):
            shell.query(other, Onboarding.filled)


async def test_a_container_with_a_standing_wait_is_started_by_calls(deploy: Deploy) -> None:
    class Desk(Container):
        seen: list[int] = Field(default_factory=list)

        @workflow
        async def serve(self) -> list[int]:
            def note(call: Any) -> None:
                self.seen.append(call.input.id)

            await wait(m1).match_any().after_match(note)
            await all_of(self.hear(), wait(m3).match_any().after_match(note))
            return self.seen

        @subflow
        async def hear(self) -> None:
            call = await wait(m2).match_any()
            self.seen.append(call.input.id)

    async with deploy(Desk.serve) as shell:
        await shell.push(m1, id=1)
        await shell.push(m1, id=10)
        await shell.push(m2, id=2)
        first, second = shell.instances(Desk.serve)
        assert (first.container.seen, second.container.seen) == ([1, 2], [10, 2])
        await shell.push(m3, id=3)
        assert (first.result, second.result) == ([1, 2, 3], [10, 2, 3])


@pytest.mark.logs_errors("valid integer")
async def test_an_assignment_of_another_type_fails_the_instance(deploy: Deploy) -> None:
    class Strict(Container):
        count: int = 0

        @workflow
        async def run(self, value: Any) -> int:
            self.count = value
            await wait(m1).match_any()
            return self.count

    async with deploy(Strict.run) as shell:
        good = await shell.start(Strict.run, "7")
        bad = await shell.start(Strict.run, "seven")
        await shell.push(m1)
        assert good.result == 7
        assert bad.status == "failed"
        assert bad.error is not None
        assert "count" in bad.error


async def test_a_class_that_inherits_a_workflow_has_one_of_its_own(deploy: Deploy) -> None:
    class Base(Container):
        name: str = "base"

        @workflow
        async def run(self) -> str:
            await wait(m1).match_any()
            return await self.answer()

        @subflow
        async def answer(self) -> str:
            await wait(m2).match_any()
            return self.name

    class Derived(Base):
        name: str = "derived"

        @subflow
        async def answer(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
            return "own " + await super().answer()

    assert (Base.run.name, Derived.run.name) == ("Base.run", "Derived.run")
    async with deploy(Base.run, Derived.run) as shell:
        await shell.push(m1)
        await shell.push(m2)
        assert [run.result for run in shell.instances()] == ["base", "own derived"]


# --- refusals --------------------------------------------------------------------


@pytest.mark.row(55)
def test_a_container_may_not_define_init() -> None:
    with pytest.raises(CompileError, match=r"Sealed defines `__init__`.*\[container-init\]"):

        class Sealed(Container):  # pyright: ignore[reportUnusedClass]
            def __init__(self) -> None:
                super().__init__()


def test_a_field_without_default_is_refused_where_there_is_a_workflow() -> None:
    class Form(Container):
        name: str

    with pytest.raises(CompileError, match=r"\(name\).*\[container-required-field\]"):

        class Filled(Form):  # pyright: ignore[reportUnusedClass]
            @workflow
            async def run(self) -> None:
                await wait(m1).match_any()


def test_a_query_that_waits_is_refused() -> None:
    with pytest.raises(CompileError, match=r"\[query-not-plain\]"):

        @query
        async def slow(_self: Any) -> int:
            return 1


def test_a_parameter_without_a_json_form_is_refused_by_the_decorator() -> None:
    with pytest.raises(UsageError, match=r"parameter of workflow 'locked'.*without a JSON form"):

        @workflow
        async def locked(lock: threading.Lock) -> None:
            await wait(m1).match_if(lambda call: call.input.id == id(lock))


def test_a_workflow_of_a_plain_class_is_refused_when_it_is_deployed() -> None:
    class Plain:
        @workflow
        async def run(self) -> None:
            await wait(m1).match_any()

    with pytest.raises(UsageError, match=r"no Container"):
        TestShell(Plain.run)


def test_a_container_is_validated_when_a_field_is_assigned() -> None:
    made = Onboarding()
    with pytest.raises(ValidationError):
        made.asked = "many"  # type: ignore[assignment]
