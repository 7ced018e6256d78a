"""Awaits in statements: loops, branches, match, and what surrounds them."""

# ruff: noqa: B007 - code as users may write it

from __future__ import annotations

import contextlib
from typing import Any

from tests.unit.compiler.harness import Leaf, both_ways


def test_a_for_loop_goes_on_with_the_next_item() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        for index, name in enumerate(["a", "b", "c"]):
            if name == "b":
                continue
            found.append((index, await Leaf(name)))
        found.append("else")
        return found

    assert both_ways(flow, [1, 2]) == [(0, 1), (2, 2), "else"]


def test_a_broken_loop_skips_its_else() -> None:
    async def flow() -> Any:
        for x in range(5):
            if await Leaf(x) == "stop":
                break
        else:
            return "else"
        return x

    assert both_ways(flow, [0, 0, "stop"]) == 2


def test_only_the_else_of_a_loop_may_wait() -> None:
    async def flow() -> Any:
        for x in (y for y in range(3)):
            if x == 7:
                break
        else:
            return await Leaf("else"), x  # pyright: ignore[reportPossiblyUnboundVariable]
        return None

    assert both_ways(flow, [1]) == (1, 2)


def test_a_while_loop_that_waits_in_its_test_keeps_its_else() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        while (await Leaf("test")) > 0:
            found.append(await Leaf("body"))
            if found[-1] == "continue":
                continue
            if found[-1] == "break":
                break
        else:
            found.append("else")
        return found

    assert both_ways(flow, [1, "x", 1, "continue", 0]) == ["x", "continue", "else"]
    assert both_ways(flow, [1, "break"]) == ["break"]


def test_loops_over_dictionaries_sets_and_zips_are_saved() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        for key, value in {"a": 1, "b": 2}.items():
            for left, right in zip([value], {3}, strict=True):
                found.append((key, left, right, await Leaf("x")))
        return found

    assert both_ways(flow, [1, 2]) == [("a", 1, 3, 1), ("b", 2, 3, 2)]


def test_the_target_of_a_loop_may_wait() -> None:
    async def flow() -> Any:
        found: dict[Any, int] = {}
        for found[await Leaf("key")] in (1, 2):
            pass
        return found

    assert both_ways(flow, ["a", "b"]) == {"a": 1, "b": 2}


def test_match_chooses_the_case_before_its_body_waits() -> None:
    async def flow() -> Any:
        match await Leaf("subject"):
            case [first, *rest]:
                return first, rest, await Leaf("list")
            case {"kind": str(kind), **others}:
                return kind, others, await Leaf("dict")
            case int(number) | float(number) if number > 3:
                return number, await Leaf("large")
            case _:
                return "nothing"

    assert both_ways(flow, [[1, 2], "x"]) == (1, [2], "x")
    assert both_ways(flow, [{"kind": "k", "o": 1}, "y"]) == ("k", {"o": 1}, "y")
    assert both_ways(flow, [4, "z"]) == (4, "z")
    assert both_ways(flow, [2]) == "nothing"


def test_guards_of_match_wait_in_turn() -> None:
    async def flow() -> Any:
        match await Leaf("subject"):
            case 1:
                return "one"
            case x if (await Leaf("guard")) > 0:
                return x, await Leaf("guarded")
            case [x, y] if (await Leaf("second guard")) > 0:
                return x, y
            case _:
                return "rest"

    assert both_ways(flow, [1]) == "one"
    assert both_ways(flow, [2, 1, "a"]) == (2, "a")
    assert both_ways(flow, [[3, 4], 0, 1]) == (3, 4)
    assert both_ways(flow, [5, 0]) == "rest"


def test_conditions_are_evaluated_once() -> None:
    async def flow() -> Any:
        asked: list[bool] = []

        def ask(value: bool) -> bool:
            asked.append(value)
            return value

        if ask(False):
            await Leaf("never")
        elif ask(True):
            await Leaf("a")
        else:
            await Leaf("never")
        return asked

    assert both_ways(flow, [1]) == [False, True]


def test_opaque_blocks_run_between_waits() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        with contextlib.suppress(KeyError):
            found.append(1)
            raise KeyError
        found.append(await Leaf("a"))
        with contextlib.nullcontext(await Leaf("b")) as value:
            found.append(value)
        return found

    assert both_ways(flow, [2, 3]) == [1, 2, 3]


def test_imports_and_globals_inside_are_kept() -> None:
    async def flow() -> Any:
        import json
        from math import floor

        global _counted
        _counted = 1
        await Leaf("a")
        _counted += 1
        return json.dumps(floor(1.5)), _counted

    assert both_ways(flow, [1]) == ("1", 2)


_counted = 0


def test_a_variable_that_is_not_bound_yet_stays_unbound() -> None:
    async def flow() -> Any:
        if await Leaf("a"):
            value = 1
        await Leaf("b")
        try:
            return value  # pyright: ignore[reportPossiblyUnboundVariable]
        except UnboundLocalError:
            return "unbound"

    assert both_ways(flow, [0, 0]) == "unbound"
    assert both_ways(flow, [1, 0]) == 1


def test_locals_shows_only_the_users_names() -> None:
    async def flow() -> Any:
        x = 1
        for y in [2]:  # pyright: ignore[reportUnusedVariable]
            z = await Leaf("a")  # pyright: ignore[reportUnusedVariable]
            w = x
        del w
        return sorted(locals()), sorted(vars()), dir(), eval("z + y")

    names = ["x", "y", "z"]
    assert both_ways(flow, [3]) == (names, names, names, 5)
