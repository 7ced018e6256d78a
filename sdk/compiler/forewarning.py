"""What would fail at a wait, told as soon as names tell: by the decorator, or at deployment.

A later wait that says nothing about which call is refused by both; a helper that waits without
being a subflow is warned of by the decorator and refused at deployment. Where names do not tell
(a helper that is passed as a value, a wait built elsewhere), the same rules refuse at the wait.
"""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator
from types import CellType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from raysume.compiler import syntax
from raysume.compiler.durability import Names, awaits_in, is_durable, reachable
from raysume.compiler.source import source_of
from raysume.durable import Durable
from raysume.errors import CompileError

if TYPE_CHECKING:
    from raysume.compiler.definitions import Definition


class UnmarkedSubflowWarning(UserWarning):
    """A workflow awaits a function that waits but is no subflow: its instances will fail there."""

    def __init__(self, message: str, error: CompileError | None = None) -> None:
        super().__init__(message)
        self.error = error
        """What a deployment of the workflow is refused with."""


_MATCHES: Final = ("match", "match_if", "match_any")


def check_reachable(definition: Definition, *, deploys: bool) -> None:
    """The definition and every durable function that it names pass their checks, now that all
    names are defined.

    Args:
        deploys: helpers that wait are refused, too; else they fail the instances that come to them.

    Raises:
        CompileError: one does not.
    """
    for error in refusals_of(definition, deploys=deploys):
        raise error


def refusals_of(definition: Definition, *, deploys: bool) -> Iterator[CompileError]:
    """What `check_reachable` refuses, at most one refusal of each function."""
    for found in reachable(definition):
        try:
            if not found.nested and (deploys or not found.is_checked):
                found.check()
                found.is_checked = True
        except CompileError as error:
            yield error
            continue
        unmarked = unmarked_subflow(found) if deploys else None
        if unmarked is not None:
            yield unmarked


# --- helpers that wait -----------------------------------------------------------


def warn_of_unmarked_subflows(definition: Definition) -> None:
    """Whoever defines a workflow that awaits a plain `async def` which waits is warned."""
    error = unmarked_subflow(definition)
    if error is not None:
        warnings.warn(UnmarkedSubflowWarning(error.message, error), stacklevel=5)


def unmarked_subflow(definition: Definition) -> CompileError | None:
    """The refusal of a plain `async def` that waits and is awaited; None when there is none."""
    node = definition.compiled.source.node
    names = Names(definition.function, node)
    for awaited, helper in _helpers(node, names):
        line = _wait_in(helper, set())
        if line is not None:
            code = helper.__code__
            return _by_rule(
                "unmarked-subflow",
                definition,
                awaited,
                f"awaits {helper.__qualname__} ({code.co_filename}:{code.co_firstlineno}), which "
                f"waits in line {line}, but is not durable: what it does cannot be saved.",
                "Decorate it with @subflow.",
            )
    return None


def _helpers(node: ast.AsyncFunctionDef, names: Names) -> Iterator[tuple[ast.Await, FunctionType]]:
    for awaited in awaits_in(node):
        if isinstance(awaited.value, ast.Call):
            called = names.value(awaited.value.func)
            if isinstance(called, FunctionType) and inspect.iscoroutinefunction(called):
                yield awaited, called


def _wait_in(helper: FunctionType, seen: set[int]) -> int | None:
    """The line of a wait in the function, or in a helper that it awaits; None without any."""
    if id(helper.__code__) in seen or not _may_wait(helper):
        return None
    seen.add(id(helper.__code__))
    try:
        node = source_of(helper, name=helper.__qualname__, trusted=True).node
    except CompileError:
        return None
    names = Names(helper, node)
    for awaited in awaits_in(node):
        if is_durable(awaited.value, names):
            return awaited.lineno
    below = (_wait_in(further, seen) for _, further in _helpers(node, names))
    return next((line for line in below if line is not None), None)


def _may_wait(helper: FunctionType) -> bool:
    """Whether the function's code names something that could wait, told without its source."""
    cells = [cell.cell_contents for cell in helper.__closure__ or () if cell != _EMPTY]
    values = [helper.__globals__.get(name) for name in helper.__code__.co_names]
    return any(map(_could_wait, (*cells, *values)))


def _could_wait(value: Any) -> bool:
    if isinstance(value, type):
        return issubclass(value, Durable)
    if isinstance(value, FunctionType) and inspect.iscoroutinefunction(value):
        return True
    is_ours = isinstance(value, ModuleType) and value.__name__.partition(".")[0] == "raysume"
    return is_ours or getattr(value, "__raysume_durable__", False) is True


_EMPTY: Final = CellType()


# --- waits without a match -------------------------------------------------------


def refuse_later_waits(definition: Definition) -> None:
    """No wait that certainly comes after another one lacks a match.

    Raises:
        CompileError: one does.
    """
    from raysume.waits import wait

    node = definition.compiled.source.node
    names = Names(definition.function, node)
    for awaited in _later(node.body, names, False):
        for value in _members(awaited.value, names):
            root, methods = _chain(value)
            if root is None or names.value(root.func) is not wait:
                continue
            if not any(name in _MATCHES for name in methods):
                raise _by_rule(
                    "later-wait-without-match",
                    definition,
                    value,
                    f"has a later wait that says nothing about which call: {ast.unparse(value)}.",
                    "Add .match(field=value) or .match_if(lambda call: ...), or .match_any() for "
                    "every call.",
                )


def _later(body: list[ast.stmt], names: Names, is_later: bool) -> Iterator[ast.Await]:
    """The awaits in front of which another wait or step certainly ended."""
    for statement in body:
        if is_later:
            parts = syntax.own_scope(statement)
            yield from (part for part in parts if isinstance(part, ast.Await))
            continue
        for block in _blocks(statement):
            yield from _later(block, names, False)
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Await):
            is_later = _certainly_waits(value.value, names)


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for part in (statement, *getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        for name in ("body", "orelse", "finalbody"):
            block: Any = getattr(part, name, None)
            if isinstance(block, list) and not isinstance(statement, syntax.NESTED_SCOPES):
                yield block


def _certainly_waits(node: ast.expr, names: Names) -> bool:
    from raysume.steps import step
    from raysume.waits import wait

    root, _ = _chain(node)
    return root is not None and names.value(root.func) in (wait, step)


def _members(node: ast.expr, names: Names) -> list[ast.expr]:
    """What is awaited: the value itself, or the members of a group."""
    from raysume.groups import all_of, any_of, group

    root, _ = _chain(node)
    if root is None or names.value(root.func) not in (all_of, any_of, group):
        return [node]
    return [inner for member in root.args for inner in _members(member, names)]


def _chain(node: ast.expr) -> tuple[ast.Call | None, list[str]]:
    """The call that a chain of methods begins with, and the methods: `wait(m).match().timeout()`."""
    methods: list[str] = []
    while isinstance(node, ast.Call):
        inner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if not isinstance(inner, ast.Call):
            return node, methods
        methods.append(node.func.attr)  # type: ignore[attr-defined]
        node = inner
    return None, methods


def _by_rule(
    rule: str, definition: Definition, node: ast.expr, says: str, remedy: str
) -> CompileError:
    file, line, column = definition.filename, node.lineno, node.col_offset + 1
    return CompileError.by_rule(
        rule,
        f"{file}:{line}:{column}: {definition.name} {says} {remedy}",
        file=file,
        line=line,
        column=column,
        remedy=remedy,
    )
