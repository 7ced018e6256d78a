"""Parameters with `Depends`: given to the code, left out of saved state, given again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from tests.unit.compiler.harness import Branch, Leaf, reloaded

from raysume import Depends, UsageError, subflow
from raysume.compiler import (
    Definition,
    compile_workflow,
    dumps,
    frames_of,
    freeze,
    keeping_provided,
    loads,
)
from raysume.dependencies import Dependency, dependencies_replaced
from raysume.durable import turn_scope
from raysume.errors import CompileError
from raysume.records import OutgoingCall


@dataclass
class Turn:
    """A turn that keeps what was made for its instance."""

    task: Any = None
    instance: Any = None
    trace: str | None = None
    provided: dict[int, Any] = field(default_factory=dict)

    def has_passed(self, moment: datetime) -> bool:
        raise NotImplementedError(moment)

    def publish(self, call: OutgoingCall) -> None:
        raise NotImplementedError(call)


@pytest.fixture(autouse=True)
def turn() -> Generator[Turn]:
    """Every test is one turn."""
    made = Turn()
    with turn_scope(made):
        yield made


class Mailer:
    """A thing that cannot be saved."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.number = type(self).made
        self.lock = threading.Lock()

    def send(self, text: str) -> str:
        return f"{text} by {self.number}"


@pytest.fixture(autouse=True)
def none_made() -> None:
    Mailer.made = 0


async def _uses(mail: Mailer = Depends(Mailer)) -> list[int]:
    before = mail.number
    await Leaf("a")
    return [before, mail.number]


uses = compile_workflow(_uses, name="uses")


def through(definition: Definition, waits: int, *arguments: Any, reload: bool = True) -> Any:
    """The result of the workflow, reloaded at each of its waits."""
    branch = Branch(definition(*arguments))
    branch.start()
    for _ in range(waits):
        if reload:
            branch = reloaded(branch)
        branch.give("send", "answer")
    if branch.error is not None:
        raise branch.error
    assert branch.done
    return branch.result


def test_a_dependency_is_made_when_the_code_begins_and_again_when_it_is_loaded() -> None:
    assert through(uses, 1) == [1, 2]


def test_a_dependency_stays_the_same_while_its_code_stays_in_memory() -> None:
    assert through(uses, 1, reload=False) == [1, 1]


def test_an_argument_takes_the_place_of_a_dependency_and_is_state() -> None:
    async def flow(limit: int = Depends(lambda: 3)) -> int:
        await Leaf("a")
        return limit

    definition = compile_workflow(flow, name="flow")
    assert through(definition, 1) == 3
    assert through(definition, 1, 5) == 5


def test_a_variable_that_was_given_another_value_is_state() -> None:
    async def flow(limit: int = Depends(lambda: 3)) -> int:
        limit += 1
        await Leaf("a")
        return limit

    assert through(compile_workflow(flow, name="flow"), 1) == 4


def test_nothing_is_made_for_a_dependency_that_is_not_used_any_more() -> None:
    async def flow(mail: Mailer = Depends(Mailer)) -> int:
        number = mail.number
        await Leaf("a")
        return number

    assert through(compile_workflow(flow, name="flow"), 1) == 1
    assert Mailer.made == 1


def test_a_dependency_captured_by_a_function_is_shared_after_loading() -> None:
    async def flow(mail: Mailer = Depends(Mailer)) -> tuple[str, int]:
        def send() -> str:
            return mail.send("hello")

        await Leaf("a", send)
        return send(), mail.number

    assert through(compile_workflow(flow, name="flow"), 1) == ("hello by 2", 2)
    assert Mailer.made == 2


@pytest.mark.parametrize("value", [None, 0, "text", (), [1], {"a": 1}, {1}])
def test_a_dependency_that_is_plain_data_is_made_again_too(value: Any) -> None:
    values: list[Any] = ["first", value]

    async def flow(given: Any = Depends(lambda: values.pop(0))) -> Any:
        def captured() -> Any:
            return given

        await Leaf("a")
        return captured(), given

    definition = compile_workflow(flow, name="flow")
    assert through(definition, 1) == (value, value)


def test_a_dependency_in_a_comprehension_is_made_again() -> None:
    async def flow(mail: Mailer = Depends(Mailer)) -> list[int]:
        await Leaf("a")
        return [mail.number for _ in range(2)]

    assert through(compile_workflow(flow, name="flow"), 1) == [2, 2]


@dataclass
class Repository:
    """Something of the author's that holds a dependency."""

    mail: Mailer
    name: str = "orders"


def test_a_dependency_is_left_out_wherever_it_is_kept() -> None:
    @subflow
    async def inner(repository: Repository, other: Mailer = Depends(Mailer)) -> Any:
        method = repository.mail.send
        await Leaf("b")
        return method("x"), repository.mail.number, repository.name, other.number

    async def flow(mail: Mailer = Depends(Mailer)) -> Any:
        repository = Repository(mail)
        found = await inner(repository)
        await Leaf("c")
        return (*found, repository.mail is mail)

    result = through(compile_workflow(flow, name="flow"), 2)
    assert result[0] == f"x by {result[1]}"
    assert result[2:] == ("orders", result[3], True)
    assert result[1] != result[3]


def test_a_dependency_of_a_subflow_that_has_ended_is_left_out() -> None:
    @subflow
    async def inner(mail: Mailer = Depends(Mailer)) -> Repository:
        await Leaf("a")
        return Repository(mail)

    async def flow() -> int:
        repository = await inner()
        await Leaf("b")
        return repository.mail.number

    assert through(compile_workflow(flow, name="flow"), 2) == 3


def test_a_nested_subflow_has_dependencies_from_the_variables_around_it() -> None:
    async def flow(prefix: str) -> str:
        def greeting() -> str:
            return f"{prefix}!"

        @subflow
        async def inner(text: str = Depends(greeting)) -> str:
            await Leaf("a")
            return text

        return await inner()

    assert through(compile_workflow(flow, name="flow"), 1, "hello") == "hello!"


def test_a_dependency_may_have_dependencies() -> None:
    def repository(mail: Mailer = Depends(Mailer)) -> Repository:
        return Repository(mail, "nested")

    async def flow(kept: Repository = Depends(repository)) -> str:
        await Leaf("a")
        return f"{kept.name} {kept.mail.number}"

    assert through(compile_workflow(flow, name="flow"), 1) == "nested 2"


def test_a_stand_in_is_called_instead_of_the_factory() -> None:
    with dependencies_replaced({Mailer: lambda: Repository(None, "stand-in")}):  # type: ignore[arg-type]

        async def flow(mail: Any = Depends(Mailer)) -> str:
            await Leaf("a")
            name: str = mail.name
            return name

        assert through(compile_workflow(flow, name="flow"), 1) == "stand-in"
    assert Mailer.made == 0


def test_dependencies_are_not_shown_among_the_variables() -> None:
    async def flow(mail: Mailer = Depends(Mailer)) -> Any:
        number = 7
        await Leaf("a")
        return mail, number

    branch = Branch(compile_workflow(flow, name="flow")())
    branch.start()
    assert [view.locals for view in frames_of(branch.coroutine)] == [{"number": 7}]
    assert [view.locals for view in frames_of(freeze(branch.coroutine))] == [{"number": 7}]
    assert [view.locals for view in frames_of(reloaded(branch).frozen)] == [{"number": 7}]  # type: ignore[arg-type]
    assert Mailer.made == 1


def test_what_was_loaded_outside_of_a_turn_can_be_saved_again() -> None:
    async def flow(mail: Mailer = Depends(Mailer)) -> Any:
        await Leaf("a", mail.send)
        return mail

    branch = Branch(compile_workflow(flow, name="flow")())
    branch.start()
    data = dumps(branch)
    with turn_scope(None), keeping_provided():  # type: ignore[arg-type]
        leaf = loads(data).leaf
        again = loads(dumps(leaf))
    assert (leaf.callback("x"), again.callback("x")) == ("x by 2", "x by 3")


def test_saving_is_refused_for_the_culprit_and_not_for_the_dependency() -> None:
    async def flow(mail: Mailer = Depends(Mailer)) -> Any:
        def send() -> str:
            return mail.send("x")

        guard = threading.Lock()
        await Leaf("a")
        return send, guard

    branch = Branch(compile_workflow(flow, name="flow")())
    branch.start()
    with pytest.raises(UsageError, match="variable 'guard'"):
        dumps(branch)


def test_a_parameter_that_lost_its_dependency_is_named() -> None:
    async def flow(mail: Mailer = Depends(Mailer)) -> int:
        await Leaf("a")
        return mail.number

    definition = compile_workflow(flow, name="flow")
    branch = Branch(definition())
    branch.start()
    data = dumps(branch)
    definition.dependencies.clear()
    with pytest.raises(UsageError, match=r"'mail' of 'flow', which has no Depends"):
        loads(data)


async def _made_late() -> int:
    return 1


def _made_between() -> Generator[int]:
    yield 1


def _made_of(name: str) -> str:
    return name


class Callable_:
    """A factory that is an object."""

    async def __call__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("factory", "rule"),
    [
        (_made_late, "dependency-async"),
        (Callable_(), "dependency-async"),
        (_made_between, "dependency-generator"),
        (_made_of, "dependency-factory"),
        (7, "dependency-factory"),
    ],
)
def test_a_factory_that_cannot_make_a_value_is_refused_at_once(
    factory: Callable[[], Any], rule: str
) -> None:
    with pytest.raises(CompileError, match=rf"\[{rule}\]"):
        Depends(factory)


def test_what_depends_gives_says_what_it_is() -> None:
    made: Any = Depends(Mailer)
    assert isinstance(made, Dependency)
    assert repr(made) == "Depends(Mailer)"
