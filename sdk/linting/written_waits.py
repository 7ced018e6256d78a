"""Waits as they are written: `wait(paid).match(order=order).timeout(limit)`."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final

from raysume.compiler import syntax
from raysume.compiler.durability import UNKNOWN
from raysume.errors import UsageError
from raysume.linting.scopes import Scope
from raysume.matching.paths import checked_paths
from raysume.methods import BoundMethod, Method
from raysume.waits import Wait, wait

MATCHES: Final = ("match", "match_if", "match_any")
_NOT_KNOWN: Final = ""
"""Stands for the value of a field that only the running workflow knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenWait:
    """One chain of calls that begins with `wait(method)`."""

    scope: Scope
    node: ast.Call
    """The whole chain."""
    steps: tuple[ast.Call, ...]
    """The calls of its methods, in their order; `wait(...)` itself is not one."""
    method: Method
    is_open: bool
    """Whether more may be said of it elsewhere: it is not awaited here, and the workflow adds
    matches to waits that it has in variables."""

    def named(self, *names: str) -> list[ast.Call]:
        """The calls of the methods with one of these names."""
        return [step for step in self.steps if name_of(step) in names]

    def made(self, predicate: FunctionType | None) -> Wait[Any] | None:
        """The wait, with empty cells and with any text as the value of a field that is not
        constant; None when its fields are not known or do not exist.

        Args:
            predicate: of `match_if`.
        """
        fields: list[tuple[str, Any]] = []
        for step in self.named("match"):
            if any(each.arg is None for each in step.keywords):
                return None
            try:
                paths = checked_paths(self.method, tuple(str(each.arg) for each in step.keywords))
            except UsageError:
                return None
            fields += zip(paths, map(_value_of, step.keywords), strict=True)
        made: Wait[Any] = Wait(self.method)
        made.fields, made.predicate = tuple(fields), predicate
        return made


def _value_of(keyword: ast.keyword) -> Any:
    return keyword.value.value if isinstance(keyword.value, ast.Constant) else _NOT_KNOWN


def name_of(step: ast.Call) -> str:
    """The name of the method that is called."""
    return step.func.attr if isinstance(step.func, ast.Attribute) else ""


def written_waits(scopes: Sequence[Scope]) -> Iterator[WrittenWait]:
    """Every wait that the functions of a workflow write for a method that is known by name."""
    adds = any(map(_adds_matches, scopes))
    for scope in scopes:
        for part in syntax.everything_below(scope.node):
            if not isinstance(part, ast.Call) or not part.args:
                continue
            if scope.value(part.func) is not wait:
                continue
            method = scope.value(part.args[0])
            method = method.method if isinstance(method, BoundMethod) else method
            if isinstance(method, Method) and _is_resolved(method):
                steps = tuple(_steps(scope, part))
                node = steps[-1] if steps else part
                yield WrittenWait(
                    scope=scope,
                    node=node,
                    steps=steps,
                    method=method,
                    is_open=adds and not is_awaited(scope, node),
                )


def is_awaited(scope: Scope, node: ast.expr) -> bool:
    """Whether the wait is awaited where it stands, alone or in groups."""
    from raysume.groups import all_of, any_of, group

    for outer, inner in scope.around(node):
        match outer:
            case ast.Await():
                return True
            case ast.Attribute():
                pass  # `group(...).until(...)`
            case ast.Call(func=function) if function is inner:
                pass
            case ast.Call(func=function) if scope.value(function) in (all_of, any_of, group):
                pass
            case _:
                return False
    return False


def _steps(scope: Scope, root: ast.Call) -> Iterator[ast.Call]:
    node: ast.AST = root
    while True:
        attribute = scope.parents.get(id(node))
        if not isinstance(attribute, ast.Attribute):
            return
        call = scope.parents.get(id(attribute))
        if not isinstance(call, ast.Call) or call.func is not attribute:
            return
        yield call
        node = call


def _adds_matches(scope: Scope) -> bool:
    """Whether the function says more about a wait that was made elsewhere."""
    for part in syntax.everything_below(scope.node):
        if isinstance(part, ast.Call) and name_of(part) in MATCHES:
            below: ast.AST = part
            while isinstance(below, ast.Call) and isinstance(below.func, ast.Attribute):
                below = below.func.value
            if not (isinstance(below, ast.Call) and scope.value(below.func) is wait):
                return True
    return False


def _is_resolved(method: Method) -> bool:
    """False when an annotation of the method names what is not defined."""
    try:
        _ = method.input_model, method.output_type
    except UsageError:
        return False
    return True


def predicates_of(written: WrittenWait) -> list[ast.expr]:
    """The arguments of `match_if` of which each may be the one that counts, the last first."""
    found: list[ast.expr] = []
    for step in reversed(written.named("match_if")):
        given = [each.value for each in step.keywords if each.arg == "predicate"]
        found += [*step.args, *given][:1]
        if is_unconditional(step):
            break
    return found


def is_unconditional(step: ast.Call) -> bool:
    """Whether nothing, or only a constant that is true, is said of `when=`."""
    when = [each.value for each in step.keywords if each.arg == "when"]
    return not when or (isinstance(when[0], ast.Constant) and bool(when[0].value))


def function_of(scope: Scope, node: ast.expr) -> Any:
    """What a predicate is: a lambda over empty cells, or what a name is bound to; UNKNOWN when
    neither can be told."""
    if isinstance(node, ast.Lambda):
        made = scope.function_of(node)
        return UNKNOWN if made is None else made
    if isinstance(node, ast.Name) and _is_nested_def(scope, node.id):
        return None
    return scope.value(node)


def _is_nested_def(scope: Scope, name: str) -> bool:
    parts = [part for part in syntax.everything_below(scope.node) if part is not scope.node]
    stored = any(
        isinstance(part, ast.Name) and part.id == name and not isinstance(part.ctx, ast.Load)
        for part in parts
    )
    return not stored and any(
        isinstance(part, ast.FunctionDef) and part.name == name for part in parts
    )
