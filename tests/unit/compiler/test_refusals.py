"""What the decorator refuses: each rule with its id, place and remedy."""

# ruff: noqa: S102 - code as users may write it

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.compiler.harness import Leaf, from_text

from raysume import Container, workflow
from raysume.compiler import RULES, building, compile_subflow, compile_workflow
from raysume.compiler.statements import Statements
from raysume.errors import CompileError


def wait(name: str) -> Leaf:
    """Stands for a function that raysume marks as durable."""
    return Leaf(name)


wait.__raysume_durable__ = True  # type: ignore[attr-defined]


async def _pause() -> None:
    await Leaf("pause")


pause = compile_subflow(_pause, name="pause")


def refused(function: Callable[..., Any], rule: str) -> CompileError:
    """The refusal of the function, complete and by the expected rule."""
    with pytest.raises(CompileError) as caught:
        compile_workflow(function, name="flow")
    details = caught.value.details
    assert details["rule"] == rule
    assert details["remedy"] == RULES[rule].remedy
    assert str(caught.value).startswith(f"{details['file']}:{details['line']}:{details['column']}:")
    return caught.value


def refused_text(text: str, rule: str, **names: Any) -> CompileError:
    """The refusal of the function `flow` in the program text."""
    return refused(from_text(text, wait=wait, pause=pause, **names)["flow"], rule)


PLACES = {
    "wait-in-with": "with open('x'):\n        await wait('a')",
    "wait-in-async-with": "async with lock:\n        await wait('a').named(1)",
    "wait-in-async-for": "async for x in xs:\n        await pause()",
    "wait-in-comprehension": "return [await wait(x) for x in xs]",
    "wait-in-generator": "return list((await wait(x)) for x in xs)",
    "wait-in-handler-type": "try: pass\n    except (await wait('a')): pass",
    "wait-in-except-star": "try: pass\n    except* KeyError:\n        await wait('a')",
    "await-in-annotation": "def f(x: (await wait('a'))): pass",
}


@pytest.mark.parametrize("rule", PLACES)
def test_a_wait_is_refused_where_it_cannot_be_saved(rule: str) -> None:
    error = refused_text(f"async def flow(xs, lock):\n    {PLACES[rule]}\n", rule)
    line = linecache.getline(error.details["file"], error.details["line"])
    assert line[error.details["column"] - 1 :].startswith("await")


@pytest.mark.parametrize(
    "body",
    [
        "with a, (await wait('x')): pass",
        "with open('x') as f:\n        if f:\n            return (1, await wait('x'))",
        "async for x in xs: pass\n    else: await wait('x')",
        "return {x: 1 for x in xs if await wait(x)}",
        "return [x for y in xs for x in await wait(y)]",
    ],
)
def test_a_wait_is_refused_in_every_part_of_an_opaque_block(body: str) -> None:
    with pytest.raises(CompileError):
        compile_workflow(
            from_text(f"async def flow(xs, a):\n    {body}\n", wait=wait)["flow"], name="flow"
        )


def test_ordinary_awaits_are_allowed_in_opaque_blocks() -> None:
    async def flow(xs: Any, lock: asyncio.Lock) -> Any:
        with contextlib.nullcontext():
            await asyncio.sleep(0)
        async with lock:
            found = [await x for x in xs]
        async for x in xs:
            found.append(x)
        return found

    assert compile_workflow(flow, name="flow").points == ()


def test_a_wait_in_a_nested_subflow_is_refused_with_the_workflow() -> None:
    async def flow() -> Any:
        @subflow
        async def inner() -> None:
            with contextlib.nullcontext():
                await wait("a")

        await inner()

    refused(flow, "wait-in-with")


def subflow(function: Any) -> Any:
    """Called like the public decorator."""
    return compile_subflow(function)


def test_a_wait_that_is_known_only_later_is_refused_by_the_check_at_deployment() -> None:
    space = from_text("async def flow():\n    with a: await later('x')\n", a=None)
    definition = compile_workflow(space["flow"], name="flow")
    definition.check()
    space["later"] = wait
    with pytest.raises(CompileError, match="wait-in-with"):
        definition.check()


def test_only_an_async_function_is_compiled() -> None:
    def flow() -> None: ...

    async def generator() -> Any:
        yield 1

    refused(flow, "not-async")
    refused(generator, "generator")
    refused(functools.partial(flow), "not-async")
    refused(Leaf, "not-async")


def test_a_decorator_beneath_must_return_the_same_function() -> None:
    def wraps(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    def marks(function: Any) -> Any:
        function.marked = True
        return function

    @wraps
    async def flow() -> None: ...

    @marks
    async def marked() -> Any:
        return await Leaf("a")

    refused(flow, "decorator-beneath")
    assert (
        compile_workflow(marked, name="marked").points[0].line == marked.__code__.co_firstlineno + 2
    )


def test_code_without_source_is_refused() -> None:
    space: dict[str, Any] = {"__name__": "nowhere"}
    exec("async def flow(): pass", space)
    refused(space["flow"], "no-source")


def edit(file: str, text: str) -> None:
    """The file holds this text from now on."""
    linecache.cache[file] = (len(text), None, text.splitlines(True), "")


def test_a_file_edited_after_the_import_is_refused() -> None:
    space = from_text("async def flow(x):\n    return x + 1\n")
    edited = "async def flow(x):\n    return x + 2\n"
    edit(space["__file__"], edited)
    refused(space["flow"], "source-changed")
    moved = "\n\nasync def flow(x):\n    return x + 1\n"
    edit(space["__file__"], moved)
    refused(space["flow"], "source-changed")
    commented = "async def flow(x):\n    # better now\n    return x + 1\n"
    edit(space["__file__"], commented)
    compile_workflow(space["flow"], name="flow")


def test_the_source_of_specialised_code_is_recognised() -> None:
    space = from_text(
        "async def flow(xs):\n    n = 0\n    for x in xs: n += x\n    return n, len(xs), xs[0]\n"
    )
    for _ in range(100):
        with pytest.raises(StopIteration):
            space["flow"]([1, 2, 3]).send(None)
    compile_workflow(space["flow"], name="flow")


def test_a_workflow_inside_a_durable_function_is_refused() -> None:
    async def flow() -> Any:
        async def inner() -> None: ...

        return compile_workflow(inner, name="inner")

    definition = compile_workflow(flow, name="flow")
    with pytest.raises(CompileError, match="workflow-in-workflow"):
        definition.begin().send(None)


def nested_finally(depth: int) -> str:
    lines = ["async def flow():"]
    lines += [f"{'    ' * (n + 1)}try:" for n in range(depth)]
    lines += [f"{'    ' * (depth + 1)}pass"]
    for n in reversed(range(depth)):
        lines += [f"{'    ' * (n + 1)}finally:", f"{'    ' * (n + 2)}await wait({n})"]
    return "\n".join(lines) + "\n"


def test_too_many_nested_finallys_that_wait_are_refused() -> None:
    compile_workflow(from_text(nested_finally(9), wait=wait)["flow"], name="flow")
    refused_text(nested_finally(10), "too-deep")


def test_a_syntax_tree_that_is_too_deep_is_refused() -> None:
    lines = ["async def flow(x):", "    if x == 0: await wait(0)"]
    lines += [f"    elif x == {n}: await wait({n})" for n in range(1, 900)]
    refused_text("\n".join(lines) + "\n", "too-deep")


def test_code_that_pythons_compiler_refuses_once_lowered_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A net: no function is known whose lowered form is refused although it was not.
    def refuses(*_: object, **__: object) -> Any:
        raise SyntaxError("no such statement")

    monkeypatch.setattr(building, "build", refuses)
    assert "no such statement" in refused_text("async def flow(): pass\n", "not-compilable").message


def test_an_await_that_was_not_lifted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # A net, too: every await that Python allows is lifted, or named by a rule of its own.
    def leaves_it(_: Statements, body: list[ast.stmt]) -> list[ast.stmt]:
        return body

    monkeypatch.setattr(Statements, "block", leaves_it)
    error = refused_text("async def flow():\n    x = await wait('a')\n", "await-uncovered")
    assert error.details["line"] == 2


def test_every_rule_says_what_is_wrong_and_what_to_do() -> None:
    for rule, text in RULES.items():
        assert rule == rule.lower()
        assert text.remedy.endswith(".")
        assert not text.says.endswith(".")


def test_a_turn_is_inline_when_every_await_is_known_to_be_durable() -> None:
    async def durable() -> Any:
        await wait("a")
        return await pause()

    async def ordinary() -> Any:
        await wait("a")
        await asyncio.sleep(0)

    async def through_a_subflow() -> Any:
        await indirect()

    async def through_a_nested_one() -> Any:
        @subflow
        async def nested() -> None:
            await asyncio.sleep(0)

        await wait(nested())

    assert compile_workflow(durable, name="durable").inline
    assert not compile_workflow(ordinary, name="ordinary").inline
    assert not compile_workflow(through_a_subflow, name="through").inline
    assert not compile_workflow(through_a_nested_one, name="nested").inline


class Desk(Container):
    """Its subflows are found through `self`."""

    @workflow
    async def run(self) -> Any:
        await wait("a")
        return await self.durable()

    @subflow
    async def durable(self) -> Any:
        return await wait("b")

    @subflow
    async def ordinary(self) -> Any:
        return await asyncio.sleep(0)


class Ordinary(Desk):
    """The same, with a subflow that does something else."""

    @subflow
    async def durable(self) -> Any:
        return await self.ordinary()


def test_subflows_of_a_container_are_known_through_self() -> None:
    assert Desk.run.definition.inline
    assert not Ordinary.run.definition.inline


async def _indirect() -> None:
    await asyncio.sleep(0)


indirect = compile_subflow(_indirect, name="indirect")


def test_the_documentation_lists_every_rule() -> None:
    text = (Path(__file__).parents[3] / "docs" / "compiler.md").read_text()
    for rule, found in RULES.items():
        assert f"| `{rule}` | {found.says} | {found.remedy} |" in text
