"""What an await is on, as far as names tell: a durable thing, or anything.

Resolves the awaited expression's names in the function's closure and globals, and looks
through chains of methods: `wait(m).match(...).timeout(...)` is durable because `wait` is.
"""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from raysume.compiler import preparation
from raysume.compiler.awaits import opaque_awaits
from raysume.compiler.refusals import refusal_at
from raysume.compiler.syntax import everything_below, own_scope
from raysume.durable import Durable

if TYPE_CHECKING:
    from raysume.compiler.definitions import Definition

UNKNOWN: Final = object()
_TREES_KEPT: Final = 64
"""Functions of which what was found in their trees is kept: one is looked at several times in a row."""


def refuse_opaque_waits(definition: Definition) -> None:
    """No wait that is known by name stands in code that cannot be entered again.

    Raises:
        CompileError: one does; nested subflows are looked at, too.
    """
    outer = definition.compiled.source.node
    nested = [
        node
        for node in preparation.nested_functions(outer)
        if isinstance(node, ast.AsyncFunctionDef) and node.decorator_list
    ]
    names: Names | None = None
    for node in (outer, *nested):
        found = [each for statement in node.body for each in opaque_awaits(statement)]
        if not found:
            continue
        names = names or Names(definition.function, outer)
        if node is not outer and not names.is_subflow(node):
            continue
        for rule, awaited in found:
            if is_durable(awaited.value, names):
                raise refusal_at(awaited, rule, name=definition.name, file=definition.filename)


def is_inline(
    definition: Definition, seen: frozenset[int] = frozenset(), owner: type | None = None
) -> bool:
    """Whether every await in the function, and in the subflows it names, is on a durable thing.

    Args:
        seen: functions that are being looked at already.
        owner: the class that `self` is an object of, where that is known.
    """
    if id(definition.compiled) in seen:
        return True
    node = definition.compiled.source.node
    owner = definition.owner or owner
    names = Names(definition.function, node, owner)
    for part in (part for statement in node.body for part in everything_below(statement)):
        match part:
            case ast.AsyncWith() | ast.AsyncFor() | ast.comprehension(is_async=1):
                return False
            case ast.Await() if not is_durable(part.value, names):
                return False
            case _:
                pass
    if any(True for statement in node.body for _ in opaque_awaits(statement)):
        return False
    seen = seen | {id(definition.compiled)}
    return all(is_inline(other, seen, owner) for other in named(node, names))


def reachable(definition: Definition) -> list[Definition]:
    """The definition, and every durable function that it names, or that these name."""
    found: dict[int, Definition] = {}
    pending = [definition]
    while pending:
        one = pending.pop()
        if id(one.compiled) not in found:
            found[id(one.compiled)] = one
            node = one.compiled.source.node
            pending += named(node, Names(one.function, node, one.owner))
    return list(found.values())


def named(node: ast.AST, names: Names) -> Iterator[Definition]:
    """The durable functions that the code names."""
    from raysume.compiler.definitions import Definition

    for part in everything_below(node):
        if isinstance(part, ast.Name | ast.Attribute):
            value = names.value(part)
            if isinstance(value, Definition):
                yield value


def is_durable(node: ast.expr, names: Names) -> bool:
    """Whether what is awaited certainly is a durable thing."""
    while True:
        if not isinstance(node, ast.Call):
            return isinstance(names.value(node), Durable)
        function = names.value(node.func)
        if getattr(function, "__raysume_durable__", False):
            return True
        if isinstance(function, type) and issubclass(function, Durable):
            return True
        if not isinstance(node.func, ast.Attribute):
            return False
        node = node.func.value


class Names:
    """Values of dotted names in a function, without running anything of the user's."""

    def __init__(
        self,
        function: Any,
        node: ast.AsyncFunctionDef | ast.FunctionDef,
        owner: type | None = None,
    ) -> None:
        self._receiver = None if owner is None else _receiver_of(function, node, owner)
        self._owner = owner
        self._local = local_names(node)
        self._closure = dict(
            zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        )
        self._globals = function.__globals__

    def is_subflow(self, node: ast.AsyncFunctionDef) -> bool:
        """Whether a decorator named `subflow` stands above the nested function."""
        decorators = (
            each.func if isinstance(each, ast.Call) else each for each in node.decorator_list
        )
        return any(getattr(self.value(each), "__name__", "") == "subflow" for each in decorators)

    def value(self, node: ast.expr) -> Any:
        """What the name or dotted name is bound to; UNKNOWN when that is not certain."""
        match node:
            case ast.Name(id=name):
                return self._of_name(name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == self._receiver:
                return getattr(self._owner, attribute, UNKNOWN)
            case ast.Attribute(value=inner, attr=attribute):
                owner = self.value(inner)
                if not isinstance(owner, ModuleType | type):
                    return UNKNOWN
                return getattr(owner, attribute, UNKNOWN)
            case _:
                return UNKNOWN

    def _of_name(self, name: str) -> Any:
        if name in self._local:
            return UNKNOWN
        if name in self._closure:
            try:
                return self._closure[name].cell_contents
            except ValueError:
                return UNKNOWN
        if name in self._globals:
            return self._globals[name]
        return getattr(builtins, name, UNKNOWN)


@functools.lru_cache(_TREES_KEPT)
def local_names(node: ast.AsyncFunctionDef | ast.FunctionDef) -> frozenset[str]:
    """The names that the function, or a function in it, binds: its parameters among them."""
    found: set[str] = set()
    for part in everything_below(node):
        match part:
            case ast.Name(ctx=ast.Store() | ast.Del()):
                found.add(part.id)
            case ast.arg():
                found.add(part.arg)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if part is not node:
                    found.add(part.name)
            case _:
                pass
    return frozenset(found)


@functools.lru_cache(_TREES_KEPT)
def awaits_in(node: ast.AsyncFunctionDef) -> tuple[ast.Await, ...]:
    """The awaits of the function itself, nested functions left out."""
    return tuple(
        part
        for statement in node.body
        for part in own_scope(statement)
        if isinstance(part, ast.Await)
    )


def _receiver_of(
    function: Any, node: ast.AsyncFunctionDef | ast.FunctionDef, owner: type
) -> str | None:
    """What a method of the class calls its object; None for other functions."""
    arguments = [*node.args.posonlyargs, *node.args.args]
    homes = {base.__qualname__ for base in owner.__mro__}
    if not arguments or function.__qualname__.rpartition(".")[0] not in homes:
        return None
    name = arguments[0].arg
    stored = (
        part.id
        for part in everything_below(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store | ast.Del)
    )
    return None if name in stored else name
