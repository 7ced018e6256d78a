"""Corners of the language that only show together with saved state."""

# ruff: noqa: B023, B904, F821, F841, UP008 - code as users may write it

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.compiler.harness import Both, Leaf, both_ways, from_text, reloaded, run, suspended

from raysume.compiler import compile_subflow, compile_workflow, dumps, frames_of, loads


def test_functions_made_in_a_finally_that_waits_are_saved() -> None:
    async def flow() -> Any:
        found: Any = []
        for number in range(2):
            try:
                if number:
                    return found
            finally:
                found.append(lambda k=number: (k, await_free))  # type: ignore[has-type]
                await_free = await Leaf("a")
                found[-1] = found[-1]()
        return None

    assert both_ways(flow, ["x", "y"]) == [(0, "x"), (1, "y")]


def test_functions_made_in_tests_and_comprehensions_are_saved() -> None:
    async def flow() -> Any:
        kept: list[Any] = []
        while len(kept) < 2 and kept.append(lambda: len(kept)) is None:  # type: ignore[func-returns-value]
            kept += [lambda x=x: (x, len(kept)) for x in [await Leaf("a")]]
        return [each() for each in kept]

    assert both_ways(flow, [5]) == [2, (5, 2)]


class Private:
    async def run(self, *, __key: int = 1) -> Any:
        found: list[Any] = []
        for __x in (1, 2):
            try:
                raise ValueError(await Leaf("a"))
            except ValueError as __error:
                __kept = (__x, str(__error), await Leaf("b"))
            finally:
                found.append(await Leaf("c"))
        import json as __json

        def inner() -> Any:
            nonlocal __kept
            __kept = (*__kept, __key)  # type: ignore[assignment]
            return repr(self)[:1], __class__.__name__  # type: ignore[name-defined]

        await Leaf("d")
        return __json.dumps(inner()), __kept, found, [super(Private, self).__hash__() == hash(self)]

    run = compile_workflow(run, name="Private.run")  # type: ignore[assignment]


def test_private_names_of_every_kind_are_mangled() -> None:
    definition: Any = vars(Private)["run"]
    expected = ('["<", "Private"]', (2, "4", 5, 1), [3, 6], [True])
    for reload in (False, True):
        assert run(definition, [1, 2, 3, 4, 5, 6, 7], Private(), reload=reload) == expected
    assert definition.signature.parameters["_Private__key"].default == 1


def test_a_captured_variable_may_be_deleted_and_bound_again() -> None:
    async def flow() -> Any:
        value = 1
        get: Callable[[], Any] = lambda: value
        del value
        first = await Leaf("a")
        try:
            get()
        except NameError:
            first = "unbound"
        value = await Leaf("b")
        return first, get()

    assert both_ways(flow, [1, 2]) == ("unbound", 2)


def test_a_handler_name_that_a_function_captures_is_unbound_at_the_end() -> None:
    async def flow() -> Any:
        try:
            raise KeyError("k")
        except KeyError as error:
            show: Callable[[], str] = lambda: repr(error)
            first = (await Leaf("a"), show())
        try:
            show()
        except NameError:
            return first, "unbound"

    assert both_ways(flow, [1]) == ((1, "KeyError('k')"), "unbound")


def test_nested_groups_of_nested_subflows_are_saved_whole() -> None:
    async def flow() -> Any:
        @compile_subflow
        async def leaf(name: str) -> Any:
            try:
                return await Leaf(name)
            finally:
                await Leaf(f"{name} finally")

        @compile_subflow
        async def pair(name: str) -> Any:
            return await Both(leaf(f"{name}1"), leaf(f"{name}2"))

        try:
            return await Both(pair("a"), pair("b"))
        except KeyError as error:
            return repr(error), await Leaf("after")

    assert both_ways(flow, [1, "f", 2, "f", 3, "f", 4, "f"]) == ((1, 2), (3, 4))
    assert both_ways(flow, [KeyError("k"), *["end"] * 5]) == ("KeyError('k')", "end")


def test_an_exception_that_is_raised_again_later_keeps_one_identity() -> None:
    async def flow() -> Any:
        kept: Any = None
        try:
            raise ValueError("x")
        except ValueError as error:
            kept = error
            await Leaf("a")
        try:
            try:
                raise KeyError("y")
            except KeyError:
                await Leaf("b")
                raise kept
        except ValueError as again:
            return again is kept, repr(again.__context__), await Leaf("c")

    assert both_ways(flow, [1, 2, 3]) == (True, "KeyError('y')", 3)


def test_a_workflow_of_a_test_can_be_looked_at_while_it_waits() -> None:
    async def flow() -> Any:
        try:
            raise ValueError("x")
        except ValueError:
            order = {"id": 7}
            await Leaf("a")
            return order

    [frame] = frames_of(loads(dumps(suspended(compile_workflow(flow, name="flow")))).frozen)
    assert frame.locals == {"order": {"id": 7}}
    assert frame.line == flow.__code__.co_firstlineno + 5


def test_state_survives_many_generations_of_saving() -> None:
    async def flow() -> Any:
        total = 0
        add: Callable[[int], int] = lambda value: total + value
        for x in range(5):
            total = add(x) + await Leaf(x)
        return total

    branch = suspended(compile_workflow(flow, name="flow"))
    sizes: set[int] = set()
    while not branch.done:
        for _ in range(3):
            branch = reloaded(branch)
            sizes.add(len(dumps(branch)))
        branch.give("send", 1)
    assert branch.result == 15
    assert max(sizes) - min(sizes) < 8


def test_future_annotations_and_class_privates_of_a_module_text_are_kept() -> None:
    text = (
        "from __future__ import annotations\n"
        "class C:\n"
        "    async def run(self, x: Undefined) -> Undefined:\n"
        "        def f(y: Undefined) -> Undefined: return f.__annotations__\n"
        "        return await Leaf('a'), f(1), self.__private()\n"
        "    def __private(self) -> int: return 3\n"
    )
    space = from_text(text)
    definition = compile_workflow(space["C"].run, name="C.run")
    branch = suspended(definition, space["C"](), 1)
    branch.give("send", 1)
    assert branch.result == (1, {"y": "Undefined", "return": "Undefined"}, 3)


def test_ordinary_awaits_that_raise_or_are_cancelled_run_the_users_code() -> None:
    ran: list[str] = []

    async def flow() -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ran.append("cancelled")
            raise
        finally:
            ran.append("finally")

    async def main() -> None:
        task = asyncio.create_task(compile_workflow(flow, name="flow").begin())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ran == ["cancelled", "finally"]


def test_a_comment_line_between_decorators_and_the_function_is_no_obstacle() -> None:
    @compile_subflow
    # a comment

    async def child(
        name: str,
    ) -> Any:
        """A docstring."""
        return await Leaf(name)

    async def flow() -> Any:
        return await child("x")

    assert both_ways(flow, [1]) == 1
    assert child.__doc__ == "A docstring."
