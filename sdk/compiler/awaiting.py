"""Which methods a workflow may wait for, and how, as far as its code tells.

Everything that the workflow names is looked through: subflows, helpers, classes, containers of
such things. Where names do not tell (`getattr`, `eval`, an object made elsewhere), the answer is
that it may wait for any method in any way: what is said here is certain.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from raysume.compiler.durability import Names
from raysume.compiler.syntax import NESTED_SCOPES, everything_below

if TYPE_CHECKING:
    from raysume.compiler.definitions import Definition

DYNAMIC: Final = frozenset(
    (
        "getattr",
        "eval",
        "exec",
        "globals",
        "locals",
        "vars",
        "__import__",
        "import_module",
        "lookup",
    )
)
"""Names whose use hides what is named."""

_OBJECTS_MAX: Final = 10_000
"""Objects that are looked into; whoever names more is taken to wait for anything."""

_PLAIN: Final = (str, bytes, int, float, complex, bool, type(None))
_EMPTY: Final = CellType()
_LOOPS: Final = (ast.For, ast.AsyncFor, ast.While)


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """URNs of the methods that a workflow may wait for."""

    named: frozenset[str] | None
    """None: it may be any method."""
    once: frozenset[str]
    """Those named at one place only, in an await that an instance passes at most once."""
    is_exclusive: bool
    """Whether a wait may be exclusive."""


def awaited_by(definition: Definition) -> Awaited:
    """What the workflow may wait for."""
    search = _Search()
    search.look_at(definition)
    search.look_through()
    once = frozenset(_once(definition, search))
    return Awaited(
        named=None if search.is_lost else frozenset(search.methods),
        once=frozenset() if search.is_lost else once,
        is_exclusive=search.is_lost or search.is_exclusive,
    )


class _Search:
    """Goes through everything that is named."""

    def __init__(self) -> None:
        self.methods: dict[str, set[int]] = {}
        """URN -> the functions that name it."""
        self.is_lost = False
        self.is_exclusive = False
        self._held = 0
        self._seen: dict[int, Any] = {}
        self._pending: list[tuple[Any, int]] = []

    def look_at(self, value: Any, holder: int = 0) -> None:
        """The value is looked through, for the function that names it."""
        self._pending.append((value, holder))

    def look_through(self) -> None:
        """Everything named has been looked through."""
        while self._pending:
            value, holder = self._pending.pop()
            self._one(value, holder)

    def _one(self, value: Any, holder: int) -> None:
        from raysume.compiler.definitions import Definition
        from raysume.methods import BoundMethod, Method
        from raysume.workflows import Workflow

        value = value.method if isinstance(value, BoundMethod) else value
        if isinstance(value, Method):
            self.methods.setdefault(value.urn, set()).add(holder)
            return
        if isinstance(value, _PLAIN) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, Workflow) and holder:
            return  # a child waits for itself
        if isinstance(value, Definition | Workflow):
            self.look_at(value.function, holder)
            self.look_at(value.owner, id(value.owner))
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, MethodType):
            self._each((value.__func__, value.__self__), holder)
        elif isinstance(value, staticmethod | classmethod | property):
            self._each((getattr(value, "__func__", None), getattr(value, "fget", None)), holder)
        elif isinstance(value, type):
            if not is_library(value.__module__):
                self._each((part for base in value.__mro__ for part in _parts(base)), holder)
        elif isinstance(value, dict):
            self._each([*value.keys(), *value.values()], holder)
        elif not isinstance(value, ModuleType):
            self.look_at(type(value), holder)
            self._parts_of(value, holder)

    def _parts_of(self, value: Any, holder: int) -> None:
        """What any other object holds: a partial's function, a wait's method, values in slots."""
        self._held += 1
        if self._held > _OBJECTS_MAX:
            self.is_lost = True
            return
        held = gc.get_referents(value)
        self._each((one for one in held if not isinstance(one, type | ModuleType)), holder)

    def _each(self, values: Iterable[Any], holder: int) -> None:
        for value in values:
            self.look_at(value, holder)

    def _function(self, function: FunctionType) -> None:
        holder = id(function)
        for cell in function.__closure__ or ():
            if cell != _EMPTY:
                self.look_at(cell.cell_contents, holder)
        self._each(
            [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()], holder
        )
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self.look_at(wrapped, holder)
        if is_library(function.__module__ or ""):
            return
        for code in _codes(function.__code__):
            self._names(code.co_names, function.__globals__, holder)

    def _names(self, names: Iterable[str], globals_: dict[str, Any], holder: int) -> None:
        found = frozenset(names)
        self.is_lost = self.is_lost or bool(found & DYNAMIC)
        self.is_exclusive = self.is_exclusive or "exclusive" in found
        self._named_in(found, globals_, holder, set())

    def _named_in(
        self, found: frozenset[str], space: dict[str, Any], holder: int, passed: set[int]
    ) -> None:
        """What has one of the names, in the space or in a module that has one: `calls.billing.paid`."""
        for name in found & space.keys():
            value = space[name]
            self.look_at(value, holder)
            if (
                isinstance(value, ModuleType)
                and id(value) not in passed
                and not is_library(value.__name__)
            ):
                passed.add(id(value))
                self._named_in(found, vars(value), holder, passed)


def _once(definition: Definition, search: _Search) -> Iterator[str]:
    from raysume.methods import BoundMethod, Method

    node = definition.compiled.source.node
    names = Names(definition.function, node, definition.owner)
    places: dict[str, list[ast.expr]] = {}
    for part in (part for statement in node.body for part in everything_below(statement)):
        if isinstance(part, ast.Name | ast.Attribute):
            value = names.value(part)
            value = value.method if isinstance(value, BoundMethod) else value
            if isinstance(value, Method):
                places.setdefault(value.urn, []).append(part)
    passed = {id(part) for statement in node.body for part in _passed_once(statement, False)}
    own = {id(definition.function)}
    for urn, found in places.items():
        if len(found) == 1 and id(found[0]) in passed and search.methods.get(urn) == own:
            yield urn


def _passed_once(node: ast.AST, is_awaited: bool) -> Iterator[ast.AST]:
    """The parts of awaits that stand in no loop and no nested function."""
    if isinstance(node, (*_LOOPS, *NESTED_SCOPES)):
        return
    is_awaited = is_awaited or isinstance(node, ast.Await)
    if is_awaited:
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _passed_once(child, is_awaited)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _parts(owner: type) -> Iterable[Any]:
    return () if is_library(owner.__module__) else tuple(vars(owner).values())


def is_library(module: str) -> bool:
    """Whether the module is Python's, raysume's or an installed package's."""
    top = module.partition(".")[0]
    if top == "raysume" or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return "site-packages" in file
