"""Suspended coroutines: looking at them, dropping them, entering them again."""

# ruff: noqa: PLC3002 - code as users may write it

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from tests.unit.compiler.harness import Leaf, run, suspended

from raysume.compiler import (
    SubflowCall,
    compile_subflow,
    compile_workflow,
    definitions_scope,
    dumps,
    frames_of,
    freeze,
    leaf_of,
    loads,
    thaw,
)
from raysume.durable import Durable, turn_scope
from raysume.errors import Cancelled, UsageError


async def _inner(name: str) -> Any:
    secret = name.upper()
    return await Leaf(name), secret


inner = compile_subflow(_inner, name="inner")


async def _outer(name: str) -> Any:
    count = 1
    add: Callable[[], int] = lambda: count
    result = await inner(name)
    return result, add()


outer = compile_workflow(_outer, name="outer")


def test_frames_show_the_users_variables_from_the_outermost_inwards() -> None:
    branch = suspended(outer, "x")
    for where in (
        branch.coroutine,
        freeze(branch.coroutine),
        loads(dumps(freeze(branch.coroutine))),
    ):
        first, second = frames_of(where)
        assert (first.definition, second.definition) == ("outer", "inner")
        assert (first.file, second.file) == (__file__, __file__)
        assert first.line == _outer.__code__.co_firstlineno + 3
        assert second.line == _inner.__code__.co_firstlineno + 2
        assert sorted(first.locals) == ["add", "count"]
        assert first.locals["count"] == 1
        assert second.locals == {"secret": "X"}
        assert (first.point, second.point) == (1, 1)


def test_a_thawed_coroutine_yields_the_very_leaf_first_and_runs_no_user_code() -> None:
    ran: list[str] = []

    async def flow() -> Any:
        ran.append("before")
        for _ in range(2):
            try:
                ran.append("body")
                await Leaf("a")
            finally:
                ran.append("finally")
        return ran

    definition = compile_workflow(flow, name="flow")
    coroutine = definition.begin()
    leaf = coroutine.send(None)
    frozen = freeze(coroutine)
    coroutine.close()
    assert frozen.leaf is leaf
    thawed = thaw(frozen)
    assert ran == ["before", "body"]
    assert thawed.send(None) is leaf
    assert leaf_of(thawed) is leaf
    assert ran == ["before", "body"]
    assert freeze(thawed).leaf is leaf
    thawed.close()


def test_dropping_a_suspended_coroutine_runs_no_user_code() -> None:
    ran: list[object] = []

    async def flow() -> Any:
        try:
            try:
                await inner("x")
            except BaseException as error:
                ran.append(error)
            finally:
                ran.append("finally")
                await Leaf("never")
        except:  # noqa: E722
            ran.append("bare")
        finally:
            ran.append("outer finally")

    definition = compile_workflow(flow, name="flow")
    closed = definition.begin()
    closed.send(None)
    closed.close()
    collected = definition.begin()
    collected.send(None)
    del collected
    gc.collect()
    in_handler = definition.begin()
    in_handler.send(None)
    assert in_handler.throw(KeyError("k")).name == "never"
    ran.clear()
    thawed = thaw(freeze(in_handler))
    thawed.send(None)
    for coroutine in (thawed, in_handler):
        coroutine.close()
    assert ran == []


def test_cancelling_runs_finally_blocks_but_not_handlers_of_exceptions() -> None:
    ran: list[str] = []

    async def flow() -> Any:
        try:
            try:
                await Leaf("a")
            except Exception:
                ran.append("swallowed")
        finally:
            ran.append("finally")
            ran.append(await Leaf("in finally"))

    coroutine = compile_workflow(flow, name="flow").begin()
    coroutine.send(None)
    assert coroutine.throw(Cancelled()).name == "in finally"
    again = thaw(freeze(coroutine))
    coroutine.close()
    again.send(None)
    with pytest.raises(Cancelled):
        again.send("done")
    assert ran == ["finally", "done"]


def test_ordinary_awaits_pass_through_to_the_event_loop() -> None:
    async def flow() -> Any:
        await asyncio.sleep(0)
        first = await asyncio.to_thread(lambda: 1)
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        except TimeoutError:
            return first, "timeout"

    definition = compile_workflow(flow, name="flow")
    assert asyncio.run(definition.begin()) == (1, "timeout")


def test_a_coroutine_at_an_ordinary_await_cannot_be_saved() -> None:
    async def flow() -> Any:
        await asyncio.sleep(0)

    coroutine = compile_workflow(flow, name="flow").begin()
    with pytest.raises(UsageError, match="not suspended"):
        freeze(coroutine)
    coroutine.send(None)
    assert leaf_of(coroutine) is None
    with pytest.raises(UsageError, match="sleep"):
        freeze(coroutine)
    coroutine.close()


def test_debuggers_and_coverage_see_the_users_lines() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        for x in range(2):
            try:
                found.append(await Leaf(x))
            finally:
                found.append(x)
        return found

    first = flow.__code__.co_firstlineno
    definition = compile_workflow(flow, name="flow")
    lines: set[int] = set()

    def trace(frame: Any, event: str, _: object) -> Any:
        if frame.f_code is definition.compiled.code and event == "line":
            lines.add(frame.f_lineno - first)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run(definition, [5, 6], reload=True)
    finally:
        sys.settrace(before)
    assert lines - {0} == {1, 2, 3, 4, 6, 7}


class Turn:
    """What a subflow's entry is reported to."""

    task: asyncio.Task[Any] | None = None
    instance = None
    trace: str | None = None

    def __init__(self) -> None:
        self.names: list[str] = []

    def entered(self, name: str, _coroutine: object) -> None:
        self.names.append(name)

    def has_passed(self, moment: datetime) -> bool:
        raise NotImplementedError(moment)

    def publish(self, call: Any) -> None:
        raise NotImplementedError


def test_the_turn_hears_of_every_subflow_that_is_entered_but_not_of_loaded_ones() -> None:
    turn = Turn()
    with turn_scope(turn):
        branch = suspended(outer, "x")
        assert turn.names == ["inner"]
        again = thaw(freeze(branch.coroutine))
        again.send(None)
    assert turn.names == ["inner"]
    again.close()


def test_a_subflow_awaited_outside_a_turn_is_refused() -> None:
    async def main() -> None:
        await inner("x")

    with pytest.raises(UsageError, match="a subflow was awaited outside"):
        asyncio.run(main())


def test_a_subflow_given_to_asyncio_is_refused() -> None:
    async def main() -> None:
        turn = Turn()
        turn.task = asyncio.current_task()
        with turn_scope(turn):
            await asyncio.gather(inner("x"))

    with pytest.raises(UsageError, match="handed to asyncio"):
        asyncio.run(main())


def test_calling_a_subflow_gives_a_value_and_checks_its_arguments() -> None:
    call = inner("x")
    assert isinstance(call, SubflowCall)
    assert isinstance(call, Durable)
    again = loads(dumps(call))
    assert (again.definition, again.args, again.kwargs) == (inner, ("x",), {})
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        inner()
    with pytest.raises(TypeError, match="unexpected keyword"):
        inner("x", other=1)


def test_all_kinds_of_parameters_are_bound() -> None:
    async def flow(a: int, /, b: int, *rest: int, c: int, d: int = 4, **more: int) -> Any:
        await Leaf("a")
        return a, b, rest, c, d, more, (lambda: (b, rest))()

    definition = compile_workflow(flow, name="flow")
    call = definition(1, 2, 3, c=5, e=6)
    coroutine = call.begin()
    coroutine.send(None)
    again = thaw(loads(dumps(freeze(coroutine))))
    coroutine.close()
    again.send(None)
    with pytest.raises(StopIteration) as stop:
        again.send(0)
    assert stop.value.value == (1, 2, (3,), 5, 4, {"e": 6}, (2, (3,)))


def test_deep_recursion_is_saved_as_a_flat_list_of_frames() -> None:
    async def deep(n: int) -> Any:
        if n == 0:
            return await Leaf("bottom")
        return 1 + await definition(n - 1)

    definition = compile_workflow(deep, name="deep")
    depth = sys.getrecursionlimit() // 4
    assert run(definition, [0], depth, reload=True) == depth


def test_definitions_of_a_scope_are_found_before_those_of_the_process() -> None:
    def make(version: int) -> Any:
        async def flow() -> Any:
            answer = await Leaf("a")
            return version, answer

        return compile_workflow(flow, name="flow")

    old, new = make(1), make(2)
    data = dumps(freeze_at_start(old))
    assert finish(data) == (2, "x")
    with definitions_scope({"flow": old}):
        assert finish(data) == (1, "x")
        with definitions_scope({"flow": new}):
            assert finish(data) == (2, "x")


def freeze_at_start(definition: Any) -> Any:
    coroutine = definition.begin()
    coroutine.send(None)
    frozen = freeze(coroutine)
    coroutine.close()
    return frozen


def finish(data: bytes) -> Any:
    coroutine = thaw(loads(data))
    coroutine.send(None)
    with pytest.raises(StopIteration) as stop:
        coroutine.send("x")
    return stop.value.value


def test_a_definition_describes_its_function() -> None:
    assert (outer.name, outer.kind, inner.kind) == ("outer", "workflow", "subflow")
    assert (outer.filename, outer.first_line) == (__file__, _outer.__code__.co_firstlineno)
    assert list(outer.signature.parameters) == ["name"]
    assert outer.function is _outer
    [point] = outer.points
    assert (point.index, point.line) == (1, outer.first_line + 3)
    assert loads(dumps(outer)) is outer
