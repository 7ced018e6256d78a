"""Awaits in expressions: order of evaluation, short circuits and spilling are Python's own."""

# ruff: noqa: B008, F821 - code as users may write it

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.compiler.harness import Leaf, both_ways, compile_workflow, run

trace: list[object] = []


@pytest.fixture(autouse=True)
def _empty_trace() -> None:
    trace.clear()


def t(value: Any) -> Any:
    trace.append(value)
    return value


class Keys:
    """Gives back what it is indexed with."""

    def __getitem__(self, key: object) -> object:
        return key


class Formatted:
    def __format__(self, spec: str) -> str:
        trace.append(f"format{spec}")
        return "R"


def traced(function: Any, answers: list[Any]) -> tuple[Any, list[object]]:
    """The result and the effects of one run that is reloaded at every wait."""
    definition = compile_workflow(function, name=function.__name__)
    live = run(definition, answers)
    effects = list(trace)
    trace.clear()
    assert run(definition, answers, reload=True) == live
    assert trace == effects
    return live, effects


def test_a_comparison_chain_stops_at_the_first_false_and_evaluates_each_operand_once() -> None:
    async def flow() -> Any:
        return [t(1) < (await Leaf("a")) < t(3), t(9) < (await Leaf("b")) < (await Leaf("never"))]

    assert traced(flow, [2, 1]) == ([True, False], [1, 3, 9])


def test_a_dict_is_evaluated_pair_by_pair_and_expansions_are_merged_in_their_place() -> None:
    async def flow() -> Any:
        return {t("k"): t("v"), t("k2"): await Leaf("a"), **t({"z": 1}), "w": await Leaf("b")}

    result, effects = traced(flow, ["A", "B"])
    assert result == {"k": "v", "k2": "A", "z": 1, "w": "B"}
    assert effects == ["k", "v", "k2", {"z": 1}]


def test_the_value_of_an_assignment_is_evaluated_before_its_targets() -> None:
    async def flow() -> Any:
        found: dict[Any, Any] = {}
        found[t("i")] = t(await Leaf("value"))
        found[await Leaf("key")] = await Leaf("later value")
        return found

    result, effects = traced(flow, [1, "v", "k"])
    assert result == {"i": 1, "k": "v"}
    assert effects == [1, "i"]


def test_targets_of_an_unpacking_may_await() -> None:
    async def flow() -> Any:
        found: dict[Any, Any] = {}
        first, found[await Leaf("k")], (*rest, found["last"]) = 1, 2, (3, 4, 5)
        x = found["x"] = found[await Leaf("k2")] = "same"
        return first, found, rest, x

    result, _ = traced(flow, ["k", "k2"])
    assert result == (1, {"k": 2, "last": 5, "x": "same", "k2": "same"}, [3, 4], "same")


def test_an_augmented_assignment_loads_its_old_value_before_the_wait() -> None:
    async def flow() -> Any:
        found: dict[Any, Any] = {"x": 1}
        found[t("x")] += [found.__setitem__("x", 50), await Leaf("a")][1]  # type: ignore[func-returns-value]
        items: list[int] = []
        same = items
        items += [await Leaf("b")]
        found["y"] = 2
        found[await Leaf("key")] *= await Leaf("factor")
        return found, same, items is same

    result, effects = traced(flow, [5, 1, "y", 10])
    assert result == ({"x": 6, "y": 20}, [1], True)
    assert effects == ["x"]


def test_an_augmented_slice_keeps_its_bounds() -> None:
    async def flow() -> Any:
        items = [0, 1, 2, 3]
        items[t(1) : t(3)] += [await Leaf("a")]
        return items

    assert traced(flow, [9]) == ([0, 1, 2, 9, 3], [1, 3])


def test_a_walrus_binds_in_the_function() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        while (x := await Leaf("a")) != 0:
            found.append(x)
        if (y := await Leaf("b")) > 1 and (z := y + await Leaf("c")):
            return found, x, y, z
        return None

    assert traced(flow, [1, 2, 0, 5, 6])[0] == ([1, 2], 0, 5, 11)


def test_expanded_arguments_are_taken_when_they_are_evaluated() -> None:
    def f(*values: Any, **named: Any) -> Any:
        return values, named

    async def flow() -> Any:
        items = [1, 2]
        return f(*items, items.append(99), await Leaf("a"), q=t("q"))  # type: ignore[func-returns-value]

    assert traced(flow, [1])[0] == ((1, 2, None, 1), {"q": "q"})


def test_a_method_is_looked_up_before_its_arguments_wait() -> None:
    async def flow() -> Any:
        items: list[Any] = []
        items.append(await Leaf("a"))
        items.extend([await Leaf("b")])
        return items

    assert traced(flow, [1, 2])[0] == [1, 2]


def test_parts_of_an_f_string_are_formatted_in_order() -> None:
    async def flow() -> Any:
        return f"{Formatted():>3}{await Leaf('a')!r:>{await Leaf('width')}}{t('end')}"

    assert traced(flow, ["s", 6]) == ("R   's'end", ["format>3", "end"])


def test_conditional_and_boolean_operands_are_evaluated_only_when_needed() -> None:
    async def flow() -> Any:
        first = (await Leaf("no")) if t(0) else t("else")
        second = t(2) and await Leaf("a")
        third = t(0) and await Leaf("never")
        fourth = t("yes") or await Leaf("never")
        return first, second, third, fourth, not await Leaf("b")

    assert traced(flow, [7, 0]) == (("else", 7, 0, "yes", True), [0, "else", 2, 0, "yes"])


def test_slices_and_indexes_are_spilled() -> None:
    async def flow() -> Any:
        items = list(range(9))
        return items[t(1) : await Leaf("a")], Keys()[t(1) : 2, await Leaf("b")]

    assert traced(flow, [3, 4])[0] == ([1, 2], (slice(1, 2), 4))


def test_the_first_iterable_of_a_comprehension_may_wait() -> None:
    async def flow() -> Any:
        found = [x * 2 for x in await Leaf("a")]
        return found, sum(x for x in await Leaf("b")), dict.fromkeys(await Leaf("c"), 1)

    assert traced(flow, [[1, 2], [3], "k"])[0] == ([2, 4], 3, {"k": 1})


def test_defaults_and_decorators_of_nested_functions_may_wait() -> None:
    async def flow() -> Any:
        def marked(mark: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
            return lambda function: lambda: (mark, function())

        @marked(await Leaf("mark"))
        def f(x: Any = await Leaf("x"), *, y: Any = await Leaf("y")) -> Any:
            return x, y

        g: Any = lambda z=await Leaf("z"): z
        return f(), g()

    assert traced(flow, [1, 2, 3, 4])[0] == ((1, (2, 3)), 4)


def test_an_assertion_evaluates_its_message_only_when_it_fails() -> None:
    async def flow() -> Any:
        assert await Leaf("a"), await Leaf("message")
        try:
            assert await Leaf("b"), await Leaf("message")
        except AssertionError as error:
            return error.args

    assert traced(flow, [1, 0, "failed"])[0] == ("failed",)


def test_a_raise_evaluates_the_exception_and_then_its_cause() -> None:
    async def flow() -> Any:
        try:
            raise ValueError(await Leaf("a")) from KeyError(await Leaf("b"))
        except ValueError as error:
            return error.args, repr(error.__cause__)

    assert traced(flow, [1, 2])[0] == ((1,), "KeyError(2)")


def test_a_deleted_target_may_wait() -> None:
    async def flow() -> Any:
        found, x = {"k": 1, "z": 2}, 1
        del found[await Leaf("k")], x
        with contextlib.suppress(NameError):
            found["x"] = x  # type: ignore[misc]
        return found

    assert traced(flow, ["k"])[0] == {"z": 2}


def test_annotated_assignments_are_assignments() -> None:
    async def flow() -> Any:
        x: int = await Leaf("a")
        y: int
        z: int = 3

        def inner() -> int:
            return z + x

        y = inner()
        return y

    assert traced(flow, [4])[0] == 7


def test_a_returned_tuple_is_evaluated_in_order() -> None:
    async def flow() -> Any:
        return t("a"), await Leaf("a"), t("b")

    assert traced(flow, [1]) == (("a", 1, "b"), ["a", "b"])


def test_builtins_shadowed_by_the_user_do_not_disturb_lowered_code() -> None:
    async def flow() -> Any:
        iter = next = BaseException = AssertionError = slice = None
        found: list[Any] = []
        for x in [1, await Leaf("a")]:
            try:
                found.append(x + await Leaf("b"))
            finally:
                found.append(await Leaf("c"))
        return found, iter, next, BaseException, AssertionError, slice

    assert both_ways(flow, [2, 10, "f", 20, "g"])[0] == [11, "f", 22, "g"]
