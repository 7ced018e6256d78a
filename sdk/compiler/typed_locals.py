"""Annotated variables that are kept across a wait although their type can never be saved.

`log: TextIO = open(...)` that is used on both sides of a wait would fail the instance there;
where the annotation says so, the decorator refuses it. Names in annotations are looked up,
nothing of the user's is run. A type of which some values can be saved (`TextIO | None`, a list
of files, which may be empty) is left to the wait.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final, cast, get_origin

from raysume.compiler import preparation, syntax
from raysume.compiler.compiled import Compiled, Point, mangled
from raysume.compiler.durability import Names, is_durable
from raysume.compiler.refusals import refusal_at
from raysume.parsing import parsed_expression

if TYPE_CHECKING:
    from raysume.compiler.definitions import Definition

UNSAVABLE: Final = frozenset(
    f"{module}.{name}"
    for module, names in {
        "typing": "IO TextIO BinaryIO",
        "_io": "FileIO BufferedReader BufferedWriter BufferedRandom BufferedRWPair TextIOWrapper",
        "tempfile": "_TemporaryFileWrapper",
        "_socket": "socket",
        "socket": "socket",
        "_thread": "lock allocate_lock RLock _local",
        "threading": "RLock Condition Semaphore Event Barrier Thread",
        "_queue": "SimpleQueue",
        "queue": "Queue",
        "subprocess": "Popen",
        "concurrent.futures._base": "Future",
        "concurrent.futures.thread": "ThreadPoolExecutor",
        "concurrent.futures.process": "ProcessPoolExecutor",
        "_asyncio": "Future Task",
        "sqlite3": "Connection Cursor",
        "builtins": "generator coroutine async_generator memoryview frame traceback "
        "dict_keys dict_values dict_items",
        "collections.abc": "Generator AsyncGenerator Coroutine KeysView ValuesView ItemsView",
        "weakref": "ReferenceType",
        "re": "Match",
        "mmap": "mmap",
        "posix": "DirEntry",
        "_contextvars": "Context ContextVar Token",
    }.items()
    for name in names.split()
)
"""Types no value of which can be saved, as `module.name`; so are classes derived from them."""

_SAVING: Final = ("__reduce__", "__reduce_ex__", "__getstate__")
_WRAPPERS: Final = ("Annotated", "Final")
Binding = tuple[ast.Name, ast.AST]
"""Where a name is bound or deleted, and the statement that does it."""
_LOOPS: Final = (ast.While, ast.For, ast.AsyncFor)


def refuse_unsavable_locals(definition: Definition) -> None:
    """No variable whose annotated type can never be saved is kept across a wait.

    Raises:
        CompileError: one is; nested subflows are looked at, too.
    """
    node = definition.compiled.source.node
    if _has_annotations(node):
        _look(definition, definition.compiled, Names(definition.function, node))


def _look(definition: Definition, compiled: Compiled, names: Names) -> None:
    node = compiled.source.node
    is_started = not compiled.path and definition.kind == "workflow"
    given = set[str]() if is_started else _given(node)
    for variable, place, annotation in _annotations(node):
        if is_started and isinstance(place, ast.arg):
            continue  # of another rule: it comes as JSON
        if not _never_saved(annotation, names):
            continue
        point = _kept_at(compiled, variable, variable in given, names)
        if point is not None:
            raise refusal_at(
                place,
                "unsavable-local",
                name=definition.name,
                file=definition.filename,
                detail=f"{variable}: {ast.unparse(annotation)}, at the wait in line {point.line}",
                variable=variable,
            )
    inside: set[int] = set()
    for ordinal, inner in enumerate(preparation.nested_functions(node)):
        if id(inner) in inside or not isinstance(inner, ast.AsyncFunctionDef):
            continue
        if names.is_subflow(inner) and _has_annotations(inner):
            _look(definition, compiled.subflow(ordinal), names)
            inside |= {id(each) for each in preparation.nested_functions(inner)}


def _has_annotations(node: ast.AsyncFunctionDef) -> bool:
    """Whether a variable of the function, or of one nested in it, is annotated."""
    return any(
        isinstance(part, ast.AnnAssign) or (isinstance(part, ast.arg) and part.annotation)
        for part in syntax.everything_below(node)
    )


def _annotations(node: ast.AsyncFunctionDef) -> list[tuple[str, ast.AST, ast.expr]]:
    """The function's annotated variables, parameters included: name, place, annotation."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    found: list[tuple[str, ast.AST, ast.expr]] = [
        (each.arg, each, each.annotation) for each in given if each.annotation is not None
    ]
    for statement in node.body:
        for part in syntax.own_scope(statement):
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                found.append((part.target.id, part, part.annotation))
    return found


# --- types -----------------------------------------------------------------------


def _never_saved(annotation: ast.expr, names: Names) -> bool:
    """Whether no value of the annotation's type can be saved, as far as names tell."""
    match annotation:
        case ast.Constant(value=str(text)):
            try:
                return _never_saved(parsed_expression(text.strip()), names)
            except (SyntaxError, ValueError):
                return False
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _never_saved(left, names) and _never_saved(right, names)
        case ast.Subscript(value=generic, slice=inside):
            if getattr(names.value(generic), "_name", None) in _WRAPPERS or (
                getattr(names.value(generic), "__name__", None) in _WRAPPERS
            ):
                first = inside.elts[0] if isinstance(inside, ast.Tuple) else inside
                return _never_saved(first, names)
            return unsavable_type(names.value(generic))
        case _:
            return unsavable_type(names.value(annotation))


def unsavable_type(found: Any) -> bool:
    """Whether the type is one of UNSAVABLE, or derived from one without saving itself."""
    kind = cast(Any, get_origin(found) or found)
    if not isinstance(kind, type):  # threading.Lock is a function
        module, name = getattr(kind, "__module__", None), getattr(kind, "__qualname__", None)
        return f"{module}.{name}" in UNSAVABLE
    for base in kind.__mro__:
        if f"{base.__module__}.{base.__qualname__}" in UNSAVABLE:
            return True
        if any(name in vars(base) for name in _SAVING):
            return False
    return False


# --- where a variable is kept ----------------------------------------------------


def _kept_at(compiled: Compiled, variable: str, is_given: bool, names: Names) -> Point | None:
    """The first wait at which the variable is saved with a value; None when there is none."""
    name = mangled(variable, compiled.source.class_name)
    paths = _Paths(compiled.source.node)
    bindings = paths.bindings(variable)
    if any(_says_otherwise(binding, names) for binding in bindings):
        return None
    for point in compiled.points:
        awaited = paths.awaits.get((point.line, point.column))
        if awaited is None or name not in point.live or not is_durable(awaited.value, names):
            continue
        if is_given or any(paths.leads(binding, awaited) for binding in bindings):
            return point
    return None


def _given(node: ast.AsyncFunctionDef) -> set[str]:
    """The parameters that every call gives: those without default, which may be `Depends`."""
    plain = [*node.args.posonlyargs, *node.args.args]
    plain = plain[: len(plain) - len(node.args.defaults)]
    named = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    return {each.arg for each in (*plain, *(arg for arg, default in named if default is None))}


def _says_otherwise(binding: Binding, names: Names) -> bool:
    """Whether the binding gives what can be saved after all, or takes the value away."""
    name, statement = binding
    if isinstance(name.ctx, ast.Del):
        return True
    value = getattr(statement, "value", None)
    if isinstance(value, ast.Call):
        made = names.value(value.func)
        return isinstance(made, type) and not unsavable_type(made)
    return isinstance(value, ast.Constant)


class _Paths:
    """Where the parts of a function stand in its blocks."""

    def __init__(self, node: ast.AsyncFunctionDef) -> None:
        self._ways: dict[int, tuple[tuple[ast.AST, str], ...]] = {}
        self._stores: list[Binding] = []
        self.awaits: dict[tuple[int, int], ast.Await] = {}
        """By line and column."""
        pending: list[tuple[ast.AST, tuple[tuple[ast.AST, str], ...], ast.AST]] = [
            (statement, (), statement) for statement in node.body
        ]
        while pending:
            found, way, statement = pending.pop()
            self._ways[id(found)] = way
            if isinstance(found, ast.Await):
                self.awaits[found.lineno, found.col_offset] = found
            if isinstance(found, ast.Name) and not isinstance(found.ctx, ast.Load):
                self._stores.append((found, statement))
            for part in syntax.evaluated_here(found):
                own = part if isinstance(part, ast.stmt) else statement
                pending.append((part, (*way, (found, _field(found, part))), own))

    def bindings(self, variable: str) -> list[Binding]:
        """Where the variable gets a value or loses it; `x: T` alone does neither."""
        return [
            (name, statement)
            for name, statement in self._stores
            if name.id == variable
            and not (isinstance(statement, ast.AnnAssign) and statement.value is None)
        ]

    def leads(self, binding: Binding, awaited: ast.Await) -> bool:
        """Whether the await may come after the binding."""
        name, statement = binding
        ours, theirs = self._ways[id(name)], self._ways[id(awaited)]
        common = 0
        for mine, other in zip(ours, theirs, strict=False):
            if mine != other:
                if _are_alternatives(mine, other) and not _in_loop(ours[:common]):
                    return False
                break
            common += 1
        if _in_loop(ours[:common]):
            return True
        bound = name if hasattr(statement, "body") or hasattr(statement, "cases") else statement
        end: tuple[int, int] = (cast(Any, bound).end_lineno, cast(Any, bound).end_col_offset)
        return end <= (awaited.lineno, awaited.col_offset)


def _are_alternatives(first: tuple[ast.AST, str], second: tuple[ast.AST, str]) -> bool:
    """Whether two blocks of one statement never run both."""
    fields = {first[1], second[1]}
    if first[0] is not second[0]:
        return False
    if isinstance(first[0], ast.If):
        return fields == {"body", "orelse"}
    return isinstance(first[0], ast.Match) and all(field.startswith("case") for field in fields)


def _in_loop(way: tuple[tuple[ast.AST, str], ...]) -> bool:
    return any(isinstance(node, _LOOPS) and field == "body" for node, field in way)


def _field(node: ast.AST, part: ast.AST) -> str:
    """The field of the node that the part stands in; the cases of `match` numbered."""
    for name in node._fields:
        value: Any = getattr(node, name, None)
        if value is part:
            return name
        for number, each in enumerate(value if value.__class__ is list else ()):
            if each is part:
                return f"case{number}" if name == "cases" else name
    return ""
