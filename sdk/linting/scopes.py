"""The functions that a workflow consists of, as they are written: itself, its subflows, and the
plain functions that it names, in which waits may be built."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import CellType, CodeType, FunctionType
from typing import Any

from raysume.compiler import syntax
from raysume.compiler.awaiting import is_library
from raysume.compiler.definitions import Definition
from raysume.compiler.durability import Names, is_durable, local_names, reachable
from raysume.compiler.preparation import nested_functions
from raysume.compiler.source import AnyDef, definition_in_file, nested_codes
from raysume.workflows import Workflow

_CONDITIONAL = (ast.If, ast.IfExp, ast.Match, ast.For, ast.AsyncFor, ast.BoolOp, ast.ExceptHandler)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_LOOPS = (ast.While, ast.For, ast.AsyncFor)


@dataclass(slots=True, kw_only=True)
class Scope:
    """One function, with the names that it sees."""

    function: Any
    """A FunctionType."""
    definition: Definition | None
    """None: a plain function."""
    node: AnyDef
    names: Names
    owner: type | None
    """The class that `self` is an object of."""
    file: str
    starts: bool
    """Whether its first wait may be a standing one, whose calls start instances."""
    parents: dict[int, ast.AST] = field(default_factory=dict[int, ast.AST])
    """By id of a node: the node that it stands in."""

    def __post_init__(self) -> None:
        for part in syntax.everything_below(self.node):
            for child in syntax.children(part):
                self.parents[id(child)] = part

    def around(self, node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """(what the node stands in, the part of it that the node is or is below of), from within."""
        while id(node) in self.parents:
            outer = self.parents[id(node)]
            yield outer, node
            node = outer

    def is_in_loop(self, node: ast.AST) -> bool:
        """Whether the node may be evaluated again and again by one call of its function."""
        for outer, inner in self.around(node):
            if isinstance(outer, _FUNCTIONS):
                return False
            if isinstance(outer, _LOOPS) and inner not in outer.orelse:
                return isinstance(outer, ast.While) or inner is not outer.iter
        return False

    def is_repeated(self, node: ast.AST) -> bool:
        """Whether a wait at the node is, or becomes, another one than the first."""
        return self.is_in_loop(node) or self.comes_behind_wait(node)

    def comes_behind_wait(self, node: ast.AST) -> bool:
        """Whether the instance certainly waited before the node is evaluated."""
        for outer, inner in self.around(node):
            if isinstance(outer, ast.AsyncFunctionDef) and outer is not self.node:
                return True  # a nested subflow; what its first await is for is not looked into
            for block in _blocks_of(outer):
                if inner in block and self._waits_in(block[: block.index(inner)]):
                    return True
        return False

    def _waits_in(self, block: Iterable[ast.AST], seen: frozenset[int] = frozenset()) -> bool:
        return any(self._certainly_waits(statement, seen) for statement in block)

    def _certainly_waits(self, node: ast.AST, seen: frozenset[int]) -> bool:
        """Whether the instance is suspended whenever the node is evaluated."""
        if isinstance(node, (*_CONDITIONAL, *_FUNCTIONS, ast.ClassDef)):
            return False
        if isinstance(node, ast.While) and not isinstance(node.test, ast.Constant):
            return False
        if isinstance(node, ast.Await) and is_durable(node.value, self.names):
            called = self.value(node.value.func) if isinstance(node.value, ast.Call) else None
            if not isinstance(called, Definition):
                return True
            # a subflow may come to its end without waiting
            if id(called) in seen:
                return False
            inside = durable_scope(called, self.owner, starts=False)
            return inside._waits_in(inside.node.body, seen | {id(called)})
        return any(self._certainly_waits(child, seen) for child in syntax.children(node))

    def value(self, node: ast.expr) -> Any:
        """What a name or dotted name is; UNKNOWN when that is not certain."""
        return self.names.value(node)

    def is_local(self, name: str) -> bool:
        """Whether the name is a variable of the function: a parameter, or bound in it."""
        return name in local_names(self.node)

    def function_of(self, node: ast.Lambda) -> FunctionType | None:
        """The lambda as it is when it is evaluated, over empty cells; None when it is not found."""
        code = self._code_of(node)
        if code is None:
            return None
        cells = tuple(CellType() for _ in code.co_freevars)
        defaults: tuple[Any, ...] = tuple(None for _ in node.args.defaults)
        made = FunctionType(code, self.function.__globals__, "<lambda>", defaults, cells)
        made.__qualname__ = f"{self.function.__qualname__}.<locals>.<lambda>"
        return made

    def _code_of(self, node: ast.Lambda) -> CodeType | None:
        if self.definition is not None:
            for ordinal, inner in enumerate(nested_functions(self.node)):
                if inner is node:
                    return self.definition.compiled.nested[ordinal]
            return None
        found = [
            code
            for code in nested_codes(self.function.__code__)
            if code.co_name == "<lambda>" and code.co_firstlineno == node.lineno
        ]
        return found[0] if len(found) == 1 else None


def _blocks_of(node: ast.AST) -> Iterator[list[ast.AST]]:
    for name in ("body", "orelse", "finalbody"):
        block: Any = getattr(node, name, None)
        if isinstance(block, list):
            yield block
    if isinstance(node, ast.Try) and not isinstance(node, ast.TryStar):
        # behind the body of a `try`, whatever became of it, its waits were made
        yield [*node.body, *node.orelse, *node.finalbody]
        for handler in node.handlers:
            yield [*node.body, handler]


def scopes_of(workflow: Workflow[..., Any]) -> list[Scope]:
    """Every function that the workflow consists of, each once."""
    is_started = workflow.has_parameters or workflow.timetable is not None
    first = set[int]() if is_started else _first_functions(workflow)
    scopes: list[Scope] = []
    seen: set[int] = set()
    for definition in reachable(workflow.definition):
        starts = id(definition.function) in first
        scopes.append(durable_scope(definition, workflow.owner, starts=starts))
        seen.add(id(definition.function.__code__))
    for scope in scopes:  # which grows meanwhile
        for helper in _helpers(scope):
            if id(helper.__code__) not in seen:
                seen.add(id(helper.__code__))
                node = definition_in_file(helper)
                if node is not None:
                    scopes.append(_plain_scope(helper, node, starts=id(helper) in first))
    return scopes


def durable_scope(definition: Definition, owner: type | None, *, starts: bool) -> Scope:
    """The scope of a workflow or subflow.

    Args:
        owner: the class that `self` is an object of, where the definition does not know it.
    """
    node, owner = definition.compiled.source.node, definition.owner or owner
    return Scope(
        function=definition.function,
        definition=definition,
        node=node,
        names=Names(definition.function, node, owner),
        owner=owner,
        file=definition.filename,
        starts=starts,
    )


def _plain_scope(function: FunctionType, node: AnyDef, *, starts: bool) -> Scope:
    return Scope(
        function=function,
        definition=None,
        node=node,
        names=Names(function, node),
        owner=None,
        file=function.__code__.co_filename,
        starts=starts,
    )


def _first_functions(workflow: Workflow[..., Any]) -> set[int]:
    """The ids of the functions in which the workflow's first wait may stand: its own, and those
    that it names before it certainly waited."""
    found: set[int] = set()
    pending: list[Any] = [workflow.definition]
    while pending:
        value = pending.pop()
        function = value.function if isinstance(value, Definition) else value
        if id(function) in found:
            continue
        found.add(id(function))
        if not isinstance(value, Definition):
            continue
        scope = durable_scope(value, workflow.owner, starts=True)
        for part in syntax.everything_below(scope.node):
            if isinstance(part, ast.Name | ast.Attribute):
                named = scope.value(part)
                if not isinstance(named, Definition | FunctionType):
                    continue
                if not scope.comes_behind_wait(part):
                    pending.append(named)
    return found


def _helpers(scope: Scope) -> Iterator[FunctionType]:
    """The user's plain functions that the function names."""
    for part in syntax.everything_below(scope.node):
        if isinstance(part, ast.Name | ast.Attribute):
            value = scope.value(part)
            if isinstance(value, FunctionType) and not is_library(value.__module__ or ""):
                yield value
