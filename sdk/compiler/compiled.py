"""One durable function as compiled: its code, its points, and the functions nested in it.

Compiled once for each code object; closures over it share it. What a function's nested
functions are called in saved state starts from here: by the ordinal in the source.
"""

from __future__ import annotations

import ast
import weakref
from dataclasses import dataclass, field
from types import CellType, CodeType, FunctionType
from typing import Any

from raysume.compiler import building, liveness, preparation, syntax
from raysume.compiler.awaits import annotation_awaits, liftable_awaits
from raysume.compiler.entering import Entering
from raysume.compiler.refusals import refusal, refusal_at
from raysume.compiler.source import FunctionSource, is_generator, plain_function, source_of
from raysume.compiler.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place at which a durable function can be suspended."""

    index: int
    """From 1, in the order of evaluation."""
    line: int
    column: int
    live: frozenset[str]
    """The user's variables that are saved there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """What a compiled function is called in saved state, if no other one contains it."""

    name: str
    module: str
    qualname: str
    surrounded: bool
    """Whether it sees variables of a function around it."""


@dataclass(slots=True, kw_only=True, eq=False, weakref_slot=True)
class Compiled:
    """A durable function, without its closure and its defaults."""

    root: Root
    path: tuple[int, ...]
    """From the root to this function: its ordinal in each function around it."""
    code: CodeType
    binder: CodeType
    source: FunctionSource
    globals: dict[str, Any]
    points: tuple[Point, ...]
    live: tuple[tuple[str, ...], ...]
    """The local variables saved at each point, hidden ones included; the first entry is empty."""
    shared: tuple[str, ...]
    """Variables captured by nested functions: always saved, as cells."""
    lent: tuple[str, ...]
    """Variables captured by comprehensions only: saved like local ones."""
    nested: tuple[CodeType | None, ...]
    """The codes of nested functions by ordinal; None where the code was optimised away."""
    subflows: dict[int, Compiled] = field(default_factory=dict[int, "Compiled"])
    """Nested functions that are durable themselves, by ordinal."""

    def nested_code(self, ordinal: int) -> CodeType:
        """The code of a nested function.

        Raises:
            LookupError: there is none; the source is another one.
        """
        code = self.nested[ordinal] if ordinal < len(self.nested) else None
        if code is None:
            raise LookupError(f"{self.root.name} has no nested function {ordinal}")
        return code

    def subflow(self, ordinal: int) -> Compiled:
        """The nested function, compiled."""
        found = self.subflows.get(ordinal)
        if found is None:
            code = self.nested_code(ordinal)
            closure = tuple(CellType() for _ in code.co_freevars)
            function = FunctionType(code, self.globals, code.co_name, None, closure)
            found = _compile(function, code.co_name, self.root, (*self.path, ordinal))
            self.subflows[ordinal] = found
        return found


_by_code: dict[int, tuple[weakref.ref[CodeType], Compiled]] = {}
_nested_in: dict[int, tuple[weakref.ref[Compiled], int]] = {}


def place_of_nested(code: CodeType) -> tuple[Compiled, int] | None:
    """The compiled function that contains the code, and its ordinal in it; None for other code."""
    found = _nested_in.get(id(code))
    if found is None:
        return None
    owner = found[0]()
    return None if owner is None else (owner, found[1])


def compiled_of(function: object, *, name: str) -> Compiled:
    """The function as compiled, made at the first question for its code.

    Raises:
        CompileError: it cannot be made durable as it is written.
    """
    plain = plain_function(function, name=name)
    place = place_of_nested(plain.__code__)
    if place is not None:
        owner, ordinal = place
        return owner.subflow(ordinal)
    key = id(plain.__code__)
    known = _by_code.get(key)
    if known is not None:
        return known[1]
    root = Root(
        name=name,
        module=plain.__module__,
        qualname=plain.__qualname__,
        surrounded=any(each != "__class__" for each in plain.__code__.co_freevars),
    )
    try:
        made = _compile(plain, name, root, ())
    except RecursionError as error:
        code = plain.__code__
        raise refusal(
            "too-deep",
            name=name,
            file=code.co_filename,
            line=code.co_firstlineno,
            detail="its syntax tree is deeper than the interpreter's recursion limit",
        ) from error
    _by_code[key] = (weakref.ref(plain.__code__, lambda _: _by_code.pop(key, None)), made)
    return made


def mangled(name: str, class_name: str | None) -> str:
    """The name as Python spells it for a function in the class."""
    if class_name is None or not name.startswith("__") or name.endswith("__") or "." in name:
        return name
    stripped = class_name.lstrip("_")
    return f"_{stripped}{name}" if stripped else name


def _compile(function: FunctionType, name: str, root: Root, path: tuple[int, ...]) -> Compiled:
    from raysume.compiler.definitions import enter

    source = source_of(function, name=name, trusted=bool(path))
    code = function.__code__
    _refuse_placement(source, name)
    prepared = preparation.prepared(source.node, code)
    shared, lent = _captured(prepared, code, source.class_name)
    statements = Statements(prepared.body)
    normal = statements.block(prepared.body)
    entering = Entering()
    alive = liveness.Liveness().of(normal)
    _refuse_uncovered(normal, len(statements.points), source, name)
    body = entering.block(normal)

    own = set(code.co_varnames) | set(lent)
    everything = own if liveness.sees_everything(prepared.body) else set[str]()
    live: list[tuple[str, ...]] = [()]
    for number in range(1, len(statements.points) + 1):
        names = {mangled(each, source.class_name) for each in alive[number]}
        saved = {each for each in names if each in own or each.startswith(".")} | everything
        saved |= {held for held, (low, high) in entering.held if low <= number <= high}
        live.append(tuple(sorted(saved - set(shared))))
    parameters = code.co_varnames[: _parameter_count(code)]
    restored = sorted(set[str]().union(parameters, *live) - set(shared) - set(lent))
    try:
        made, nested = building.build(
            prepared,
            body,
            code=code,
            class_name=source.class_name,
            flags=source.flags,
            restored=restored,
            enter=enter,
        )
    except SyntaxError as error:
        rule = "too-deep" if "too many statically nested" in str(error) else "not-compilable"
        raise refusal_at(
            source.node, rule, name=name, file=source.filename, detail=str(error)
        ) from error
    compiled = Compiled(
        root=root,
        path=path,
        code=made,
        binder=building.build_binder(function, source.node, source.class_name),
        source=source,
        globals=function.__globals__,
        points=_points(statements.points, live, shared),
        live=tuple(live),
        shared=shared,
        lent=lent,
        nested=nested,
    )
    _remember_nested(compiled)
    return compiled


def _remember_nested(compiled: Compiled) -> None:
    keys = [id(code) for code in compiled.nested if code is not None]

    def forget(_: weakref.ref[Compiled]) -> None:
        for key in keys:
            _nested_in.pop(key, None)

    reference = weakref.ref(compiled, forget)
    for ordinal, code in enumerate(compiled.nested):
        if code is not None:
            _nested_in.setdefault(id(code), (reference, ordinal))


def _parameter_count(code: CodeType) -> int:
    variadic = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    return code.co_argcount + code.co_kwonlyargcount + variadic


def _captured(
    node: ast.AsyncFunctionDef, code: CodeType, class_name: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Captured variables: those that a function may keep, and those that only comprehensions read."""
    kept: set[str] = set()
    pending: list[ast.AST] = list(node.body)
    while pending:
        found = pending.pop()
        if isinstance(found, syntax.NESTED_SCOPES):
            kept |= {
                part.id for part in syntax.everything_below(found) if isinstance(part, ast.Name)
            }
            for part in syntax.everything_below(found):
                if isinstance(part, ast.Nonlocal):
                    kept |= set(part.names)
        else:
            pending += syntax.children(found)
    kept = {mangled(name, class_name) for name in kept}
    own = [name for name in code.co_cellvars if name != "__class__"]
    shared = tuple(name for name in own if name in kept)
    return shared, tuple(name for name in own if name not in kept)


def _points(
    awaits: list[ast.Await], live: list[tuple[str, ...]], shared: tuple[str, ...]
) -> tuple[Point, ...]:
    return tuple(
        Point(
            index=number,
            line=node.lineno,
            column=node.col_offset,
            live=frozenset((*(n for n in live[number] if not n.startswith(".")), *shared)),
        )
        for number, node in enumerate(awaits, 1)
    )


def _refuse_placement(source: FunctionSource, name: str) -> None:
    yields = is_generator(source.node)
    if yields is not None:
        raise refusal_at(yields, "generator", name=name, file=source.filename)
    for statement in source.node.body:
        for found in annotation_awaits(statement):
            raise refusal_at(found, "await-in-annotation", name=name, file=source.filename)


def _refuse_uncovered(
    normal: list[ast.stmt], points: int, source: FunctionSource, name: str
) -> None:
    """Every await that can be lifted is one point of the normalised body, exactly once."""
    for statement in normal:
        for found in liftable_awaits(statement):
            raise refusal_at(found, "await-uncovered", name=name, file=source.filename)
    numbers = [found.number for statement in normal for found in syntax.suspensions(statement)]
    if sorted(numbers) != list(range(1, points + 1)):
        line = source.node.lineno
        raise refusal("await-uncovered", name=name, file=source.filename, line=line)
