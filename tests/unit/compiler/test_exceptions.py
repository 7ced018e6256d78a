"""Exceptions across waits: handlers, `finally`, chains, and what is thrown into a wait."""

# ruff: noqa: F821 - code as users may write it

from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.unit.compiler.harness import Leaf, both_ways, reloaded, run, suspended

from raysume.compiler import compile_workflow, dumps, loads, traceback_text
from raysume.errors import StepFailed


class Boom(Exception):
    pass


class Two(Exception):
    """Its arguments are not those of its `__init__`."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first}-{second}")
        self.first = first


def test_an_exception_thrown_at_a_wait_reaches_its_handler() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        try:
            await Leaf("a")
            found.append("not reached")
        except Boom as error:
            found.append(str(error))
            found.append(await Leaf("b"))
        finally:
            found.append(await Leaf("c"))
        return found

    assert both_ways(flow, [Boom("thrown"), 1, 2]) == ["thrown", 1, 2]


def test_a_bare_raise_after_a_wait_raises_the_handled_exception_with_its_context() -> None:
    async def flow() -> Any:
        try:
            try:
                try:
                    raise KeyError("k")
                except KeyError:
                    raise Boom("x") from None
            except Boom:
                await Leaf("a")
                raise
        except Boom as error:
            return repr(error), repr(error.__context__), error.__suppress_context__

    assert both_ways(flow, [1]) == ("Boom('x')", "KeyError('k')", True)


def test_an_exception_raised_after_a_wait_in_a_handler_has_the_handled_one_as_context() -> None:
    async def flow() -> Any:
        try:
            try:
                raise KeyError("k")
            except KeyError:
                await Leaf("a")
                raise Boom("x")  # noqa: B904
        except Boom as error:
            return repr(error.__context__), repr(error.__cause__)

    assert both_ways(flow, [1]) == ("KeyError('k')", "None")


def test_the_name_of_a_handler_may_be_bound_again_or_deleted() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        try:
            raise Boom("x")
        except Boom as error:
            error = str(error)  # type: ignore[assignment]
            found.append((await Leaf("a"), error))
        try:
            raise Boom("y")
        except Boom as error:
            del error
            await Leaf("b")
            try:
                error  # noqa: B018  # pyright: ignore[reportUnboundVariable, reportUnusedExpression]
            except UnboundLocalError:
                found.append("unbound")
        try:
            error  # noqa: B018  # pyright: ignore[reportUnboundVariable, reportUnusedExpression]
        except UnboundLocalError:
            found.append("unbound behind")
        return found

    assert both_ways(flow, [1, 2]) == [(1, "x"), "unbound", "unbound behind"]


def test_the_types_of_a_handler_are_evaluated_only_when_it_is_reached() -> None:
    async def flow() -> Any:
        kinds: Any = (Boom,)
        try:
            raise Boom("x")
        except kinds:
            kinds = ()
            return await Leaf("a"), sys.exc_info()[0] is Boom

    assert both_ways(flow, [1]) == (1, True)


def test_a_finally_that_waits_goes_on_with_what_it_interrupted() -> None:
    async def flow(how: str) -> Any:
        found: list[Any] = []
        for _ in range(3):
            try:
                found.append(await Leaf("body"))
                if how == "return":
                    return found
                if how == "break":
                    break
                if how == "continue":
                    continue
                if how == "raise":
                    raise Boom("x")
            finally:
                found.append(await Leaf("finally"))
                found.append(type(sys.exc_info()[1]).__name__)
        found.append("behind")
        return found

    for how, expected, answers in (
        ("return", [1, 2, "NoneType"], [1, 2]),
        ("break", [1, 2, "NoneType", "behind"], [1, 2]),
        ("continue", [1, 2, "NoneType"] * 3 + ["behind"], [1, 2] * 3),
    ):
        definition = compile_workflow(flow, name="flow")
        assert run(definition, answers, how) == expected
        assert run(definition, answers, how, reload=True) == expected
    with pytest.raises(Boom):
        run(definition, [1, 2], "raise", reload=True)


def test_a_finally_may_replace_what_it_interrupted() -> None:
    async def flow() -> Any:
        while True:
            try:
                try:
                    return await Leaf("a")
                finally:
                    await Leaf("inner")
                    raise Boom("replaces the return")
            except Boom:
                await Leaf("handler")
            finally:
                await Leaf("outer")
                break  # noqa: B012
        return "behind"

    assert both_ways(flow, [1, 2, 3, 4]) == "behind"


def test_else_runs_only_when_nothing_was_raised() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        for value in (0, 1):
            try:
                if value:
                    raise Boom
                await Leaf("body")
            except Boom:
                found.append(("except", await Leaf("a")))
            else:
                found.append(("else", await Leaf("b")))
        return found

    assert both_ways(flow, [0, 1, 2]) == [("else", 1), ("except", 2)]


def test_the_body_of_a_try_with_exception_groups_may_wait() -> None:
    async def flow() -> Any:
        found: list[Any] = []
        try:
            await Leaf("a")
        except* Boom as group:
            found.append(len(group.exceptions))
        except* KeyError:
            found.append("key")
        else:
            found.append(await Leaf("else"))
        finally:
            found.append(await Leaf("finally"))
        return found

    assert both_ways(flow, [Boom("x"), 1]) == [1, 1]
    assert both_ways(flow, [0, 1, 2]) == [1, 2]


def test_a_saved_exception_keeps_its_chain_attributes_and_identity() -> None:
    error = Two(1, 2)
    error.extra = [1]  # type: ignore[attr-defined]
    error.__cause__ = KeyError("cause")
    error.__context__ = error.__cause__
    again, same = loads(dumps((error, error)))
    assert again is same
    assert (type(again), again.args, again.first, again.extra) == (Two, ("1-2",), 1, [1])
    assert repr(again.__cause__) == "KeyError('cause')"
    assert again.__context__ is again.__cause__
    assert again.__suppress_context__ is True


def test_exceptions_of_the_standard_library_keep_their_fields() -> None:
    with pytest.raises(OSError, match="/nowhere/at/all") as caught:
        open("/nowhere/at/all")  # noqa: SIM115
    again = loads(dumps(caught.value))
    assert (again.errno, again.filename) == (caught.value.errno, "/nowhere/at/all")
    stop = loads(dumps(StopIteration(7)))
    assert stop.value == 7
    decode = loads(dumps(UnicodeDecodeError("utf-8", b"x", 0, 1, "why")))
    assert decode.reason == "why"
    missing = loads(dumps(ImportError("no", name="n", path="p")))
    assert (missing.name, missing.path, missing.msg) == ("n", "p", "no")
    group = loads(dumps(ExceptionGroup("g", [ValueError(1), Two(1, 2)])))
    assert [type(each) for each in group.exceptions] == [ValueError, Two]


def test_errors_of_our_own_keep_their_cause_and_details() -> None:
    error = StepFailed("failed", step="s")
    error.__cause__ = ValueError(1)
    again = loads(dumps(error))
    assert (again.message, again.details, again.code) == ("failed", {"step": "s"}, "step-failed")
    assert repr(again.__cause__) == "ValueError(1)"


def test_an_exception_that_is_its_own_context_is_saved() -> None:
    error = ValueError(1)
    error.__context__ = KeyError(2)
    error.__context__.__cause__ = error
    again = loads(dumps(error))
    assert again.__context__.__cause__ is again


def test_a_saved_exception_keeps_its_traceback_as_text() -> None:
    async def flow() -> Any:
        try:
            raise Boom("x")
        except Boom as error:
            await Leaf("a")
            return traceback_text(error)

    branch = reloaded(suspended(compile_workflow(flow, name="flow")))
    branch.give("send", 1)
    assert 'raise Boom("x")' in branch.result


def test_a_traceback_shows_the_users_lines_only_once_each() -> None:
    async def flow() -> Any:
        x = await Leaf("a")
        return 1 / x

    for reload in (False, True):
        branch = suspended(compile_workflow(flow, name="flow"))
        if reload:
            branch = reloaded(branch)
        branch.give("send", 0)
        text = traceback_text(branch.error)  # type: ignore[arg-type]
        assert text.count("return 1 / x") == 1
        assert "in flow" in text
        assert __file__ in text


def test_an_exception_thrown_at_a_wait_is_traced_to_the_line_of_the_wait() -> None:
    async def flow() -> Any:
        x = 1
        return x + await Leaf("a")

    branch = reloaded(suspended(compile_workflow(flow, name="flow")))
    branch.give("throw", Boom("x"))
    assert isinstance(branch.error, Boom)
    assert 'return x + await Leaf("a")' in traceback_text(branch.error)
