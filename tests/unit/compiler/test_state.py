"""What is saved, what is refused, and how a refusal names the culprit."""

# ruff: noqa: ASYNC230, C416 - code as users may write it

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.compiler.harness import Leaf, both_ways, suspended

from raysume.compiler import (
    SNAPSHOT_FORMAT,
    compile_subflow,
    compile_workflow,
    dumps,
    freeze,
    largest_variables,
    loads,
)
from raysume.errors import UnsavableState, UsageError


def refused(function: Callable[..., Any]) -> UnsavableState:
    """The refusal to save the function at its first wait."""
    branch = suspended(compile_workflow(function, name="flow"))
    with pytest.raises(UnsavableState) as caught:
        dumps(branch, origin="instance i1")
    error = caught.value
    assert str(error).startswith("instance i1: ")
    assert error.details["file"] == __file__
    assert error.details["function"] == "flow"
    assert error.details["remedy"]
    return error


def test_a_generator_kept_across_a_wait_is_named_with_its_remedy() -> None:
    async def flow() -> Any:
        items = (x for x in range(3))
        await Leaf("a")
        return list(items)

    error = refused(flow)
    assert error.details["variable"] == "items"
    assert error.details["line"] == flow.__code__.co_firstlineno + 2
    assert "Make a list" in error.details["remedy"]


def test_the_path_leads_to_the_part_that_cannot_be_saved() -> None:
    async def flow() -> Any:
        order = {"items": [1, {"lock": threading.Lock()}]}
        await Leaf("a")
        return order

    error = refused(flow)
    assert error.details["path"] == "order['items'][1]['lock']"
    assert "locks" in error.details["remedy"]


def test_attributes_of_objects_are_part_of_the_path() -> None:
    with open(__file__) as file:

        async def flow() -> Any:
            thing = Thing(file)
            await Leaf("a")
            return thing

        error = refused(flow)
    assert error.details["path"] == "thing.inner"
    assert "Close the file" in error.details["remedy"]


class Thing:
    def __init__(self, inner: Any) -> None:
        self.inner = inner


def test_an_instance_of_a_local_class_is_refused() -> None:
    async def flow() -> Any:
        class Local:
            pass

        thing = Local()
        await Leaf("a")
        return thing

    error = refused(flow)
    assert "in the module" in error.details["remedy"]


def test_captured_variables_are_named() -> None:
    async def flow() -> Any:
        views = {"a": 1}.keys()
        show: Callable[[], Any] = lambda: views
        await Leaf("a")
        return show()

    error = refused(flow)
    assert error.details["variable"] in ("views", "show")
    assert "list(...)" in error.details["remedy"]


def test_iterators_and_intermediate_values_are_described() -> None:
    async def loop() -> Any:
        for x in (y for y in range(2)):
            await Leaf(x)

    async def expression() -> Any:
        return (x for x in "ab"), await Leaf("a")

    assert "the iterator of a for loop" in str(refused(loop))
    assert "in the same statement" in str(refused(expression))


def test_a_wait_that_cannot_be_saved_is_named_with_its_line() -> None:
    async def flow() -> Any:
        await Leaf({"view": dict[str, int]().keys()})

    error = refused(flow)
    assert error.details["variable"] == "what it waits for"
    assert error.details["path"].endswith("['view']")
    assert error.details["line"] == flow.__code__.co_firstlineno + 1


def test_a_coroutine_in_a_variable_is_refused_with_its_remedy() -> None:
    pause = asyncio.sleep(0)

    async def flow() -> Any:
        waiting = pause
        await Leaf("a")
        await waiting

    assert "@subflow" in refused(flow).details["remedy"]
    pause.close()


def test_a_structure_that_is_nested_too_deeply_is_refused() -> None:
    async def flow() -> Any:
        linked: Any = None
        for _ in range(100_000):
            linked = [linked]
        await Leaf("a")
        while linked:
            linked = linked[0]

    error = refused(flow)
    assert error.details["variable"] == "linked"
    assert "flat" in error.details["remedy"]


def test_a_type_that_cannot_be_loaded_is_refused_when_it_is_first_saved() -> None:
    async def flow() -> Any:
        thing = [Unloadable(1)]
        await Leaf("a")
        return thing

    error = refused(flow)
    assert "cannot be loaded again" in str(error)
    assert error.details["path"] == "thing[0]"


class Unloadable:
    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return (Unloadable, ())


def test_only_live_variables_are_saved() -> None:
    async def flow(order: Any) -> Any:
        dead = threading.Lock()
        before = threading.Lock()
        del before
        first = await Leaf(dead.locked())
        second = await Leaf(first)
        return order, second

    definition = compile_workflow(flow, name="flow")
    assert [sorted(point.live) for point in definition.points] == [["order"], ["order"]]
    assert both_ways_of(definition) == ("o", 2)


def both_ways_of(definition: Any) -> Any:
    from tests.unit.compiler.harness import run

    return run(definition, [1, 2], "o", reload=True)


def test_what_a_handler_or_finally_needs_is_live_throughout_its_try() -> None:
    async def flow() -> Any:
        first, second, third = 1, 2, 3
        try:
            await Leaf("a")
            first = 10
            await Leaf("b")
        except KeyError:
            return first
        finally:
            print(second, end="")
        return third

    definition = compile_workflow(flow, name="flow")
    live = {"first", "second", "third"}
    assert [point.live for point in definition.points] == [live, live]


def test_a_function_that_asks_for_its_locals_saves_all_of_them() -> None:
    async def flow(unused: int) -> Any:
        other = 1  # pyright: ignore[reportUnusedVariable]
        await Leaf("a")
        return sorted(locals())

    definition = compile_workflow(flow, name="flow")
    assert definition.points[0].live == {"unused", "other"}


def test_a_temporary_is_not_saved_once_it_was_used() -> None:
    async def flow() -> Any:
        return [x for x in (y for y in [await Leaf("a")])], await Leaf("b"), await Leaf("c")

    assert both_ways(flow, [1, 2, 3]) == ([1], 2, 3)


def test_a_wait_through_an_undecorated_coroutine_names_it() -> None:
    async def helper() -> Any:
        return await Leaf("a")

    async def flow(given: Any) -> Any:
        return await given()

    branch = suspended(compile_workflow(flow, name="flow"), helper)
    with pytest.raises(UsageError, match=r"helper \(.*\) waits, but is not durable.*@subflow"):
        freeze(branch.coroutine)


def test_a_wait_that_surfaces_in_an_opaque_block_names_its_line() -> None:
    async def flow(make: Any) -> Any:
        with open(__file__):
            await make("a")

    branch = suspended(compile_workflow(flow, name="flow"), Leaf)
    with pytest.raises(UsageError) as caught:
        freeze(branch.coroutine)
    assert caught.value.details["line"] == flow.__code__.co_firstlineno + 2


def test_a_wait_below_something_that_is_not_durable_is_refused() -> None:
    class Around:
        def __await__(self) -> Any:
            return Leaf("a").__await__()

    async def flow() -> Any:
        await Around()

    branch = suspended(compile_workflow(flow, name="flow"))
    with pytest.raises(UsageError, match="Around, which is not durable"):
        freeze(branch.coroutine)


def test_the_largest_variables_of_a_state_are_listed() -> None:
    async def flow() -> Any:
        small, large = 1, bytes(5000)
        show = lambda: large
        await Leaf("a")
        return small, show

    branch = suspended(compile_workflow(flow, name="flow"))
    first, second, third = largest_variables(freeze(branch.coroutine), count=3)
    assert {first.variable, second.variable} == {"large", "show"}
    assert first.size > 5000 > third.size
    assert third.variable == "small"


def test_values_of_another_format_are_refused() -> None:
    data = dumps([1])
    assert loads(data) == [1]
    assert data[1] == SNAPSHOT_FORMAT
    for other in (bytes([data[0], SNAPSHOT_FORMAT + 1]) + data[2:], b"", b"x", b"\x80\x05N."):
        with pytest.raises(UsageError, match="format"):
            loads(other)


def test_a_definition_that_is_gone_is_named() -> None:
    async def flow() -> Any:
        await Leaf("a")

    definition = compile_subflow(flow, name="gone")
    data = dumps(definition)
    del definition
    with pytest.raises(UsageError, match="needs 'gone'"):
        loads(data)


def test_a_variable_that_an_expression_binds_anew_is_not_saved_before() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        while (value := await Leaf("a")) < 3:
            found.append(value)
        if await Leaf("b") and (value := 7):
            return found, value
        return found, value

    definition = compile_workflow(flow, name="flow")
    assert [sorted(point.live) for point in definition.points] == [["found"], ["found", "value"]]
